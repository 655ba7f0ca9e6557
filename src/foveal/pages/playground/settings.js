// The side panel: what a request carries besides its messages.

import { h } from "../shared/dom.js";

const FIELDS = [
  { name: "system", label: "System prompt", kind: "text", rows: 3 },
  { name: "temperature", label: "Temperature", kind: "number", min: 0, max: 2, step: 0.1 },
  { name: "top_p", label: "Top p", kind: "number", min: 0.01, max: 1, step: 0.01 },
  { name: "max_tokens", label: "Max tokens", kind: "number", min: 1, step: 1 },
  { name: "seed", label: "Seed", kind: "number", step: 1 },
  { name: "detail", label: "Picture detail", kind: "choice", choices: { auto: "auto", low: "low: fewest tokens", high: "high: all crops" } },
  { name: "schema", label: "JSON schema", kind: "json", rows: 6, hint: "the answer is held to it" },
  { name: "logprobs", label: "Token probabilities", kind: "switch" },
  { name: "scale", label: "Boxes count in", kind: "choice", choices: { auto: "as the model does", thousandths: "thousandths", pixels: "pixels" } },
];

export class Settings {
  /** @param {HTMLElement} panel  @param {() => void} changed */
  constructor(panel, changed) {
    this.values = { model: null, system: "", temperature: null, top_p: null, max_tokens: null, seed: null };
    Object.assign(this.values, { detail: "auto", schema: null, logprobs: true, scale: "auto" });
    this.#changed = changed;
    panel.append(h("h2", {}, "Settings"), h("div", { className: "fields" }, ...FIELDS.map((field) => this.#row(field))));
  }

  #changed;

  #row(field) {
    const id = `set-${field.name}`;
    const control = CONTROLS[field.kind](field, this.values[field.name]);
    control.id = id;
    const problem = h("small", { className: "problem", role: "alert" });
    control.addEventListener("input", () => {
      const { value, error } = READERS[field.kind](control);
      problem.textContent = error ?? "";
      control.setAttribute("aria-invalid", String(Boolean(error)));
      if (!error) {
        this.values[field.name] = value;
        this.#changed();
      }
    });
    const label = h("label", { for: id }, field.label);
    const hint = field.hint ? h("small", {}, field.hint) : null;
    return h("div", { className: `field ${field.kind}` }, label, control, hint, problem);
  }
}

const CONTROLS = {
  text: ({ rows }) => h("textarea", { rows }),
  json: ({ rows }) => h("textarea", { rows, spellcheck: false, placeholder: '{"type": "object", …}' }),
  number: ({ min, max, step }) => h("input", { type: "number", min: min ?? "", max: max ?? "", step, placeholder: "default" }),
  switch: (_, value) => h("input", { type: "checkbox", checked: value }),
  choice: ({ choices }) => h("select", {}, ...Object.entries(choices).map(([value, text]) => h("option", { value }, text))),
};

const READERS = {
  text: (control) => ({ value: control.value }),
  switch: (control) => ({ value: control.checked }),
  choice: (control) => ({ value: control.value }),
  number: (control) =>
    control.validity.valid
      ? { value: control.value === "" ? null : Number(control.value) }
      : { error: control.validationMessage },
  json: (control) => {
    if (!control.value.trim()) return { value: null };
    try {
      return { value: JSON.parse(control.value) };
    } catch (error) {
      return { error: `This is not JSON yet: ${error.message}` };
    }
  },
};
