// One answer on the page: its text as it comes, what it cost, its tokens, and the marks it makes on the pictures.

import { cost, count, money } from "./conversation.js";
import { h } from "../shared/dom.js";
import { markdown } from "./markdown.js";
import { marksIn } from "./marks.js";
import { inPixels, pictureFigure } from "./overlay.js";
import { tokenView } from "./tokens.js";

export class AnswerView {
  /** @param turn the assistant's, filled while it streams  @param actions {regenerate, copy} */
  constructor(turn, actions) {
    this.#turn = turn;
    this.#text = h("div", { className: "said" });
    this.#more = h("div", {});
    this.element = h("article", { className: "turn assistant busy", "aria-label": "Answer" }, this.#text, this.#more);
    this.#actions = actions;
  }

  #turn;
  #text;
  #more;
  #actions;
  #isPlanned = false;

  /** Draws what has come, at most once a frame. */
  update() {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    requestAnimationFrame(() => {
      this.#isPlanned = false;
      this.#draw();
    });
  }

  /** @param {{pricing, seen: (picture) => object, pictures: object[]}} facts */
  end(facts) {
    this.element.classList.remove("busy");
    this.#draw();
    this.#more.replaceChildren(...this.#marks(facts), this.#footer(facts));
  }

  fail(error) {
    this.element.classList.remove("busy");
    const id = error.requestId ? h("small", {}, `Request ${error.requestId}`) : null;
    this.#more.replaceChildren(h("div", { className: "error", role: "alert" }, h("p", {}, error.message), id), this.#buttons());
  }

  #draw() {
    const { text, reasoning } = this.#turn;
    const thoughts = reasoning
      ? [h("details", { open: !text }, h("summary", {}, "Reasoning"), h("p", {}, reasoning))]
      : [];
    this.#text.replaceChildren(...thoughts, ...markdown(text));
  }

  *#marks({ pictures, seen }) {
    for (const picture of pictures) {
      if (!picture.measured) continue;
      const marks = marksIn(this.#turn.text, seen(picture));
      if (!marks.length) continue;
      yield h(
        "figure",
        { className: "marks" },
        pictureFigure(picture, { marks }),
        h("figcaption", {}, ...marks.map((mark) => h("code", {}, inPixels(mark, picture.measured)))),
      );
      return; // answers do not say which picture they mean; the first is the usual one
    }
  }

  #footer(facts) {
    const { usage, timing, finishReason, tokens } = this.#turn;
    const line = h("p", { className: "facts" });
    if (usage) line.append(...figures(usage, timing, cost(usage, facts.pricing), facts.pricing?.currency));
    if (finishReason === "length") line.append(h("span", { className: "warning" }, "cut at max tokens"));
    if (this.#turn.isStopped) line.append(h("span", { className: "warning" }, "stopped"));
    return h("footer", {}, line, this.#buttons(tokens?.length ? this.#tokensButton(tokens) : null));
  }

  #buttons(...more) {
    return h(
      "span",
      { className: "actions" },
      ...more,
      h("button", { type: "button", onclick: () => this.#actions.copy(this.#turn.text) }, "Copy"),
      h("button", { type: "button", className: "regenerate", onclick: this.#actions.regenerate }, "Ask again"),
    );
  }

  #tokensButton(tokens) {
    const button = h("button", { type: "button", "aria-pressed": "false" }, "Tokens");
    button.addEventListener("click", () => {
      const isShown = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!isShown));
      if (isShown) this.#draw();
      else this.#text.replaceChildren(tokenView(tokens));
    });
    return button;
  }
}

function* figures(usage, timing, price, currency) {
  const { cached_tokens, image_tokens, text_tokens } = usage.prompt_tokens_details;
  yield fact(count(usage.prompt_tokens, "token"), `in: ${image_tokens} image, ${text_tokens} text, ${cached_tokens} cached`);
  yield fact(count(usage.completion_tokens, "token"), "out");
  if (timing.firstToken !== null) yield fact(seconds(timing.firstToken), "to the first token");
  const rate = (usage.completion_tokens - 1) / (timing.total - timing.firstToken);
  if (usage.completion_tokens > 1 && Number.isFinite(rate)) yield fact(rate.toFixed(rate < 10 ? 1 : 0), "tokens/s");
  if (price !== null) yield fact(money(price, currency), "");
}

function fact(value, unit) {
  return h("span", {}, h("b", {}, value), unit && ` ${unit}`);
}

function seconds(s) {
  return s < 1 ? `${Math.round(1000 * s)} ms` : `${s.toFixed(2)} s`;
}
