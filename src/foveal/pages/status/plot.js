// A number now, and a line of what it was before.

import { h, svg } from "../shared/dom.js";

const WIDTH = 240;
const HEIGHT = 56;
const FEWEST = 30; // values that the whole width stands for

export class Plot {
  #values = []; // null where there was nothing to measure
  #number = h("output", { className: "number" });
  #most = h("span", { className: "most" });
  #line = svg("path", { class: "line" });
  #area = svg("path", { class: "area" });
  #drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, this.#area, this.#line);

  /** @param {(value: number | null) => string} shown  @param {number} length how many values are kept */
  constructor(title, shown, length) {
    this.title = title;
    this.shown = shown;
    this.length = length;
    this.element = h("figure", {}, h("figcaption", {}, title, this.#most), this.#number, this.#drawing);
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > this.length) this.#values.shift();
    this.#draw();
  }

  #draw() {
    const known = this.#values.filter((value) => value !== null);
    const most = Math.max(...known, 0);
    const [now, largest] = [this.shown(this.#values.at(-1)), this.shown(most)];
    this.#number.textContent = now;
    this.#most.textContent = known.length ? `at most ${largest}` : "";
    this.#drawing.setAttribute("aria-label", `${this.title}: now ${now}, at most ${largest}`);
    const points = this.#points(most || 1);
    this.#line.setAttribute("d", path(points));
    this.#area.setAttribute("d", points.length ? `${path(points)}L${points.at(-1)[0]},${HEIGHT}L${points[0][0]},${HEIGHT}Z` : "");
  }

  /** The newest value is at the right edge. Where nothing was measured, the line goes straight on. */
  #points(most) {
    const width = Math.max(this.#values.length, FEWEST);
    const step = WIDTH / (width - 1);
    const first = width - this.#values.length;
    return this.#values.flatMap((value, index) =>
      value === null ? [] : [[((first + index) * step).toFixed(1), (HEIGHT - 1 - (value / most) * (HEIGHT - 3)).toFixed(1)]],
    );
  }
}

function path(points) {
  return points.map(([x, y], index) => `${index ? "L" : "M"}${x},${y}`).join("");
}
