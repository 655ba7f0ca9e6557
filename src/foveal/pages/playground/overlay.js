// A picture with what lies over it: the model's crops as a grid, and the boxes and points of an answer.

import { h, svg } from "../shared/dom.js";

/**
 * @param picture with `measured` {width, height, grid} if the server has measured it
 * @param {{grid?: boolean, marks?: object[]}} shown
 */
export function pictureFigure(picture, { grid = false, marks = [] } = {}) {
  const image = h("img", { src: picture.url, alt: picture.name, draggable: false });
  const measured = picture.measured;
  if (!measured) return h("span", { className: "picture" }, image);
  const area = drawnArea(measured, grid);
  const layers = svg("svg", { viewBox: viewBox(area), "aria-hidden": "true", preserveAspectRatio: "none" });
  if (grid && measured.grid) layers.append(...gridLines(measured));
  marks.forEach((mark, index) => layers.append(...drawn(mark, index, measured)));
  const figure = h("span", { className: "picture placed" }, image, layers);
  figure.style.aspectRatio = `${area.width} / ${area.height}`;
  figure.style.setProperty("--ratio", area.width / area.height);
  for (const [property, value] of Object.entries(within(area, measured))) image.style[property] = value;
  return figure;
}

/** What of the plane is shown: the picture, and where the model pads it. */
function drawnArea({ width, height, grid }, withGrid) {
  if (!withGrid || !grid) return { x: 0, y: 0, width, height };
  const [x, y] = [Math.min(0, grid.left), Math.min(0, grid.top)];
  return { x, y, width: Math.max(width, grid.right) - x, height: Math.max(height, grid.bottom) - y };
}

function viewBox({ x, y, width, height }) {
  return `${x} ${y} ${width} ${height}`;
}

/** Where the image is in the area, in per cent. */
function within(area, { width, height }) {
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  return {
    left: percent(-area.x, area.width),
    top: percent(-area.y, area.height),
    width: percent(width, area.width),
    height: percent(height, area.height),
  };
}

function* gridLines({ grid }) {
  const [width, height] = [grid.right - grid.left, grid.bottom - grid.top];
  const kind = grid.rows * grid.columns > 40 ? "grid fine" : "grid";
  for (let row = 0; row <= grid.rows; row += 1) {
    const y = grid.top + (row * height) / grid.rows;
    yield svg("line", { x1: grid.left, x2: grid.right, y1: y, y2: y, class: kind });
  }
  for (let column = 0; column <= grid.columns; column += 1) {
    const x = grid.left + (column * width) / grid.columns;
    yield svg("line", { x1: x, x2: x, y1: grid.top, y2: grid.bottom, class: kind });
  }
}

function* drawn(mark, index, { width, height }) {
  const [x, y] = [mark.x * width, mark.y * height];
  const color = `mark color-${index % 6}`;
  if (mark.kind === "point") {
    yield svg("circle", { cx: x, cy: y, r: Math.max(width, height) / 90, class: `${color} point` });
  } else {
    yield svg("rect", { x, y, width: (mark.x2 - mark.x) * width, height: (mark.y2 - mark.y) * height, class: color });
  }
  if (mark.label) {
    const size = Math.max(width, height) / 32;
    yield svg("text", { x: x + size / 4, y: y > size * 1.4 ? y - size / 3 : y + size, "font-size": size, class: color }, mark.label);
  }
}

/** A mark in pixels of the original picture, for people to read. */
export function inPixels(mark, { width, height }) {
  const [x, y] = [Math.round(mark.x * width), Math.round(mark.y * height)];
  const where =
    mark.kind === "point" ? `${x}, ${y}` : `${x}, ${y} to ${Math.round(mark.x2 * width)}, ${Math.round(mark.y2 * height)}`;
  return mark.label ? `${mark.label}: ${where}` : where;
}
