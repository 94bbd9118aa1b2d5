// Fusing: whose face, into which photo, how far; seen at once, small, while the slider moves.

import { photo } from "./api.js";
import { keep, recall } from "./kept.js";
import { see } from "./look.js";
import { make } from "./make.js";
import { reason, refused, toast } from "./say.js";
import { fileOf, on, state, unread } from "./state.js";
import { label, number, onlanguage, t } from "./text.js";
import { soon, trying } from "./trial.js";
import { well } from "./well.js";
import { add } from "./work.js";

const OWN = ["source-face", "target-face", "blend", "consent"]; // the options that are set here
const KEPT = "fuse";
const LOOKED = { strength: 0, denoise: 0, "max-side": 1024, format: "jpeg", quality: 90, "min-face": 8 }; // a photo with its faces, small
const SMALL = { "max-side": 640, format: "webp", quality: 80 };
const FULL = ["max-side", "format", "quality", "output"]; // of the result alone, not of the preview
const SURE = "min-score"; // of a face: what fusing would not see is no face here
const MANY = 24; // photos whose faces are remembered
const SOON = 150; // ms that a photo stays selected before its faces are looked for
const BLEND = 0.8;

/** A photo as JPEG of at most 1024 px, with its faces, the largest first: {blob, width, height, faces}. */
async function looked(file, signal) {
  const sure = state.options.fuse?.[SURE] ?? state.tasks.fuse.options.properties[SURE].default;
  const seen = await photo("enhance", [["photo", file]], { options: { ...LOOKED, [SURE]: sure } }, { json: true, signal });
  const blob = new Blob([Uint8Array.from(atob(seen.result_b64), (c) => c.charCodeAt(0))], { type: "image/jpeg" });
  const faces = seen.faces.toSorted((a, b) => b[2] * b[3] - a[2] * a[3]);
  return { blob, width: seen.width, height: seen.height, faces };
}

/**
 * Fills root with the panel of fusing. The target is the photo that is selected in the sheet; while the slider
 * moves it is seen fused, small, unless a trial is on.
 * Gives {options, wish(), take(file), again(), still()}: `options` are the names that the panel sets itself;
 * `wish()` is {files, options} that go beside the photos, or null, and then it has told what is missing;
 * `take` sets the source; `again` and `still` begin and end a preview.
 */
export function fuse(root) {
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
  const target = well("target", { all: true, onfiles: add, onface: again });
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
    const several = () => (more > 0 ? t(rank > 1 ? "fuse.more.face" : "fuse.more", { n: more, face: rank }) : "");
    const none = () => t(target.seen()?.faces.length ? "fuse.no-such-face" : "fuse.no-face", { n: rank });
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
    source.say(() => (next ? t("fuse.looking") : ""));
    said();
    if (!next) return;
    try {
      const seen = await looked(next);
      if (file !== next) return;
      source.show(seen);
      source.say(() => (seen.faces.length ? "" : t("fuse.no-face")), !seen.faces.length);
    } catch (error) {
      if (file !== next) return;
      file = null;
      source.say(() => reason(error), true);
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
    if (wrong) target.say(() => reason(wrong), true);
    else target.say(() => (entry && !known ? t("fuse.looking") : ""));
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
      const seen = await looked(await fileOf(mine, signal), signal);
      cache.set(mine, seen);
      if (cache.size > MANY) cache.delete(cache.keys().next().value);
      if (entry !== mine) return;
      target.show(seen);
      first();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (["decode", "too-large"].includes(error.code)) cache.set(mine, error); // it is not asked again
      if (entry === mine) target.say(() => reason(error), true);
    }
  }

  // --- the preview -----------------------------------------------------------------------

  /** What is seen may be old: fused anew, one at a time, the latest wish at last. */
  function again() {
    said();
    const [from, to] = [source.seen(), target.seen()];
    if (!active() || !kept.consent || !from?.faces.length || !target.found() || soon()) return;
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
      if (flight === own && entry === mine && active() && !trying() && state.sending === null) see({ entry: mine, blob, faces: { boxes: to.faces, width: to.width } });
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
