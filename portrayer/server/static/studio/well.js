// A well of the task "fuse": one photo, its faces as boxes, one of them picked.

import { icon, make } from "./make.js";
import { t } from "./text.js";

const FACE = 48; // px of a face to pick

const ADD = "M8 3v10M3 8h10";
const AWAY = "m4 4 8 8M12 4l-8 8";

/** One well: takes photos by click, drop and paste, shows one and lets a face of it be picked. */
export function well(name, { all, onfiles, onface, onremove }) {
  const input = make("input", { type: "file", accept: "image/*", multiple: name === "target", tabindex: -1, "aria-hidden": "true", class: "visually-hidden" });
  const frame = make("div", { class: "frame" });
  const said = make("p", { class: "said", role: "status" });
  const add = make("button", { type: "button", class: "add", onclick: () => input.click() },
    icon(ADD), make("span", {}, make("span", { "data-t": `fuse.${name}.add` }), " ", make("span", { "data-t": "fuse.add" })));
  const remove = onremove && make("button", { type: "button", class: "icon remove", "data-t-label": "fuse.source.remove", onclick: onremove }, icon(AWAY));
  const faces = make("div", { class: "faces", role: "radiogroup", "data-t-label": `fuse.${name}.faces` });
  const element = make("div", { class: "well" },
    make("h2", { "data-t": `fuse.${name}` }), make("div", { class: "place" }, frame, add, remove, input), said);
  let seen = null;
  let words = () => ""; // what is said of it
  let address = ""; // of what is seen
  let face = 0; // its rank; -1: all of them

  const give = (files) => files.length && onfiles([...files]);
  input.onchange = () => { give(input.files); input.value = ""; };
  const place = element.querySelector(".place");
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", ({ relatedTarget }) => place.classList.toggle("over", place.contains(relatedTarget)));
  place.addEventListener("drop", (event) => {
    place.classList.remove("over");
    if (!event.dataTransfer.files.length) return;
    event.preventDefault(); // the page would take it as one more photo of the sheet
    give(event.dataTransfer.files);
  });
  element.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    give(event.clipboardData.files);
  });

  function pick(rank) {
    face = rank;
    mark();
    onface();
  }

  function mark() {
    frame.querySelectorAll(".box").forEach((box, rank) => box.classList.toggle("chosen", face < 0 || rank === face));
    for (const radio of faces.querySelectorAll("input")) radio.checked = Number(radio.value) === face;
  }

  /** A square of the photo around one face. */
  function crop([x, y, width, height]) {
    const ratio = FACE / (1.5 * Math.max(width, height));
    const image = make("img", { src: address, alt: "", draggable: "false" });
    Object.assign(image.style, { width: `${seen.width * ratio}px`, height: `${seen.height * ratio}px`,
      left: `${FACE / 2 - (x + width / 2) * ratio}px`, top: `${FACE / 2 - (y + height / 2) * ratio}px` });
    return image;
  }

  const radio = (rank, words, inside) => make("label", { class: "face", title: words },
    make("input", { type: "radio", name: `fuse-${name}-face`, value: rank, "aria-label": words, class: "visually-hidden", onchange: () => pick(rank) }), inside);

  function drawn() {
    const found = seen?.faces ?? [];
    frame.replaceChildren(...(seen ? [make("img", { src: address, alt: t(`fuse.${name}`), width: seen.width, height: seen.height, draggable: "false" })] : []));
    frame.append(...found.map(([x, y, width, height], rank) => {
      const box = make("span", { class: "box", onclick: () => pick(rank) });
      const part = (value, whole) => `${(100 * value) / whole}%`;
      Object.assign(box.style, { left: part(x, seen.width), top: part(y, seen.height),
        width: part(width, seen.width), height: part(height, seen.height) });
      return box;
    }));
    const few = found.length < 2 && !(found.length && face > 0);
    faces.hidden = few;
    faces.replaceChildren(...(few ? [] : [
      ...found.map((box, rank) => radio(rank, t(rank ? "fuse.face" : "fuse.face.largest", { n: rank + 1 }), crop(box))),
      ...(all ? [radio(-1, t("fuse.face.all"), make("span", {}, t("fuse.face.all.short")))] : []),
    ]));
    element.classList.toggle("full", Boolean(seen));
    said.textContent = words();
    mark();
  }

  drawn();
  return {
    element,
    faces,
    drawn,
    /** Another photo that was looked at, or null. All targets share the rank of their face; of a source it is the largest. */
    show(next) {
      URL.revokeObjectURL(address);
      address = next ? URL.createObjectURL(next.blob) : "";
      seen = next;
      if (!all) face = 0;
      drawn();
    },
    /** `next()` gives the words, in the language of the time. */
    say(next, wrong = false) {
      words = next;
      said.textContent = words();
      said.classList.toggle("bad", wrong);
    },
    seen: () => seen,
    rank: () => face,
    found: () => (seen?.faces.length ?? 0) > Math.max(0, face),
    face: () => (face < 0 ? "all" : face ? String(face + 1) : "largest"),
    focus: () => add.focus(),
  };
}
