// The settings of a task, drawn from its JSON schema (GET /v1/tasks), with its presets as cards.

import { HEX, kind } from "./fields.js";
import { icon, make } from "./make.js";
import { art, forget, learn, presets } from "./presets.js";
import { either, number, onlanguage, t } from "./text.js";

// What matters most of each task; the rest stands under "more".
const EARLY = {
  matte: ["background", "output", "refine", "feather", "erode", "format"],
  enhance: ["mode", "strength", "denoise", "sharpen", "skin-protect", "format"],
  fuse: ["blend", "mode", "skin-smooth", "restore", "label", "format"],
};
const OUTPUT = ["format", "quality"]; // a preset that does not name these leaves them alone

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

let ids = 0;

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

// The rule of an option; of one that chooses a model, with the models that there are, a user's own among them.
function ruled(task, name, rule) {
  const models = task.models.filter(({ option }) => option === name);
  return models.length ? { ...rule, models, enum: models.map((each) => each.name) } : rule;
}

// Whether a kept value is still one that the option may have.
function fits(rule, value) {
  if (!rule) return false;
  if (value instanceof File) return !!rule.picture;
  if (rule.enum) return rule.enum.includes(value);
  if (rule.type === "boolean" || rule.type === "string") return typeof value === rule.type;
  return Number.isFinite(value) && value >= rule.minimum && value <= rule.maximum;
}

/**
 * The settings of a task, drawn into root; `without`: names of options that are asked for elsewhere. Gives {
 *   values()            {name: value}: what differs from the default, as JSON takes it
 *   files()             [[name, File]]: the pictures among the options
 *   set(values)         from then on these and no others; a File may stand for a picture
 *   onchange(fn)        fn() after each change by hand
 *   invalid(name, text) marks an option
 *   valid()             whether nothing is marked
 *   close()             takes everything off again
 * }
 */
export function controls(root, task, { without = [] } = {}) {
  const rules = Object.fromEntries(Object.entries(task.options.properties)
    .filter(([name, rule]) => rule.type !== "object" && name !== "consent" && !without.includes(name))
    .map(([name, rule]) => [name, ruled(task, name, rule)]));
  const defaults = Object.fromEntries(Object.entries(rules).map(([name, rule]) => [name, rule.default]));
  let changed = () => {};
  let state = { ...defaults };
  let rows = {}; // by name: {element, sync, mark}
  let faults = {};
  let cards, more, count, reset, status;

  const differing = () => Object.keys(rules).filter((name) => state[name] !== defaults[name]);
  const values = () => Object.fromEntries(differing().filter((name) => !(state[name] instanceof File)).map((name) => [name, state[name]]));
  const files = () => differing().filter((name) => state[name] instanceof File).map((name) => [name, state[name]]);

  function changes() {
    sync();
    changed();
  }

  function set(given) {
    faults = {};
    state = { ...defaults };
    for (const [name, value] of Object.entries(given)) if (fits(rules[name], value)) state[name] = value;
    sync();
  }

  function invalid(name, words) {
    if (!rows[name]) return;
    faults[name] = words;
    judge();
    if (more.contains(rows[name].element)) more.open = true;
    rows[name].element.scrollIntoView({ block: "nearest" });
  }

  // Presets and jobs of before may name a model that is not here.
  const absent = (name) => rules[name].models?.some((each) => each.name === state[name] && !each.installed);

  function wrong(name) {
    const clash = CLASH[name]?.(state) || (absent(name) && "models.missing");
    return faults[name] || (clash ? t(clash) : "");
  }

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
    changes();
  }

  function row(name) {
    const rule = rules[name];
    const id = `option-${++ids}`;
    const say = (value) => worded(task.name, name, value);
    const title = titled(task.name, name);
    const help = helped(task.name, name, rule);
    const fault = make("small", { class: "bad", id: `${id}-fault`, role: "alert" });
    const put = (value) => { delete faults[name]; state[name] = value; changes(); };
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
      if (words && fault.textContent !== words && more.contains(element)) more.open = true;
      if (fault.textContent !== words) fault.textContent = words;
      for (const field of element.querySelectorAll("input:not([type=file]), select")) {
        if (words) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    };
    return { element, sync: made.sync, mark };
  }

  function card(preset) {
    const button = make("button", { type: "button", "aria-pressed": "false", title: preset.help || preset.title, onclick: () => choose(preset) },
      art(preset, task), make("span", { class: "name" }, preset.title));
    button.preset = preset;
    const words = t("controls.delete", { name: preset.name });
    return make("li", {}, button, preset.own && make("button", { type: "button", class: "icon remove", title: words, "aria-label": words, onclick: () => {
      forget(task, preset.name);
      told("controls.deleted", preset.name);
      deal();
      root.querySelector("button:not([hidden] *)").focus();
    } }, icon(CROSS)));
  }

  function deal() {
    cards.replaceChildren(...presets(task).map(card));
    cards.hidden = root.firstElementChild.hidden = cards.children.length < 2;
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
        told(learn(task, called, values()) ? "controls.saved" : "controls.full", called);
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
    reset = make("button", { type: "button", class: "quiet", onclick: () => { set({}); changes(); } }, t("controls.reset"));
    root.classList.add("controls");
    root.replaceChildren(
      make("div", { class: "bar" }, make("h2", {}, t("controls.presets"))), cards,
      make("div", { class: "bar" }, make("h2", {}, t("controls.title")), save, reset), form,
      make("div", { class: "options" }, elements(early)), more, status);
    deal();
  }

  const deaf = onlanguage(build);
  build();
  return {
    values, files, set, invalid,
    valid: () => Object.keys(rules).every((name) => !wrong(name)),
    onchange(fn) { changed = fn; },
    close() { deaf(); root.replaceChildren(); },
  };
}
