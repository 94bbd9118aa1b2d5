// The settings of a task, drawn from its JSON schema (GET /v1/tasks), with its presets as cards.
//
// controls(root, task, {without}) -> {
//   values()            {name: value}: what differs from the default, plain JSON. Send as `options` (JSON).
//   files()             [[name, File]]: pictures among the options (background ...); send beside the photos.
//   set(values)         from then on these and no others; a File may stand for a picture
//   onchange(fn)        fn(values) after each change by hand
//   invalid(name, text) marks an option, true if there is one of this name; invalid() takes all marks off
//   valid()             whether nothing is marked
//   picture(name, url)  a picture in the place of the drawing on a preset's card
//   close()             takes everything off again
// }
// `without`: names of options that are asked for elsewhere on the page. Consent always is.

import { keep, recall } from "./kept.js";
import { make, draw, icon } from "./make.js";
import { t, either, number, onlanguage } from "./text.js";

// What matters most of each task; the rest stands under "more".
const EARLY = {
  matte: ["background", "output", "refine", "feather", "erode", "format"],
  enhance: ["mode", "strength", "denoise", "sharpen", "skin-protect", "format"],
  fuse: ["blend", "mode", "skin-smooth", "restore", "label", "format"],
};
const OUTPUT = ["format", "quality"]; // a preset that does not name these leaves them alone
const COLOURS = { white: "#ffffff", black: "#000000", blue: "#438edb", red: "#d9001b" }; // as the server mixes them
const HEX = /^#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;
const WORD = /^[a-z][a-z-]*$/i;
const SLIDABLE = 1000; // steps of a slider at most; beyond it a number is typed
const KEPT = "presets";

// Options that say nothing beside others are not shown; those that contradict others are marked.
const IDLE = {
  quality: (v) => v.format === "png",
  margin: (v) => !v.crop,
  background: (v) => v.output === "matte",
};
const CLASH = {
  format: (v) => v.format === "jpeg" && v.output !== "matte" && clear(v.background) && "controls.opaque",
};

const clear = (ground) => ground === "none" || (HEX.test(ground) && !/^#(?:...|......|...f|......ff)$/i.test(ground));

const BACK = "M3 8a5 5 0 1 0 1.6-3.7M3 2.5V5.5H6";
const CROSS = "M4 4l8 8M12 4l-8 8";
const PICTURE = "M2.5 3.5h11v9h-11zM2.5 11l3.5-3.5 3 3 2-2 2.5 2.5M10.5 6.2v.1";

let ids = 0;

// --- presets ---------------------------------------------------------------------------------

const kept = (task) => recall(KEPT)[task.name] ?? [];
const put = (task, own) => keep(KEPT, { ...recall(KEPT), [task.name]: own });

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

// A drawing in the place of a picture: what the preset puts behind whom.
function art(preset, task) {
  const ground = preset.options.background ?? (task.options.properties.background ? "none" : "");
  const figure = preset.name === "product" && !preset.own ? [] : [draw("path", { d: BUST, class: "bust" })];
  const marks = (!preset.own && MARKS[preset.name]) || [];
  const svg = draw("svg", { viewBox: "-12 0 96 48", preserveAspectRatio: "xMidYMax slice", "aria-hidden": "true" },
    figure, marks.map(([name, attributes]) => draw(name, attributes)));
  const box = make("span", { class: `art ${ground === "none" ? "checker" : ""}` }, svg);
  box.dataset.preset = preset.name;
  if (ground && ground !== "none" && ground !== "blur") box.style.background = COLOURS[ground] ?? ground;
  return box;
}

// --- words -----------------------------------------------------------------------------------

const titled = (task, name) => either(`option.${task}.${name}`, `option.${name}`)
  ?? name.replaceAll("-", " ").replace(/^./, (first) => first.toUpperCase());

function helped(task, name, rule) {
  const known = either(`option.${task}.${name}`, `option.${name}`);
  return either(`help.${task}.${name}`, `help.${name}`) ?? (known ? "" : rule.description ?? "");
}

function worded(task, name, value) {
  if (value instanceof File) return value.name;
  if (typeof value === "number") return number(value);
  return either(`value.${task}.${name}.${value}`, `value.${name}.${value}`) ?? String(value);
}

// --- kinds of options --------------------------------------------------------------------------
// Each takes a place ({id, name, title, rule, say, get, put, fault}) and gives {parts, sync, head}:
// elements, what shows the value again, and an element for the end of the title's line.

function toggle({ id, get, put }) {
  const box = make("input", { type: "checkbox", role: "switch", id, onchange: () => put(box.checked) });
  return { head: box, parts: [], sync: () => (box.checked = get()) };
}

// The values of an option that has only a few; whole numbers between close bounds are such.
const listed = ({ enum: words, type, minimum: low, maximum: high }) =>
  words ?? (type === "integer" && high - low < 4 ? Array.from({ length: high - low + 1 }, (_, i) => low + i) : null);

function segments({ id, title, rule, say, get, put }) {
  const radios = listed(rule).map((value) => make("input", { type: "radio", name: id, value, onchange: () => put(value) }));
  const group = make("div", { class: "segments", role: "radiogroup", "aria-label": title },
    radios.map((radio) => make("label", {}, radio, make("span", {}, say(radio.value)))));
  return { parts: [group], group: true, sync: () => radios.forEach((radio) => (radio.checked = radio.value === String(get()))) };
}

function choice({ id, rule, say, get, put }) {
  const list = make("select", { id, onchange: () => put(list.value) },
    rule.enum.map((value) => make("option", { value }, say(value))));
  return { parts: [list], sync: () => (list.value = get()) };
}

function amount({ id, title, rule, get, put, fault }) {
  const { minimum: low, maximum: high } = rule;
  const whole = rule.type === "integer";
  const step = whole ? 1 : 10 ** Math.floor(Math.log10((high - low) / 50));
  const slides = (high - low) / step <= SLIDABLE;
  const read = (text) => {
    const value = Number(text);
    const sound = text.trim() !== "" && value >= low && value <= high && (!whole || Number.isInteger(value));
    if (sound) put(value);
    else fault(t(whole ? "controls.whole" : "controls.range", { low, high }));
  };
  const field = make("input", { id, type: "number", min: low, max: high, step, inputmode: whole && low >= 0 ? "numeric" : "decimal",
    oninput: () => read(field.value), onblur: () => { if (field.getAttribute("aria-invalid")) { fault(""); sync(); } } });
  const slider = slides && make("input", { type: "range", min: low, max: high, step, "aria-label": title, oninput: () => put(Number(slider.value)) });
  const share = (value) => `${(100 * (value - low)) / (high - low)}%`;
  function sync() {
    const value = get();
    if (document.activeElement !== field || Number(field.value) !== value) field.value = value;
    if (!slides) return;
    slider.value = value;
    const zero = Math.min(high, Math.max(low, 0));
    slider.style.setProperty("--from", share(Math.min(zero, value)));
    slider.style.setProperty("--part", share(Math.max(zero, value)));
  }
  return { head: make("span", { class: "number" }, field, rule.unit && make("small", { "aria-hidden": "true" }, rule.unit)), parts: slides ? [slider] : [], sync };
}

// A file that is picked or dropped here; the window's own drop target does not see it.
function well(attributes, take, ...children) {
  const input = make("input", { type: "file", accept: "image/*", class: "visually-hidden", "aria-label": attributes.title,
    onchange: () => { if (input.files.length) take(input.files[0]); input.value = ""; } });
  const stop = (event) => { event.preventDefault(); event.stopPropagation(); };
  return make("label", { ...attributes, ondragover: stop, ondrop: (event) => {
    stop(event);
    const file = [...event.dataTransfer.files].find((each) => each.type.startsWith("image/"));
    if (file) take(file);
  } }, input, children);
}

// Words, or a text of one's own, or (where the option says so) a picture.
function text({ id, title, rule, say, get, put }) {
  const known = [...new Set([rule.default, ...(rule.examples ?? [])])];
  const words = known.filter((word) => WORD.test(word));
  const others = known.filter((word) => !WORD.test(word));
  const field = make("input", { type: "text", id: words.length ? `${id}-own` : id, list: others.length ? `${id}-list` : null,
    "aria-label": words.length ? t("controls.own.of", { name: title }) : null, autocomplete: "off", spellcheck: "false",
    placeholder: others[0], oninput: () => field.value.trim() && put(field.value.trim()), onblur: () => sync() });
  const list = others.length > 0 && make("datalist", { id: `${id}-list` }, others.map((value) => make("option", { value })));
  const select = words.length > 0 && make("select", { id, onchange: () => {
    if (select.value) return put(select.value);
    put(others[0] ?? "1");
    field.focus();
    field.select();
  } }, words.map((value) => make("option", { value }, say(value))), make("option", { value: "" }, t("controls.own")),
  rule.picture && make("option", { value: "picture", hidden: true }, t("controls.picture")));
  const chosen = make("span", { class: "chosen" });
  const pick = rule.picture && make("div", { class: "well" }, well({ class: "button", title: t("controls.file") }, put, icon(PICTURE), chosen));
  function sync() {
    const value = get();
    const own = !(value instanceof File) && !words.includes(value);
    if (select) select.value = own ? "" : value instanceof File ? "picture" : value;
    field.hidden = words.length > 0 && !own;
    if (document.activeElement !== field) field.value = own ? value : "";
    if (pick) chosen.textContent = value instanceof File ? value.name : t("controls.file");
  }
  return { parts: [select, field, list, pick], sync };
}

// Colours and words as swatches, a colour of one's own, a picture.
function ground({ id, title, rule, say, get, put, fault }) {
  const radios = rule.examples.map((value) => make("input", { type: "radio", name: id, value, onchange: () => put(value) }));
  const swatches = radios.map((radio) => {
    const label = make("label", { class: `swatch ${radio.value === "none" ? "checker" : radio.value}`, title: say(radio.value) },
      radio, make("span", { class: "visually-hidden" }, say(radio.value)));
    if (COLOURS[radio.value]) label.style.background = COLOURS[radio.value];
    return label;
  });
  const colour = make("input", { type: "color", "aria-label": t("controls.colour"), oninput: () => put(colour.value), onclick: () => put(colour.value) });
  const own = make("label", { class: "swatch own", title: t("controls.colour") }, colour);
  const thumb = make("img", { alt: "", hidden: true });
  const file = well({ class: "swatch file", title: t("controls.picture") }, put, icon(PICTURE), thumb);
  const hex = make("input", { type: "text", class: "hex mono", id, size: 9, maxlength: 9, placeholder: "#rrggbb", spellcheck: "false", autocomplete: "off",
    "aria-label": `${title}: ${t("controls.colour.hex")}`,
    oninput: () => {
      const value = hex.value.trim().replace(/^(?!#)/, "#").toLowerCase();
      if (HEX.test(value)) put(value);
      else fault(t("controls.colour.wrong"));
    },
    onblur: () => { if (hex.getAttribute("aria-invalid")) fault(""); sync(); } });
  const said = make("small", { class: "said" });
  let shown = null;
  function sync() {
    const value = get();
    const picture = value instanceof File ? value : null;
    const full = picture ? "" : COLOURS[value] ?? (HEX.test(value) ? value : "");
    radios.forEach((radio) => (radio.checked = radio.value === value));
    own.classList.toggle("chosen", HEX.test(value));
    own.style.background = HEX.test(value) ? value : "";
    if (full.length === 7) colour.value = full;
    if (document.activeElement !== hex) hex.value = full;
    said.textContent = HEX.test(value) ? t("controls.colour") : say(value);
    file.classList.toggle("chosen", !!picture);
    if (picture === shown) return;
    shown = picture;
    if (thumb.src) URL.revokeObjectURL(thumb.src);
    thumb.hidden = !picture;
    if (picture) thumb.src = URL.createObjectURL(picture);
    else thumb.removeAttribute("src");
  }
  const row = make("div", { class: "swatches", role: "group", "aria-label": title }, swatches, own, file);
  return { head: hex, parts: [row, said], group: true, sync };
}

function kind(rule, say) {
  if (rule.type === "boolean") return toggle;
  const few = listed(rule);
  if (few) return few.map(say).join("").length <= 24 && few.length < 5 ? segments : choice;
  if (rule.picture === true && rule.examples) return ground;
  return rule.type === "string" ? text : amount;
}

// --- the whole ---------------------------------------------------------------------------------

/** The settings of a task, drawn into root: see the head of this file. */
export function controls(root, task, { without = [] } = {}) {
  const rules = Object.fromEntries(Object.entries(task.options.properties)
    .filter(([name, rule]) => rule.type !== "object" && name !== "consent" && !without.includes(name)));
  const defaults = Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, rule.default]));
  const listeners = new Set();
  const pictures = new Map(); // of presets: name -> address
  let state = { ...defaults };
  let rows = {}; // by name: {element, sync, mark}
  let faults = {};
  let cards, more, count, reset, status;

  const differing = () => Object.keys(rules).filter((name) => state[name] !== defaults[name]);
  const values = () => Object.fromEntries(differing().filter((name) => !(state[name] instanceof File)).map((name) => [name, state[name]]));
  const files = () => differing().filter((name) => state[name] instanceof File).map((name) => [name, state[name]]);

  function changed() {
    sync();
    for (const fn of listeners) fn(values());
  }

  function set(given) {
    faults = {};
    state = { ...defaults };
    for (const [name, value] of Object.entries(given)) if (fits(rules[name], value)) state[name] = value;
    sync();
  }

  function invalid(name, words = "") {
    if (!name) faults = {};
    else if (rules[name]) faults[name] = words;
    judge();
    if (words && rows[name]) {
      if (more.contains(rows[name].element)) more.open = true;
      rows[name].element.scrollIntoView({ block: "nearest" });
    }
    return name in rules;
  }

  const wrong = (name) => faults[name] || (CLASH[name]?.(state) ? t(CLASH[name](state)) : "");

  function judge() {
    for (const name in rows) rows[name].mark(wrong(name));
  }

  function sync() {
    const differ = new Set(differing());
    for (const [name, row] of Object.entries(rows)) {
      row.sync();
      row.element.hidden = IDLE[name]?.(state) ?? false;
      row.element.classList.toggle("changed", differ.has(name));
    }
    const hidden = [...differ].filter((name) => more.contains(rows[name].element)).length;
    count.textContent = hidden ? t("controls.more.changed", { n: hidden }) : t("controls.more");
    reset.disabled = !differ.size;
    for (const card of cards.querySelectorAll("[aria-pressed]")) card.setAttribute("aria-pressed", same(card.preset));
    judge();
  }

  function same({ options }) {
    const wanted = { ...defaults, ...options };
    return Object.keys(rules).every((name) => state[name] === wanted[name] || (OUTPUT.includes(name) && !(name in options)));
  }

  function choose(preset) {
    const output = Object.fromEntries(OUTPUT.filter((name) => name in rules).map((name) => [name, state[name]]));
    set({ ...output, ...preset.options });
    changed();
  }

  function row(name) {
    const rule = rules[name];
    const id = `option-${++ids}`;
    const say = (value) => worded(task.name, name, value);
    const title = titled(task.name, name);
    const help = helped(task.name, name, rule);
    const fault = make("small", { class: "bad", id: `${id}-fault`, role: "alert" });
    const put = (value) => { delete faults[name]; state[name] = value; changed(); };
    const place = { id, name, title, rule, say, put, get: () => state[name], fault: (words) => { faults[name] = words; judge(); } };
    const made = kind(rule, say)(place);
    const back = make("button", { type: "button", class: "icon back", onclick: () => {
      put(defaults[name]);
      element.querySelector("input:checked, input, select")?.focus();
    } }, icon(BACK));
    back.title = t("controls.reset.to", { value: say(typeof rule.default === "boolean" ? "" : rule.default) || "…" });
    if (typeof rule.default === "boolean") back.title = t("controls.reset");
    back.setAttribute("aria-label", `${title}: ${back.title}`);
    const element = make("div", { class: `option ${rule.type === "boolean" ? "flag" : ""}` },
      make("div", { class: "head" },
        made.group ? make("span", {}, title) : make("label", { for: id }, title),
        back, made.head),
      made.parts, help && make("small", { id: `${id}-help` }, help), fault);
    element.dataset.option = name;
    for (const field of element.querySelectorAll("input, select")) {
      field.setAttribute("aria-describedby", [help && `${id}-help`, `${id}-fault`].filter(Boolean).join(" "));
    }
    const mark = (words) => {
      if (fault.textContent !== words) fault.textContent = words;
      for (const field of element.querySelectorAll("input:not([type=file]), select")) {
        if (words) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    };
    return { element, sync: made.sync, mark };
  }

  function card(preset) {
    const url = !preset.own && pictures.get(preset.name);
    const box = url ? make("span", { class: "art checker" }, make("img", { src: url, alt: "" })) : art(preset, task);
    const button = make("button", { type: "button", "aria-pressed": "false", title: preset.help || preset.title, onclick: () => choose(preset) },
      box, make("span", { class: "name" }, preset.title));
    button.preset = preset;
    const words = t("controls.delete", { name: preset.name });
    return make("li", {}, button, preset.own && make("button", { type: "button", class: "icon remove", title: words, "aria-label": words, onclick: () => {
      put(task, kept(task).filter((each) => each.name !== preset.name));
      told("controls.deleted", preset.name);
      deal();
      root.querySelector("button:not([hidden] *)").focus();
    } }, icon(CROSS)));
  }

  function deal() {
    cards.replaceChildren(...presets(task).map(card));
    cards.hidden = root.querySelector("h2").hidden = cards.children.length < 2;
    sync();
  }

  const told = (key, name) => (status.textContent = t(key, { name }));

  function saving() {
    const name = make("input", { type: "text", maxlength: 40, required: true, "aria-label": t("controls.save.name"), placeholder: t("controls.save.name") });
    const open = make("button", { type: "button", class: "quiet", onclick: () => show(true) }, t("controls.save"));
    const form = make("form", { class: "save", hidden: true,
      onkeydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); show(false); } },
      onsubmit: (event) => {
        event.preventDefault();
        const called = name.value.trim();
        if (!called) return;
        const others = kept(task).filter((each) => each.name !== called);
        told(put(task, [...others, { name: called, options: values() }]) ? "controls.saved" : "controls.full", called);
        deal();
        show(false);
      } },
    name, make("button", {}, t("controls.save.ok")), make("button", { type: "button", class: "icon", "aria-label": t("controls.save.no"), title: t("controls.save.no"), onclick: () => show(false) }, icon(CROSS)));
    const show = (shown) => {
      form.hidden = !shown;
      open.hidden = shown;
      name.value = "";
      (shown ? name : open).focus();
    };
    return [open, form];
  }

  function build() {
    const names = Object.keys(rules);
    const early = (EARLY[task.name] ?? names.slice(0, 5)).filter((name) => name in rules);
    const late = names.filter((name) => !early.includes(name));
    const open = more?.open ?? false;
    rows = Object.fromEntries([...early, ...late].map((name) => [name, row(name)]));
    const elements = (list) => list.map((name) => rows[name].element);
    const [save, form] = saving();
    status = make("p", { class: "visually-hidden", role: "status" });
    cards = make("ul", { class: "presets", "aria-label": t("controls.presets") });
    count = make("span");
    more = make("details", { open, hidden: !late.length }, make("summary", {}, count), make("div", { class: "options" }, elements(late)));
    reset = make("button", { type: "button", class: "quiet", onclick: () => { set({}); changed(); } }, t("controls.reset"));
    root.classList.add("controls");
    root.replaceChildren(
      make("div", { class: "bar" }, make("h2", {}, t("controls.presets")), save), form, cards,
      make("div", { class: "bar" }, make("h2", {}, t("controls.title")), reset),
      make("div", { class: "options" }, elements(early)), more, status);
    deal();
  }

  const deaf = onlanguage(build);
  build();
  return {
    values, files, set, invalid,
    valid: () => Object.keys(rules).every((name) => !wrong(name)),
    onchange(fn) { listeners.add(fn); return () => listeners.delete(fn); },
    picture(name, url) {
      pictures.set(name, url);
      const old = [...cards.children].find((item) => item.firstChild.preset.name === name);
      old?.replaceWith(card(old.firstChild.preset));
      sync();
    },
    close() { deaf(); root.replaceChildren(); },
  };
}

// Whether a kept value is still one that the option may have.
function fits(rule, value) {
  if (!rule || value === "(uploaded)") return false;
  if (value instanceof File) return !!rule.picture;
  if (rule.enum) return rule.enum.includes(value);
  if (rule.type === "boolean" || rule.type === "string") return typeof value === rule.type;
  return Number.isFinite(value) && value >= rule.minimum && value <= rule.maximum;
}
