// Fusing: whose face, into which photo, how far; seen at once, small, while the slider moves.

import { photo, picture } from "./api.js";
import { keep, recall } from "./kept.js";
import { icon, make } from "./make.js";
import { reason, unread } from "./queue.js";
import { on, state } from "./state.js";
import { label, number, onlanguage, t } from "./text.js";

const OWN = ["source-face", "target-face", "blend", "consent"];

const KEPT = "fuse";
const LOOKED = { strength: 0, denoise: 0, "max-side": 1024, format: "jpeg", quality: 90, "min-face": 8 }; // a photo with its faces, small
const SMALL = { "max-side": 640, format: "webp", quality: 80 };
const FULL = ["max-side", "format", "quality", "output"]; // of the result alone, not of the preview
const SURE = "min-score"; // of a face: what fusing would not see is no face here
const MANY = 24; // photos whose faces are remembered
const SOON = 150; // ms that a photo stays selected before its faces are looked for
const BLEND = 0.8;
const FACE = 48; // px of a face to pick

const ADD = "M8 3v10M3 8h10";
const AWAY = "m4 4 8 8M12 4l-8 8";

/** A photo as JPEG of at most 1024 px, with its faces, the largest first: {blob, width, height, faces}. */
async function looked(file, signal) {
  const sure = state.options.fuse?.[SURE] ?? state.tasks.fuse.options.properties[SURE].default;
  const seen = await photo("enhance", [["photo", file]], { options: { ...LOOKED, [SURE]: sure } }, { json: true, signal });
  const blob = new Blob([Uint8Array.from(atob(seen.result_b64), (c) => c.charCodeAt(0))], { type: "image/jpeg" });
  const faces = seen.faces.toSorted((a, b) => b[2] * b[3] - a[2] * a[3]);
  return { blob, width: seen.width, height: seen.height, faces };
}

/** One well: takes photos by click, drop and paste, shows one and lets a face of it be picked. */
function well(name, { all, onfiles, onface, onremove }) {
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
    say(text, wrong = false) {
      said.textContent = text;
      said.classList.toggle("bad", wrong);
    },
    seen: () => seen,
    rank: () => face,
    found: () => (seen?.faces.length ?? 0) > Math.max(0, face),
    face: () => (face < 0 ? "all" : face ? String(face + 1) : "largest"),
    focus: () => add.focus(),
  };
}

/**
 * Fills root with the panel of fusing. The target is the photo that is selected in the sheet; while the slider
 * moves, `onpreview({entry, blob, faces})` gets it fused, small; not where `busy()` says that the page makes one itself.
 * `refused(error)` and `toast(text)` tell; `onfiles(files)` takes photos for the sheet.
 * Gives {options, wish(), take(file), again(), still()}: `options` are the names that the panel sets itself;
 * `wish()` is {files, options} that go beside the photos, or null, and then it has told what is missing;
 * `take` sets the source; `again` and `still` begin and end a preview.
 */
export function fuse(root, { onpreview, busy, refused, toast, onfiles }) {
  const kept = { blend: BLEND, consent: false, ...recall(KEPT) };
  const cache = new Map(); // what was looked at, by entry
  let file = null; // the source
  let entry = null; // the target
  let finding = null; // AbortController of the faces that are looked for
  let timer = 0;
  let flight = null; // the preview under way: {of, ending}
  let due = false; // another one after it

  const source = well("source", {
    onfiles: ([first]) => take(first), onface: again, onremove: () => { take(null); source.focus(); },
  });
  const target = well("target", { all: true, onfiles, onface: again });
  const blend = make("input", { type: "range", id: "fuse-blend", min: 0, max: 1, step: 0.01, value: kept.blend });
  const percent = make("output", { for: "fuse-blend", class: "figure" });
  const consent = make("input", { type: "checkbox", id: "fuse-consent" });
  const note = make("p", { class: "note", role: "status" });
  consent.checked = kept.consent;
  root.classList.add("fuse");
  root.replaceChildren(
    make("div", { class: "wells" }, source.element, target.element),
    source.faces, target.faces,
    make("div", { class: "blend" },
      make("label", { for: "fuse-blend", "data-t": "fuse.blend" }), percent, blend,
      make("small", { "data-t": "fuse.target" }), make("small", { "data-t": "fuse.source" })),
    make("label", { class: "consent" }, consent, make("span", { "data-t": "fuse.consent" })),
    note,
  );

  function prefer(change) {
    Object.assign(kept, change);
    keep(KEPT, kept);
    again();
  }

  const active = () => state.task === "fuse";

  function missing() {
    if (!file) return t("fuse.missing.source");
    if (source.seen() && !source.seen().faces.length) return t("fuse.missing.face");
    if (!state.entries.length) return t("fuse.missing.target");
    return kept.consent ? "" : t("fuse.missing.consent");
  }

  function values() {
    const chosen = { "source-face": source.face(), "target-face": target.face(), blend: kept.blend, consent: kept.consent };
    const usual = { "source-face": "largest", "target-face": "largest", blend: BLEND, consent: false };
    return Object.fromEntries(Object.entries(chosen).filter(([name, value]) => value !== usual[name]));
  }

  function said() {
    const more = state.entries.length - 1;
    const rank = target.rank() + 1;
    const several = more > 0 ? t(rank > 1 ? "fuse.more.face" : "fuse.more", { n: more, face: rank }) : "";
    const none = target.seen()?.faces.length ? t("fuse.no-such-face", { n: rank }) : t("fuse.no-face");
    if (target.seen()) target.say(target.found() ? several : none, !target.found());
    const wanting = missing();
    note.textContent = wanting;
    note.hidden = !wanting;
    percent.textContent = `${number(Math.round(100 * kept.blend))} %`;
    blend.style.setProperty("--part", `${100 * kept.blend}%`);
    blend.setAttribute("aria-valuetext", percent.textContent);
  }

  // --- the two photos --------------------------------------------------------------------

  async function take(next) {
    file = next;
    source.show(null);
    source.say(next ? t("fuse.looking") : "");
    said();
    if (!next) return;
    try {
      const seen = await looked(next);
      if (file !== next) return;
      source.show(seen);
      source.say(seen.faces.length ? "" : t("fuse.no-face"), !seen.faces.length);
    } catch (error) {
      if (file !== next) return;
      file = null;
      source.say(reason(error), true);
    }
    again();
  }

  /** The target follows the sheet's selection. */
  function follow() {
    if (!active()) return still();
    if (entry === state.selected) return first();
    entry = state.selected;
    clearTimeout(timer);
    finding?.abort();
    still();
    const known = entry && cache.get(entry);
    const wrong = known instanceof Error ? known : entry && unread(entry) ? entry.item.error : null;
    target.show(wrong ? null : known ?? null);
    if (wrong) target.say(reason(wrong), true);
    else target.say(entry && !known ? t("fuse.looking") : "");
    if (entry && !known && !wrong) timer = setTimeout(find, SOON, entry);
    first();
  }

  function still() {
    due = false;
    flight?.ending.abort();
    flight = null;
    root.ariaBusy = "false";
  }

  /** Nothing was changed: a photo of a job is shown as it is. */
  function first() {
    if (entry && !entry.item) again();
    else said();
  }

  async function find(mine) {
    finding = new AbortController();
    const { signal } = finding;
    try {
      const seen = await looked(mine.file ?? await picture(mine.item, "input", signal), signal);
      cache.set(mine, seen);
      if (cache.size > MANY) cache.delete(cache.keys().next().value);
      if (entry !== mine) return;
      target.show(seen);
      first();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (["decode", "too-large"].includes(error.code)) cache.set(mine, error); // it is not asked again
      if (entry === mine) target.say(reason(error), true);
    }
  }

  // --- the preview -----------------------------------------------------------------------

  /** What is seen may be old: fused anew, one at a time, the latest wish at last. */
  function again() {
    said();
    const [from, to] = [source.seen(), target.seen()];
    if (!active() || !kept.consent || !from?.faces.length || !target.found() || busy()) return;
    const of = [from, to, source.face(), target.face()];
    if (flight?.of.every((part, at) => part === of[at])) {
      due = true; // only the slider moved: what comes is nearly right, and the next follows it
      return;
    }
    flight?.ending.abort();
    preview(of, entry);
  }

  async function preview(of, mine) {
    const [from, to] = of;
    const own = { of, ending: new AbortController() };
    flight = own;
    due = false;
    root.ariaBusy = "true";
    const options = Object.fromEntries(Object.entries(state.options.fuse ?? {})
      .filter(([name, value]) => ![...FULL, ...OWN].includes(name) && !(value instanceof Blob)));
    try {
      const blob = await photo("fuse", [["source", from.blob], ["target", to.blob]],
        { options: { ...options, ...values(), ...SMALL } }, { signal: own.ending.signal });
      if (flight === own && entry === mine && active()) onpreview({ entry: mine, blob, faces: { boxes: to.faces, width: to.width } });
    } catch (error) {
      if (flight === own) due = false;
      refused(error);
    }
    if (flight !== own) return;
    flight = null;
    root.ariaBusy = "false";
    if (due) again();
  }

  blend.addEventListener("input", () => {
    prefer({ blend: Number(blend.value) });
  });
  blend.addEventListener("dblclick", () => {
    blend.value = BLEND;
    prefer({ blend: BLEND });
  });
  consent.addEventListener("change", () => {
    prefer({ consent: consent.checked });
  });

  on("selected", follow);
  on("entries", follow);
  on("task", follow);
  on("options", (task) => { if (task === "fuse") first(); });
  onlanguage(() => {
    for (const each of [source, target]) each.drawn();
    said();
  });
  label(root);
  follow();

  return {
    options: OWN,
    take,
    still,
    again: first,
    wish() {
      const wanting = missing();
      if (!wanting) return { files: [["source", file]], options: values() };
      toast(wanting);
      if (!source.seen()?.faces.length) source.focus();
      else if (!state.entries.length) target.focus();
      else consent.focus();
      return null;
    },
  };
}
