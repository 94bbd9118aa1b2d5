// The elements of the view of a photo.

import { icon, make } from "./make.js";

/** What a photo may be shown as. */
export const VIEWS = ["compare", "result", "before", "matte", "faces"];

const PAPERS = ["checker", "#ffffff", "#000000"];

const button = (key, what, path) =>
  make("button", { type: "button", class: "icon", "data-do": what, "data-t-label": `compare.${key}` }, icon(path));

const tag = (side, view) => make("span", { class: "tag", "data-tag": side, "data-t": `compare.view.${view}` });

/** All of them: the bar of views and backgrounds, the stage, the foot. */
export const shape = () => [
  make("div", { class: "bar" },
    make("div", { class: "views segments", role: "radiogroup" }, VIEWS.map((view) => make("label", {},
      make("input", { type: "radio", name: "compare-view", value: view }), make("span", { "data-t": `compare.view.${view}` })))),
    make("div", { class: "papers", role: "group", hidden: true },
      PAPERS.map((paper, at) => make("button", { type: "button", class: "swatch", "data-paper": paper, "data-t-label": `compare.paper.${at}` })),
      make("input", { type: "color", class: "swatch", "data-paper": "own", "data-t-label": "compare.paper.colour" }),
      make("label", { class: "swatch pick", "data-paper": "picture" }, icon("M2.5 3h11v10h-11zM3 11l3-3 2.5 2.5 2-1.5 2.5 2.5M10.5 6h.01"),
        make("input", { type: "file", accept: "image/*", "data-t-label": "compare.paper.picture" })))),
  make("div", { class: "stage", tabindex: 0, role: "group" },
    make("div", { class: "side", "data-side": "before" }),
    make("div", { class: "side", "data-side": "after" }, make("div", { class: "paper" })),
    make("div", { class: "boxes", "aria-hidden": "true" }),
    tag("before", "before"), tag("after", "result"),
    make("div", { class: "handle", role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 50 }, make("i")),
    make("p", { class: "note", role: "status" }),
    make("div", { class: "wait", hidden: true })),
  make("div", { class: "bar foot" },
    make("div", { class: "which" },
      button("previous", "previous", "M10 3 5 8l5 5"),
      make("p", {}, make("b", { class: "name" }), make("span", { class: "size" })),
      button("next", "next", "m6 3 5 5-5 5")),
    make("div", { class: "zoom", role: "group" },
      button("hold", "hold", "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z"),
      button("out", "out", "M3 8h10"),
      make("button", { type: "button", class: "quiet level", "data-do": "toggle" }),
      button("in", "in", "M3 8h10M8 3v10"),
      button("fit", "fit", "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10"))),
];
