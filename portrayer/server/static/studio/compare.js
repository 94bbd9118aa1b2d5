// Before and after: one slider, one zoom, whatever photo is shown.

import { gestures } from "./gestures.js";
import { keep, recall } from "./kept.js";
import { make } from "./make.js";
import { decoded, release, seeThrough } from "./pictures.js";
import { clamp, placed } from "./place.js";
import { shape } from "./stage.js";
import { label, number, onlanguage, t } from "./text.js";

const KEPT = "compare";
const TAG = 96; // px that a word in a corner takes
const PATIENCE = 200; // ms until it says that it loads
const PAN = 64; // px at a key

/**
 * Fills root with the view of a photo: {show({before, after, matte, faces, name}), clear(), onstep(fn), key(event)}.
 * Pictures are addresses or Blobs. `faces`: boxes [x, y, width, height] in pixels of `after` (else of `before`),
 * or {boxes, width} where they were found at another size. `matte` and `faces` may be functions (async too),
 * asked when they are first wanted. `key` takes a keydown or keyup from elsewhere on the page.
 */
export function compare(root) {
  root.classList.add("compare");
  root.replaceChildren(...shape());
  const one = (selector) => root.querySelector(selector);
  const stage = one(".stage");
  const holder = one("[data-do=hold]");
  const [handle, boxes, paper, note, wait] = [".handle", ".boxes", ".paper", ".note", ".wait"].map(one);
  const sides = { before: one("[data-side=before]"), after: one("[data-side=after]") };

  const kept = { view: "compare", paper: "checker", colour: "#7a8ba0", ...recall(KEPT) };
  const place = placed();
  const { box, frame } = place;
  const pictures = { before: null, after: null, matte: null };
  const loading = new Set();
  let shown = {};
  let turn = 0;
  let begun = false; // there is, or will be, something to show
  let split = 0.5;
  let held = false;
  let clear = false; // the result has no background of its own
  let step = () => {};
  let drawing = 0;
  let background = null; // the user's own picture

  // --- what is seen ----------------------------------------------------------------------

  const listed = () => (Array.isArray(shown.faces) ? shown.faces : shown.faces?.boxes);
  const there = {
    compare: () => pictures.before && pictures.after,
    result: () => pictures.after,
    before: () => pictures.before,
    matte: () => pictures.after && (shown.matte || pictures.matte || clear),
    faces: () => (pictures.after || pictures.before) && shown.faces,
  };

  /** The view that was chosen, or the nearest that this photo has. */
  function view() {
    return [held ? "before" : kept.view, "result", "before"].find((name) => there[name]()) ?? "";
  }

  /** From where to where a photo lies on the stage, across. */
  const seen = ({ left, width }) => [Math.max(0, left), Math.min(box.width, left + width)];

  function redraw() {
    drawing ||= requestAnimationFrame(draw);
  }

  function draw() {
    drawing = 0;
    const now = view();
    stage.dataset.view = now;
    for (const each of root.querySelectorAll(".views input")) {
      each.checked = each.value === (held ? kept.view : now);
      each.disabled = !there[each.value]();
    }
    one(".papers").hidden = !clear;
    for (const each of root.querySelectorAll(".papers [data-paper]")) {
      each.classList.toggle("chosen", each.dataset.paper === kept.paper);
      if (each.matches("button")) each.ariaPressed = String(each.dataset.paper === kept.paper);
    }
    for (const each of root.querySelectorAll(".zoom button")) each.disabled = !now;
    for (const each of root.querySelectorAll(".which button")) each.disabled = !begun;
    holder.disabled = !there.compare();
    holder.ariaPressed = String(held);
    handle.hidden = now !== "compare";
    if (!now || !box.width || !frame.width) return written(now);

    const area = place.rect();
    const { top, height } = area;
    const rect = Object.fromEntries(Object.entries(area).map(([name, value]) => [name, `${value}px`]));
    for (const each of [...Object.values(pictures), paper, boxes]) if (each) Object.assign(each.style, rect);
    stage.classList.toggle("crisp", place.crisp());
    stage.classList.toggle("zoomed", !place.fits());

    const onMatte = now === "matte";
    const untouched = now === "before" || (now === "faces" && pictures.before && (clear || !pictures.after));
    sides.before.hidden = !untouched && now !== "compare";
    sides.after.hidden = untouched;
    if (pictures.after) {
      pictures.after.hidden = onMatte && Boolean(pictures.matte);
      pictures.after.classList.toggle("alpha", onMatte && !pictures.matte);
    }
    if (pictures.matte) pictures.matte.hidden = !onMatte;
    paper.hidden = !clear && !onMatte;
    const colour = kept.paper === "own" ? kept.colour : kept.paper;
    paper.classList.toggle("checker", !onMatte && kept.paper === "checker");
    paper.style.backgroundColor = onMatte ? "#000" : colour.startsWith("#") ? colour : "";
    paper.style.backgroundImage = !onMatte && kept.paper === "picture" && background ? `url("${background}")` : "";

    const [from, to] = seen(area);
    const at = from + (to - from) * split;
    const both = now === "compare";
    sides.before.style.clipPath = both ? `inset(0 ${box.width - at}px 0 0)` : "";
    sides.after.style.clipPath = both ? `inset(0 0 0 ${at}px)` : "";
    const [above, below] = [Math.max(0, top), Math.min(box.height, top + height)];
    Object.assign(handle.style, { left: `${at}px`, top: `${above}px`, height: `${below - above}px` });
    handle.ariaValueNow = String(Math.round(100 * split));
    handle.ariaValueText = `${number(Math.round(100 * split))} %`;
    for (const each of root.querySelectorAll(".tag")) {
      const first = each.dataset.tag === "before";
      each.style.top = `${above + 8}px`;
      each.style[first ? "left" : "right"] = `${(first ? from : box.width - to) + 8}px`;
      each.classList.toggle("on", both ? (first ? at - from : to - at) > TAG : first && now === "before");
    }
    boxed(now);
    written(now);
  }

  /** Boxes of the faces, ranked by size as the options count them. */
  function boxed(now) {
    const found = now === "faces" && listed();
    boxes.hidden = !found;
    if (!found) return;
    const of = shown.faces.width ?? (pictures.after ?? pictures.before).naturalWidth;
    const ratio = (frame.width / of) * place.scale();
    const ranked = [...found].sort((a, b) => b[2] * b[3] - a[2] * a[3]);
    boxes.replaceChildren(...ranked.map(([x, y, width, height], rank) => {
      const mark = make("span", {}, make("b", {}, rank + 1));
      Object.assign(mark.style, { left: `${x * ratio}px`, top: `${y * ratio}px`,
        width: `${width * ratio}px`, height: `${height * ratio}px` });
      return mark;
    }));
  }

  function written(now) {
    const of = (picture) => `${picture.naturalWidth} × ${picture.naturalHeight}`;
    const sizes = [pictures.before, pictures.after].filter(Boolean).map(of);
    one(".name").textContent = one(".name").title = shown.name ?? "";
    one(".size").textContent = [...new Set(sizes)].join(" → ");
    const button = one(".level");
    button.textContent = now && box.width ? `${number(Math.round(100 * place.level()))} %` : "–";
    button.title = t(place.fits() ? "compare.whole" : "compare.fit");
    button.ariaLabel = `${button.textContent}, ${button.title}`;
    const found = now === "faces" && listed();
    const said = !wait.hidden ? ""
      : !now ? (begun ? shown.before || shown.after ? "compare.unreadable" : "" : "compare.empty")
      : now !== "faces" || found?.length ? "" : found ? "compare.faces.none" : "compare.faces.wait";
    const told = said && t(said);
    if (note.textContent !== told) note.textContent = told; // or it is read out at every frame
  }

  // --- loading ---------------------------------------------------------------------------

  function put(name, picture) {
    if (pictures[name] !== picture) release(pictures[name]);
    pictures[name] = picture;
    if (picture) sides[name === "before" ? "before" : "after"].append(picture);
  }

  function named() {
    for (const [name, picture] of Object.entries(pictures)) {
      if (picture) picture.alt = t(`compare.alt.${name}`, { name: shown.name ?? "" });
    }
  }

  /** The frame is as large as the finer of both, so that a small preview does not change the zoom. */
  function framed() {
    const { before, after } = pictures;
    const ratio = (image) => image.naturalWidth / image.naturalHeight;
    const alike = before && after && Math.abs(ratio(before) / ratio(after) - 1) < 0.02;
    const finest = alike && before.naturalWidth > after.naturalWidth ? before : after ?? before;
    frame.width = finest?.naturalWidth ?? 0;
    frame.height = finest?.naturalHeight ?? 0;
  }

  /** Something waits: said after a moment, so that nothing flickers. */
  function waiting(mine) {
    setTimeout(() => {
      if (mine !== turn || !loading.size) return;
      wait.hidden = false;
      stage.ariaBusy = "true";
      redraw();
    }, PATIENCE);
  }

  function arrived() {
    wait.hidden = true;
    stage.ariaBusy = "false";
  }

  async function show(next) {
    const mine = ++turn;
    begun = true;
    for (const image of loading) { // no longer wanted
      loading.delete(image);
      if (!image.own) image.src = "";
    }
    waiting(mine);
    const same = pictures.before && pictures.before.source === next.before;
    const [before, after] = await Promise.all([
      same ? pictures.before : decoded(next.before, loading),
      decoded(next.after, loading),
    ]);
    if (mine !== turn) {
      if (!same) release(before);
      return release(after);
    }
    shown = { ...next };
    put("before", before);
    put("after", after);
    put("matte", null);
    named();
    clear = Boolean(after && seeThrough(after));
    framed();
    arrived();
    redraw();
    await wanted();
  }

  /** The matte and the faces, when they are first looked at. */
  async function wanted() {
    const mine = turn;
    const ask = async (source) => (typeof source === "function" ? source() : source);
    const none = () => null;
    if (kept.view === "matte" && shown.matte && pictures.after && !pictures.matte) {
      waiting(mine);
      const source = await ask(shown.matte).catch(none);
      const picture = mine === turn ? await decoded(source, loading) : null;
      if (mine !== turn) return release(picture);
      shown.matte = null; // where there is none, the result's own transparency is shown
      put("matte", picture);
      named();
      arrived();
    }
    if (kept.view === "faces" && shown.faces && !listed()) {
      shown.faces = ask(shown.faces).catch(none); // asked once, however often it is looked for
      const found = await shown.faces;
      if (mine !== turn) return;
      shown.faces = found;
    }
    redraw();
  }

  function empty() {
    turn += 1;
    shown = {};
    for (const name of Object.keys(pictures)) put(name, null);
    boxes.replaceChildren();
    begun = false;
    clear = false;
    arrived();
    redraw();
  }

  // --- zoom, pan, divider ------------------------------------------------------------------

  function divide(x) {
    const [from, to] = seen(place.rect());
    split = clamp((x - from) / (to - from), 0, 1);
  }

  function hold(on) {
    if (held === on) return;
    held = on;
    redraw();
  }

  gestures(stage, handle, place, { divide, divides: () => stage.dataset.view === "compare", changed: redraw });

  // --- keys ------------------------------------------------------------------------------

  const DOES = {
    previous: () => step(-1), next: () => step(1), hold: () => hold(true), toggle: () => place.toggle(), fit: place.fit,
    in: () => place.step(1), out: () => place.step(-1), full: () => place.zoom(1),
  };
  const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "full", ArrowLeft: "previous", ArrowRight: "next", " ": "hold" };
  const PANS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  /** Takes a key of the page; true where it was one of these. */
  function key(event) {
    if (event.type === "keyup") {
      const was = held && event.key === " ";
      if (was) hold(false);
      return was;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !begun) return false;
    const move = PANS[event.key];
    if (move && (event.shiftKey || move[1])) {
      if (place.fits()) return false;
      place.pan(PAN * move[0], PAN * move[1]);
    } else if (event.key in KEYS) {
      DOES[KEYS[event.key]]();
    } else {
      return false;
    }
    redraw();
    event.preventDefault();
    return true;
  }

  handle.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    split = clamp(split + by * (event.shiftKey ? 5 : 1), 0, 1);
    redraw();
  });

  const ours = (event) => !event.defaultPrevented && (event.target === document.body || stage.contains(event.target));
  document.addEventListener("keydown", (event) => { if (ours(event) && root.offsetParent) key(event); });
  document.addEventListener("keyup", key); // wherever the key comes up, it is up
  addEventListener("blur", () => hold(false));

  // --- buttons ---------------------------------------------------------------------------

  function prefer(change) {
    Object.assign(kept, change);
    keep(KEPT, { ...kept, paper: kept.paper === "picture" ? "checker" : kept.paper });
    redraw();
  }

  root.addEventListener("click", ({ target }) => {
    const on = target.closest("button")?.dataset ?? {};
    if (on.do !== "hold") DOES[on.do]?.();
    redraw();
    if (on.paper) prefer({ paper: on.paper });
  });
  one(".views").addEventListener("change", ({ target }) => {
    prefer({ view: target.value });
    wanted();
  });

  holder.addEventListener("pointerdown", () => hold(true));
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) holder.addEventListener(end, () => hold(false));
  holder.addEventListener("keydown", (event) => { if (" Enter".includes(event.key)) hold(true); });
  holder.addEventListener("keyup", () => hold(false));
  holder.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch

  const colour = one("input[type=color]");
  colour.value = kept.colour;
  for (const event of ["input", "click"]) colour.addEventListener(event, () => prefer({ paper: "own", colour: colour.value }));

  const file = one("input[type=file]");
  file.addEventListener("change", () => {
    if (!file.files.length) return;
    if (background) URL.revokeObjectURL(background);
    background = URL.createObjectURL(file.files[0]);
    file.value = "";
    prefer({ paper: "picture" });
  });

  function words() {
    stage.ariaLabel = t("compare.stage");
    handle.ariaLabel = t("compare.divider");
    for (const name of ["views", "papers", "zoom"]) one(`.${name}`).ariaLabel = t(`compare.${name}`);
    named();
    redraw();
  }

  label(root);
  words();
  onlanguage(words);
  new ResizeObserver(([entry]) => {
    Object.assign(box, { width: entry.contentRect.width, height: entry.contentRect.height });
    redraw();
  }).observe(stage);

  return { show, clear: empty, onstep: (fn) => { step = fn; }, key };
}
