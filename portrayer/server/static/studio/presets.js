// The presets of a task: the server's and one's own, each with a drawing of what it does.

import { COLOURS } from "./fields.js";
import { keep, recall } from "./kept.js";
import { draw, make } from "./make.js";
import { either } from "./text.js";

const KEPT = "presets";

const kept = (task) => recall(KEPT)[task.name] ?? [];
const store = (task, own) => keep(KEPT, { ...recall(KEPT), [task.name]: own });

/** Keep these options as a preset of one's own; false where the browser does not. */
export const learn = (task, name, options) => store(task, [...kept(task).filter((each) => each.name !== name), { name, options }]);

/** Keep one's own preset of this name no more. */
export const forget = (task, name) => store(task, kept(task).filter((each) => each.name !== name));

/** The presets of a task: [{name, title, help, options, own}], the standard first, one's own last. */
export function presets(task) {
  return [
    { name: "standard", help: "", options: {} },
    ...task.presets,
    ...kept(task).map((each) => ({ ...each, own: true })),
  ].map((each) => ({
    own: false,
    ...each,
    title: (!each.own && either(`preset.${each.name}`)) || each.name,
    help: (!each.own && either(`preset.${each.name}.help`)) || each.help || "",
  }));
}

const BUST = "M36 9a8 8 0 0 1 0 16a8 8 0 0 1 0-16zM18 48a18 18 0 0 1 36 0z";
const MARKS = {
  product: [["path", { d: "M21 16l15-7 15 7v18l-15 7-15-7zM21 16l15 7 15-7M36 23v18", class: "line" }]],
  social: [["circle", { cx: 36, cy: 24, r: 21, class: "ring" }]],
  complex: [["path", { d: "M-6 42l9-32M8 46l4-26M62 46l3-30M78 40L67 9M-8 15l13 5M80 21l-12 4", class: "line thin" }]],
  fast: [["path", { d: "M67 7l-7 10h5l-3 9 9-12h-5z", class: "mark" }]],
  "old-photo": [["path", { d: "M-7 4h86v40H-7zM2 4l7 12-4 9M72 44l-6-10 3-7", class: "line thin" }]],
  retouch: [["path", { d: "M66 7l2 6 6 2-6 2-2 6-2-6-6-2 6-2zM57 23l1 3 3 1-3 1-1 3-1-3-3-1 3-1z", class: "mark" }]],
};

/** A drawing of a preset: what it puts behind whom. */
export function art(preset, task) {
  const behind = preset.options.background ?? (task.options.properties.background ? "none" : "");
  const figure = preset.name === "product" && !preset.own ? [] : [draw("path", { d: BUST, class: "bust" })];
  const marks = (!preset.own && MARKS[preset.name]) || [];
  const svg = draw("svg", { viewBox: "-12 0 96 48", preserveAspectRatio: "xMidYMax meet", "aria-hidden": "true" },
    figure, marks.map(([name, attributes]) => draw(name, attributes)));
  const box = make("span", { class: `art ${behind === "none" ? "checker" : ""}` }, svg);
  box.dataset.preset = preset.name;
  if (behind && behind !== "none" && behind !== "blur") box.style.background = COLOURS[behind] ?? behind;
  return box;
}
