// The little Markdown that models write, as elements: headings, lists, fenced code, bold, italic, code.

import { h } from "../shared/dom.js";

const FENCE = /^\s*```\s*(\S*)\s*$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const INLINE = /(`[^`]+`)|(\*\*[^*]+\*\*)|(\*[^*\s][^*]*\*)/;

/** @returns {HTMLElement[]} */
export function markdown(text) {
  const lines = text.split("\n");
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    const taken = fenced(lines, at) ?? listed(lines, at) ?? headed(lines, at) ?? paragraph(lines, at);
    if (taken.element) blocks.push(taken.element);
    at = taken.end;
  }
  return blocks;
}

function fenced(lines, at) {
  if (!FENCE.test(lines[at])) return null;
  let end = at + 1;
  while (end < lines.length && !FENCE.test(lines[end])) end += 1;
  return { element: h("pre", { tabIndex: 0 }, h("code", {}, lines.slice(at + 1, end).join("\n"))), end: end + 1 };
}

function listed(lines, at) {
  const first = ITEM.exec(lines[at]);
  if (!first) return null;
  const list = h(first[1] ? "ol" : "ul");
  if (first[1]) list.start = Number(first[1]);
  let end = at;
  for (let item; end < lines.length && (item = ITEM.exec(lines[end])); end += 1) list.append(h("li", {}, ...inline(item[2])));
  return { element: list, end };
}

function headed(lines, at) {
  const heading = HEADING.exec(lines[at]);
  return heading && { element: h("p", { className: "heading" }, ...inline(heading[2])), end: at + 1 };
}

function paragraph(lines, at) {
  if (!lines[at].trim()) return { element: null, end: at + 1 };
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && ![FENCE, HEADING, ITEM].some((kind) => kind.test(lines[end]))) end += 1;
  return { element: h("p", {}, ...inline(lines.slice(at, end).join("\n"))), end };
}

function* inline(text) {
  let rest = text;
  for (let found; (found = INLINE.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
    if (found.index) yield rest.slice(0, found.index);
    const [whole, code, bold] = found;
    if (code) yield h("code", {}, whole.slice(1, -1));
    else if (bold) yield h("strong", {}, whole.slice(2, -2));
    else yield h("em", {}, whole.slice(1, -1));
  }
  if (rest) yield rest;
}
