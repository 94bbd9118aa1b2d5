// Before and after: one slider, one zoom, whatever photo is shown.

import { keep, recall } from "./kept.js";
import { icon, make } from "./make.js";
import { label, number, onlanguage, t } from "./text.js";

const KEPT = "compare";
const VIEWS = ["compare", "result", "before", "matte", "faces"];
const PAPERS = ["checker", "#ffffff", "#000000"];
const LADDER = [0.05, 0.1, 0.25, 0.33, 0.5, 0.67, 1, 1.5, 2, 3, 4, 6, 8];
const MOST = 8; // device pixels for a pixel of the photo
const CRISP = 2; // above this, pixels are shown as squares
const STILL = 4; // px that a finger may move without dragging
const TAG = 96; // px that a word in a corner takes
const PATIENCE = 200; // ms until it says that it loads

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const button = (key, what, path) =>
  make("button", { type: "button", class: "icon", "data-do": what, "data-t-label": `compare.${key}` }, icon(path));

const tag = (side, view) => make("span", { class: "tag", "data-tag": side, "data-t": `compare.view.${view}` });

const shape = () => [
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

/** A picture that is decoded, off the main thread; null where there is none or it cannot be shown. */
async function decoded(source, loading) {
  if (!source) return null;
  const image = new Image();
  const own = source instanceof Blob;
  Object.assign(image, { source, own });
  image.draggable = false;
  image.decoding = "async";
  image.src = own ? URL.createObjectURL(source) : source;
  loading.add(image);
  try {
    await image.decode();
    return image;
  } catch {
    release(image);
    return null;
  } finally {
    loading.delete(image);
  }
}

function release(image) {
  if (!image) return;
  image.remove();
  if (image.own) URL.revokeObjectURL(image.src);
}

/** Whether something lies behind this picture: read at 32 x 32 points. */
function seeThrough(image) {
  const canvas = make("canvas", { width: 32, height: 32 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, 32, 32);
  return context.getImageData(0, 0, 32, 32).data.some((value, at) => at % 4 === 3 && value < 250);
}

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
  const place = { fit: true, zoom: 1, x: 0.5, y: 0.5 }; // zoom: device pixels; x, y: what is in the middle, 0 to 1
  const box = { width: 0, height: 0 };
  const frame = { width: 0, height: 0 }; // the photo, in its own pixels
  const pictures = { before: null, after: null, matte: null };
  const pointers = new Map();
  const loading = new Set();
  let shown = {};
  let turn = 0;
  let begun = false; // there is, or will be, something to show
  let split = 0.5;
  let held = false;
  let clear = false; // the result has no background of its own
  let drag = null; // "split", "pan" or "maybe"
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

  const scaleToFit = () =>
    Math.min(box.width / frame.width, box.height / frame.height, CRISP / devicePixelRatio);
  const scale = () => (place.fit ? scaleToFit() : place.zoom / devicePixelRatio);

  const level = () => scale() * devicePixelRatio;

  /** From where to where the photo lies on the stage, across. */
  function seen() {
    const width = frame.width * scale();
    const left = box.width / 2 - place.x * width;
    return [Math.max(0, left), Math.min(box.width, left + width)];
  }

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

    const size = scale();
    const [width, height] = [frame.width * size, frame.height * size];
    for (const [axis, whole, room] of [["x", width, box.width], ["y", height, box.height]]) {
      const half = room / 2 / whole;
      place[axis] = half >= 0.5 ? 0.5 : clamp(place[axis], half, 1 - half);
    }
    const snapped = (value) => Math.round(value * devicePixelRatio) / devicePixelRatio;
    const left = snapped(box.width / 2 - place.x * width);
    const top = snapped(box.height / 2 - place.y * height);
    const rect = { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
    for (const each of [...Object.values(pictures), paper, boxes]) if (each) Object.assign(each.style, rect);
    stage.classList.toggle("crisp", level() > CRISP);
    stage.classList.toggle("zoomed", !place.fit);

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

    const [from, to] = seen();
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
    boxed(now, size);
    written(now);
  }

  /** Boxes of the faces, ranked by size as the options count them. */
  function boxed(now, size) {
    const found = now === "faces" && listed();
    boxes.hidden = !found;
    if (!found) return;
    const of = shown.faces.width ?? (pictures.after ?? pictures.before).naturalWidth;
    const ratio = (frame.width / of) * size;
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
    button.textContent = now && box.width ? `${number(Math.round(100 * level()))} %` : "–";
    button.title = t(place.fit ? "compare.whole" : "compare.fit");
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

  // --- zoom and pan ----------------------------------------------------------------------

  /** So many device pixels for a pixel of the photo, what is at (x, y) of the stage staying there. */
  function zoom(to, [x, y] = [box.width / 2, box.height / 2]) {
    if (!frame.width) return;
    const [old, fit] = [scale(), scaleToFit()];
    const next = clamp(to / devicePixelRatio, Math.min(fit, 1 / devicePixelRatio), MOST / devicePixelRatio);
    place.x += ((x - box.width / 2) / frame.width) * (1 / old - 1 / next);
    place.y += ((y - box.height / 2) / frame.height) * (1 / old - 1 / next);
    place.zoom = next * devicePixelRatio;
    place.fit = Math.abs(next / fit - 1) < 0.005;
    redraw();
  }

  function fit() {
    Object.assign(place, { fit: true, x: 0.5, y: 0.5 });
    redraw();
  }

  const rung = (way) =>
    way > 0 ? LADDER.find((each) => each > level() * 1.01) ?? MOST : LADDER.findLast((each) => each < level() * 0.99) ?? 0;
  const toggle = (at) => (place.fit ? zoom(1, at) : fit());

  function pan(dx, dy) {
    place.x -= dx / (frame.width * scale());
    place.y -= dy / (frame.height * scale());
    redraw();
  }

  function divide(x) {
    const [from, to] = seen();
    split = clamp((x - from) / (to - from), 0, 1);
    redraw();
  }

  function hold(on) {
    if (held === on) return;
    held = on;
    redraw();
  }

  const local = ({ clientX, clientY }) => {
    const { left, top } = stage.getBoundingClientRect();
    return [clientX - left, clientY - top];
  };

  stage.addEventListener("wheel", (event) => {
    if (!frame.width) return;
    event.preventDefault();
    const lines = event.deltaY * [1, 16, 240][event.deltaMode];
    zoom(level() * Math.exp(-clamp(lines, -240, 240) * (event.ctrlKey ? 0.01 : 0.002)), local(event));
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    if (event.button > 1 || !frame.width) return;
    if (event.button === 1) event.preventDefault(); // no autoscroll
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, local(event));
    const onHandle = handle.contains(event.target);
    drag = pointers.size > 1 ? "pinch" : onHandle ? "split" : "maybe";
    (onHandle ? handle : stage).focus({ preventScroll: true });
  });

  stage.addEventListener("pointermove", (event) => {
    const old = pointers.get(event.pointerId);
    if (!old) return;
    const now = local(event);
    const [dx, dy] = [now[0] - old[0], now[1] - old[1]];
    if (drag === "maybe") {
      if (Math.hypot(dx, dy) < STILL) return;
      drag = stage.dataset.view === "compare" && place.fit && event.buttons !== 4 ? "split" : "pan";
    }
    if (drag === "pinch") {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]) || 1;
      zoom((level() * far(now)) / far(old), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      pan(dx / 2, dy / 2);
    }
    if (drag === "split") divide(now[0]);
    if (drag === "pan") pan(dx, dy);
    stage.classList.toggle("dragging", drag === "pan");
    pointers.set(event.pointerId, now);
  });

  const lifted = (event) => {
    pointers.delete(event.pointerId);
    drag = pointers.size ? "pan" : null;
    stage.classList.remove("dragging");
  };
  stage.addEventListener("pointerup", lifted);
  stage.addEventListener("pointercancel", lifted);
  stage.addEventListener("dblclick", (event) => toggle(local(event)));

  // --- keys ------------------------------------------------------------------------------

  const DOES = {
    previous: () => step(-1), next: () => step(1), hold: () => hold(true), toggle: () => toggle(), fit,
    in: () => zoom(rung(1)), out: () => zoom(rung(-1)), full: () => zoom(1),
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
      if (place.fit) return false;
      pan(64 * move[0], 64 * move[1]);
    } else if (event.key in KEYS) {
      DOES[KEYS[event.key]]();
    } else {
      return false;
    }
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
