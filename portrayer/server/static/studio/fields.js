// The fields of options, a kind for each sort of value.
// Each takes a place ({id, title, rule, say, get, put, fault}) and gives {parts, sync, head, group}: elements, what
// shows the value again, an element for the end of the title's line, whether the parts have titles of their own.

import { icon, make } from "./make.js";
import { models } from "./models.js";
import { t } from "./text.js";

/** The backgrounds that have names, as the server mixes them. */
export const COLOURS = { white: "#ffffff", black: "#000000", blue: "#438edb", red: "#d9001b" };

/** A colour in hex digits, as the server reads it. */
export const HEX = /^#(?:[0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})$/i;

const WORD = /^[a-z][a-z-]*$/i;
const SLIDABLE = 1000; // steps of a slider at most; beyond it a number is typed
const PICTURE = "M2.5 3.5h11v9h-11zM2.5 11l3.5-3.5 3 3 2-2 2.5 2.5M10.5 6.2v.1";

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

/** The kind of an option's field, by its rule. */
export function kind(rule, say) {
  if (rule.type === "boolean") return toggle;
  if (rule.models) return models;
  const few = listed(rule);
  if (few) return few.map(say).join("").length <= 24 && few.length < 5 ? segments : choice;
  if (rule.picture === true && rule.examples) return ground;
  return rule.type === "string" ? text : amount;
}
