"use strict";
// Elements are made, never parsed: text from data becomes a text node and nothing else.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = [
  "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z", "M-4.5,-4.5H4.5V4.5H-4.5Z", "M0,-6L5.6,4.4H-5.6Z",
  "M0,-6.2L6.2,0L0,6.2L-6.2,0Z", "M0,6L5.6,-4.4H-5.6Z", "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
];

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function fill(id, ...children) {
  document.getElementById(id).replaceChildren(...children.flat().filter(Boolean));
}

function unique(values) {
  return [...new Set(values)];
}

function thousands(number) {
  return number.toLocaleString("en-US");
}

// options: [value, text] pairs; the first is chosen unless `chosen` is given. Nothing to choose from: no control.
function choice(label, options, change, chosen) {
  const select = el("select", { onchange: () => change(select.value) });
  for (const [value, text] of options) select.append(el("option", { value }, text));
  if (chosen !== undefined) select.value = chosen;
  const whole = el("label", { hidden: options.length < 2 }, el("span", {}, label), select);
  whole.select = select;
  return whole;
}

function search(label, change) {
  const input = el("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: () => change(input.value) });
  return el("label", {}, el("span", {}, label), input);
}

// A method's mark is told by colour and by shape.
function mark(place, attributes) {
  const shape = SHAPES[(place + Math.floor(place / 8)) % SHAPES.length];
  return svg("path", { d: shape, class: "mark", ...attributes });
}

function swatch(place) {
  return svg("svg", { class: `swatch c${place % 8}`, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, mark(place));
}
