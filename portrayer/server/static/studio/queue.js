// The photos of the sheet as a grid of which only what is seen is in the page.

import { make } from "./make.js";
import { reason } from "./say.js";
import { chosen, on, select, state } from "./state.js";
import { either, onlanguage, t } from "./text.js";
import { thumbnails } from "./thumbnails.js";

const TILE = 112; // px, at least
const FOOT = 44; // px below a tile's picture
const BEYOND = 2; // rows drawn above and below what is seen
const CALM = 60; // ms without scrolling before small pictures are asked for

/** A grid in `root`, over state.entries. `onopen(entry)`: Enter; `onremove(entries)`: Delete. */
export function queue(root, { onopen, onremove }) {
  const space = make("div", { class: "space", role: "presentation" });
  root.role = "listbox";
  root.tabIndex = 0;
  root.ariaMultiSelectable = "true";
  root.classList.add("queue");
  root.append(space);

  const tiles = new Map(); // by the key of the entry that each shows
  const spare = [];
  const small = thumbnails((entry) => { if (tiles.has(entry.key)) fill(entry); });
  let columns = 1, width = 0, row = 1, head = null, first = null, frame = 0, calm = 0;

  // --- drawing

  const later = () => { frame ||= requestAnimationFrame(draw); };

  function measure() {
    width = root.clientWidth;
    columns = Math.max(1, Math.floor(width / TILE));
    row = Math.floor(width / columns) + FOOT;
    space.style.setProperty("--tile", `${Math.floor(width / columns)}px`);
    space.style.height = `${Math.ceil(state.entries.length / columns) * row}px`;
    later();
  }

  const seen = (beyond) => {
    const first = Math.max(0, Math.floor(root.scrollTop / row) - beyond) * columns;
    const last = (Math.ceil((root.scrollTop + root.clientHeight) / row) + beyond) * columns;
    return state.entries.slice(first, last).map((entry, i) => [entry, first + i]);
  };

  function draw() {
    frame = 0;
    const wanted = seen(BEYOND);
    const keys = new Set(wanted.map(([entry]) => entry.key));
    for (const [key, tile] of tiles) {
      if (keys.has(key)) continue;
      tiles.delete(key);
      put(tile);
    }
    for (const [entry, i] of wanted) {
      const tile = tiles.get(entry.key) ?? taken(entry);
      if (tile.at !== i || tile.row !== row || tile.columns !== columns) place(tile, i);
      fill(entry);
    }
    active();
    clearTimeout(calm);
    calm = setTimeout(() => small.want(seen(0).map(([entry]) => entry)), CALM);
  }

  function taken(entry) {
    const tile = spare.pop() ?? made();
    tile.root.hidden = false;
    tile.root.id = `photo-${entry.key}`;
    tile.root.dataset.key = entry.key;
    tile.image.hidden = true;
    tile.image.removeAttribute("src");
    tile.said = tile.at = null;
    tiles.set(entry.key, tile);
    return tile;
  }

  function put(tile) {
    spare.push(tile);
    tile.root.hidden = true;
    tile.root.removeAttribute("id");
  }

  function made() {
    const tile = { image: make("img", { alt: "", decoding: "async", draggable: "false" }), name: make("span", { class: "name" }), state: make("span", { class: "state" }) };
    tile.root = make("div", { class: "photo", role: "option" }, make("div", { class: "thumb" }, tile.image), tile.name, tile.state);
    space.append(tile.root);
    return tile;
  }

  function place(tile, i) {
    Object.assign(tile, { at: i, row, columns });
    tile.root.style.transform = `translate(${(i % columns) * Math.floor(width / columns)}px, ${Math.floor(i / columns) * row}px)`;
    tile.root.ariaPosInSet = String(i + 1);
    tile.root.ariaSetSize = String(state.entries.length);
  }

  function fill(entry) {
    const tile = tiles.get(entry.key);
    const marked = state.chosen.has(entry.key);
    const [word, text] = standing(entry);
    const source = small.of(entry);
    if (source && tile.image.getAttribute("src") !== source) tile.image.src = source;
    tile.image.hidden = !source;
    const said = [entry.name, word, text, marked, entry === state.selected].join("\n");
    if (said === tile.said) return;
    tile.said = said;
    tile.name.textContent = tile.name.title = entry.name;
    tile.state.textContent = text;
    tile.state.title = entry.item?.error?.reason ?? "";
    tile.root.dataset.state = word;
    tile.root.ariaSelected = String(marked);
    tile.root.classList.toggle("looked", entry === state.selected);
  }

  function active() {
    const there = state.selected && tiles.has(state.selected.key);
    if (there) root.setAttribute("aria-activedescendant", `photo-${state.selected.key}`);
    else root.removeAttribute("aria-activedescendant");
  }

  function reveal(entry) {
    const at = state.entries.indexOf(entry);
    if (at < 0) return;
    const top = Math.floor(at / columns) * row;
    if (top < root.scrollTop) root.scrollTop = top;
    else if (top + row > root.scrollTop + root.clientHeight) root.scrollTop = top + row - root.clientHeight;
  }

  // --- selection

  function go(to, extend) {
    const at = Math.min(state.entries.length - 1, Math.max(0, to));
    const entry = state.entries[at];
    if (!entry) return;
    if (!extend) head = entry;
    select(entry, extend ? between(head ?? entry, entry) : [entry]);
    reveal(entry);
  }

  function between(one, other) {
    const [a, b] = [one, other].map((entry) => state.entries.indexOf(entry)).sort((x, y) => x - y);
    return state.entries.slice(Math.max(0, a), b + 1);
  }

  root.addEventListener("click", (event) => {
    const key = Number(event.target.closest(".photo")?.dataset.key);
    const entry = state.entries.find((each) => each.key === key);
    if (!entry) return;
    if (event.shiftKey) return go(state.entries.indexOf(entry), true);
    head = entry;
    if (!event.ctrlKey && !event.metaKey) return select(entry);
    const rest = chosen().filter((each) => each !== entry);
    select(entry, state.chosen.has(key) && rest.length ? rest : [...rest, entry]);
  });

  root.addEventListener("keydown", (event) => {
    const at = state.entries.indexOf(state.selected);
    const page = Math.max(1, Math.floor(root.clientHeight / row)) * columns;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -page, PageDown: page };
    const command = event.ctrlKey || event.metaKey;
    if (event.key in steps && !command && !event.altKey) go(at + steps[event.key], event.shiftKey);
    else if (event.key === "Home") go(0, event.shiftKey);
    else if (event.key === "End") go(state.entries.length - 1, event.shiftKey);
    else if (event.key === "a" && command) select(state.selected, state.entries);
    else if (event.key === "Enter" && !command && state.selected) onopen(state.selected);
    else if (event.key === "Delete" || event.key === "Backspace") onremove(chosen());
    else return;
    event.preventDefault();
  });

  root.addEventListener("scroll", later, { passive: true });
  new ResizeObserver(measure).observe(root);
  on("entries", () => {
    for (const tile of tiles.values()) put(tile);
    tiles.clear();
    if (first !== state.entries[0]) root.scrollTop = 0; // else some were added
    first = state.entries[0];
    measure();
  });
  on("entry", (entry) => tiles.has(entry.key) && later());
  on("selected", (entry) => { reveal(entry); later(); });
  on("chosen", later);
  onlanguage(later);
  measure();
}

// How an entry stands: a word, and what is said of it.
function standing({ item }) {
  if (!item) return ["new", t("queue.new")];
  if (item.state === "failed") return ["failed", reason(item.error)];
  if (item.state === "running" && item.stage) return ["running", either(`stage.${item.stage}`) ?? item.stage];
  return [item.state, t(`state.${item.state}`)];
}
