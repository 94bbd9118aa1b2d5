// Elements from tables: no markup is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

/** An element; "onclick" and the like are listeners, true is an empty attribute, false and null none. */
export const make = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);

/** The same for SVG. */
export const draw = (name, attributes = {}, ...children) => filled(document.createElementNS(SVG, name), attributes, children);

/** An icon of 16 x 16 from one path, in the colour of the text. */
export const icon = (d) => draw("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", fill: "none", stroke: "currentColor",
  "stroke-width": 1.5, "stroke-linecap": "round", "stroke-linejoin": "round" }, draw("path", { d }));
