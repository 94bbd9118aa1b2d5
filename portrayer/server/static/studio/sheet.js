// The contact sheet: one photo, small, with each of several sets of options.

import { make as element } from "./make.js";
import { reason } from "./say.js";

const AT_ONCE = 2;

/** Fills and opens a dialog with [{title, options}]: `make(options, signal)` gives a picture, `onpick(options)` is told of a press. */
export function sheet(dialog, sets, { make, onpick }) {
  const ending = new AbortController();
  const cards = sets.map(({ title, options }) => {
    const frame = element("span", { class: "view" });
    const card = element("button", { type: "button", "aria-busy": "true", onclick: () => { dialog.close(); onpick(options); } }, frame, title);
    return { options, frame, card };
  });
  dialog.querySelector(".body").replaceChildren(...cards.map(({ card }) => card));
  dialog.onclose = () => ending.abort();
  dialog.showModal();

  async function next() {
    for (let each; (each = cards.shift()) && !ending.signal.aborted;) {
      const { options, frame, card } = each;
      try {
        const image = element("img", { src: URL.createObjectURL(await make(options, ending.signal)), alt: "" });
        image.onload = () => URL.revokeObjectURL(image.src);
        frame.replaceChildren(image);
      } catch (error) {
        if (error.name === "AbortError") return;
        frame.append(element("small", {}, reason(error)));
      }
      card.ariaBusy = "false";
    }
  }
  for (let n = 0; n < AT_ONCE; n++) next();
}
