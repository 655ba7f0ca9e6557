// Asks a person for the key that the server wants. It stays in a variable: stored nowhere, gone with the page.

import { ApiError } from "./api.js";
import { h } from "./dom.js";

const ADVICE = "The page keeps it in memory until you close it, and stores it nowhere.";

export class KeyPrompt {
  #api;
  #field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: false, required: true });
  #advice = h("p", { id: "key-text" }, ADVICE);
  #dialog;

  /** @param api what takes the key  @param {number[]} refusals the statuses that another key may change */
  constructor(api, { title = "This server asks for a key", refusals = [401] } = {}) {
    this.isNeeded = false;
    this.refusals = refusals;
    this.#api = api;
    const use = h("button", { className: "primary", value: "ok" }, "Use this key");
    const label = h("label", {}, "API key ", this.#field);
    const form = h("form", { method: "dialog" }, h("h2", { id: "key-title" }, title), this.#advice, label, h("div", { className: "row" }, use));
    this.#dialog = h("dialog", { id: "key-dialog", "aria-labelledby": "key-title" }, form);
    this.#dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(this.#dialog);
  }

  /** Runs `ask`; where the server wants another key, asks the person for one and runs it again. */
  async run(ask) {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof ApiError) || !this.refusals.includes(error.status)) throw error;
        await this.#askPerson(this.isNeeded ? error.message : "");
      }
    }
  }

  #askPerson(problem) {
    this.isNeeded = true;
    this.#advice.dataset.problem = problem;
    if (!this.#dialog.open) this.#dialog.showModal();
    return new Promise((resolve) => {
      const take = () => {
        this.#api.useKey(this.#field.value.trim());
        this.#field.value = "";
        resolve();
      };
      this.#dialog.addEventListener("close", take, { once: true });
    });
  }
}
