// An answer token by token: the surer the model was, the fainter the shade; alternatives on hover and focus.

import { h } from "../shared/dom.js";

/** @param tokens entries of logprobs.content */
export function tokenView(tokens) {
  const tip = h("span", { className: "tip", role: "tooltip", hidden: true });
  const spans = tokens.map((token) => tokenSpan(token, tip));
  return h("div", { className: "tokens" }, ...spans, tip);
}

function tokenSpan(token, tip) {
  const probability = Math.exp(token.logprob);
  const span = h("span", { className: "token", tabIndex: 0, "aria-label": said(token, probability) }, token.token);
  span.style.setProperty("--doubt", (1 - probability).toFixed(3));
  const show = () => {
    tip.replaceChildren(...(token.top_logprobs?.length ? token.top_logprobs : [token]).map(alternative));
    tip.hidden = false;
    tip.style.left = `${Math.min(span.offsetLeft, span.offsetParent.clientWidth - 180)}px`;
    tip.style.top = `${span.offsetTop + span.offsetHeight + 4}px`;
  };
  const hide = () => (tip.hidden = true);
  span.addEventListener("mouseenter", show);
  span.addEventListener("focus", show);
  span.addEventListener("mouseleave", hide);
  span.addEventListener("blur", hide);
  return span;
}

function alternative({ token, logprob }) {
  const share = Math.exp(logprob);
  const bar = h("i", { className: "share" });
  bar.style.setProperty("--share", share.toFixed(4));
  return h("span", { className: "alternative" }, h("code", {}, visible(token)), bar, h("span", {}, percent(share)));
}

function said(token, probability) {
  return `${visible(token.token)}, ${percent(probability)}`;
}

function percent(share) {
  const shown = 100 * share;
  return `${shown >= 9.95 ? shown.toFixed(0) : shown.toPrecision(2)} %`;
}

function visible(token) {
  return token.replaceAll(" ", "␣").replaceAll("\n", "⏎") || "(no text)";
}
