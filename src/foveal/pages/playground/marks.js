// Boxes and points that models write into their answers, as fractions of the picture (0 to 1).
//
//   Qwen2-VL         <|box_start|>(x,y),(x,y)<|box_end|>, also <box>   thousandths
//   Qwen2.5-VL       {"bbox_2d": [x, y, x, y]}, {"point_2d": [x, y]}   pixels of the picture as the model got it
//   Qwen3-VL, 3.5    the same keys                                     thousandths
//   Gemma, Gemini    {"box_2d": [y, x, y, x]}, {"point": [y, x]}       thousandths
//   PaliGemma        <loc0000><loc0000><loc0000><loc0000> label        y, x, y, x of 1024
//   Molmo            <point x="1.5" y="2.5" alt="...">                 hundredths

const NUMBER = String.raw`\s*(-?\d+(?:\.\d+)?)\s*`;
const PAIR = String.raw`\(${NUMBER},${NUMBER}\)`;
const TAGGED = new RegExp(String.raw`(?:<\|object_ref_start\|>([^<]*)<\|object_ref_end\|>)?(?:<\|box_start\|>|<box>)${PAIR},${PAIR}`, "g");
const LOC = /<loc(\d{4})><loc(\d{4})><loc(\d{4})><loc(\d{4})>\s*([^<;\n]*)/g;
const POINT = /<point\s+x="([\d.]+)"\s+y="([\d.]+)"(?:\s+alt="([^"]*)")?/g;

/**
 * @param {string} text an answer
 * @param {{scale: "pixels"|"thousandths", width: number, height: number}} seen how the model counts, and the size of
 *   the picture as it got it
 * @returns {{kind: "box"|"point", label: string, x: number, y: number, x2?: number, y2?: number}[]}
 */
export function marksIn(text, seen) {
  return [...tagged(text), ...located(text), ...pointed(text), ...inJson(text, seen)].filter(isOnPicture);
}

function* tagged(text) {
  for (const [, label, ...corners] of text.matchAll(TAGGED)) yield box(corners.map((n) => n / 1000), label);
}

function* located(text) {
  for (const [, top, left, bottom, right, label] of text.matchAll(LOC)) {
    yield box([left, top, right, bottom].map((n) => n / 1024), label);
  }
}

function* pointed(text) {
  for (const [, x, y, label] of text.matchAll(POINT)) yield point([x / 100, y / 100], label);
}

function* inJson(text, seen) {
  const [width, height] = seen.scale === "pixels" ? [seen.width, seen.height] : [1000, 1000];
  for (const item of objects(text)) {
    const label = String(item.label ?? item.text_content ?? item.name ?? "");
    if (numbers(item.bbox_2d, 4)) yield box(item.bbox_2d.map((n, i) => n / (i % 2 ? height : width)), label);
    if (numbers(item.point_2d, 2)) yield point([item.point_2d[0] / width, item.point_2d[1] / height], label);
    if (numbers(item.box_2d, 4)) {
      const [top, left, bottom, right] = item.box_2d;
      yield box([left, top, right, bottom].map((n) => n / 1000), label);
    }
    if (numbers(item.point, 2)) yield point([item.point[1] / 1000, item.point[0] / 1000], label);
  }
}

/** The objects of the JSON values in a text, wherever they begin; text that is no JSON is passed over. */
function* objects(text) {
  let from = 0;
  while ((from = text.slice(from).search(/[[{]/) + from) >= 0 && from < text.length) {
    const end = valueEnd(text, from);
    if (end < 0) return;
    const value = parsed(text.slice(from, end));
    if (value === undefined) from += 1;
    else {
      yield* within(value);
      from = end;
    }
    if (text.slice(from).search(/[[{]/) < 0) return;
  }
}

function valueEnd(text, from) {
  let depth = 0;
  let isInString = false;
  for (let i = from; i < text.length; i += 1) {
    const char = text[i];
    if (isInString) {
      if (char === "\\") i += 1;
      else if (char === '"') isInString = false;
    } else if (char === '"') isInString = true;
    else if (char === "[" || char === "{") depth += 1;
    else if (char === "]" || char === "}") {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
  }
  return -1;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function* within(value) {
  if (Array.isArray(value)) for (const item of value) yield* within(item);
  else if (value && typeof value === "object") {
    yield value;
    for (const item of Object.values(value)) if (item && typeof item === "object") yield* within(item);
  }
}

function numbers(value, length) {
  return Array.isArray(value) && value.length === length && value.every((n) => typeof n === "number");
}

function box([left, top, right, bottom], label = "") {
  const [x, x2] = left < right ? [left, right] : [right, left];
  const [y, y2] = top < bottom ? [top, bottom] : [bottom, top];
  return { kind: "box", label: (label ?? "").trim(), x, y, x2, y2 };
}

function point([x, y], label = "") {
  return { kind: "point", label: (label ?? "").trim(), x, y };
}

function isOnPicture(mark) {
  return [mark.x, mark.y, mark.x2 ?? 0, mark.y2 ?? 0].every((n) => n >= -0.01 && n <= 1.01);
}
