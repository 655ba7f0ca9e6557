// The pictures that wait to be sent: chosen, dropped, pasted or shot; moved, looked at, removed.

import { count, money } from "./conversation.js";
import { h } from "../shared/dom.js";
import { pictureFigure } from "./overlay.js";

let lastId = 0;

/** @returns a picture as in conversation.js, or null if the file is none */
export async function readPicture(file) {
  if (!file.type.startsWith("image/")) return null;
  const data = await dataUrl(file);
  lastId += 1;
  return { id: lastId, name: file.name || `picture ${lastId}`, type: file.type, url: URL.createObjectURL(file), data, measured: null };
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}

export class PictureStrip {
  /** @param {HTMLElement} list  @param {{changed: () => void, look: (picture) => void}} on */
  constructor(list, on) {
    this.pictures = [];
    this.currency = null;
    this.#list = list;
    this.#on = on;
  }

  #list;
  #on;
  #dragged = null;

  async add(files) {
    const read = await Promise.all([...files].map(readPicture));
    const pictures = read.filter((picture) => picture !== null);
    if (!pictures.length) return;
    this.pictures.push(...pictures);
    this.#changed();
  }

  /** Hands the pictures over and forgets them. */
  take() {
    const taken = this.pictures;
    this.pictures = [];
    this.show();
    return taken;
  }

  show() {
    this.#list.replaceChildren(...this.pictures.map((picture, index) => this.#item(picture, index)));
  }

  #item(picture, index) {
    const last = this.pictures.length - 1;
    const look = h(
      "button",
      { type: "button", className: "look", "aria-label": `Look at ${picture.name}`, onclick: () => this.#on.look(picture) },
      pictureFigure(picture, { grid: true }),
    );
    const button = (label, sign, act, isOff = false) =>
      h("button", { type: "button", "aria-label": `${label} ${picture.name}`, disabled: isOff, onclick: act }, sign);
    const actions = h(
      "span",
      { className: "actions" },
      button("Move forward", "‹", () => this.#move(index, index - 1), index === 0),
      button("Move back", "›", () => this.#move(index, index + 1), index === last),
      button("Remove", "✕", () => this.#remove(index)),
    );
    const item = h("li", { draggable: true }, look, actions, h("small", {}, this.#caption(picture)));
    item.addEventListener("dragstart", (event) => {
      this.#dragged = index;
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", picture.name);
    });
    item.addEventListener("dragend", () => (this.#dragged = null));
    item.addEventListener("dragover", (event) => this.#dragged !== null && event.preventDefault());
    item.addEventListener("drop", (event) => {
      if (this.#dragged === null) return;
      event.preventDefault();
      event.stopPropagation();
      this.#move(this.#dragged, index);
    });
    return item;
  }

  get isReordering() {
    return this.#dragged !== null;
  }

  #caption(picture) {
    return picture.measured ? describe(picture.measured, this.currency) : picture.name;
  }

  #move(from, to) {
    this.pictures.splice(to, 0, ...this.pictures.splice(from, 1));
    this.#changed();
    const buttons = this.#list.children[to].querySelectorAll(".actions button:enabled");
    buttons[to > from ? buttons.length - 2 : 0]?.focus();
  }

  #remove(index) {
    const [picture] = this.pictures.splice(index, 1);
    URL.revokeObjectURL(picture.url);
    this.#changed();
  }

  #changed() {
    this.show();
    this.#on.changed();
  }
}

/** Size, tokens, crops and price of a measured picture in one line. */
export function describe({ width, height, tokens, crops, price }, currency) {
  const parts = [`${width} × ${height}`, count(tokens, "token"), count(crops, "crop")];
  if (price !== null && currency) parts.push(money(price, currency));
  return parts.join(" · ");
}
