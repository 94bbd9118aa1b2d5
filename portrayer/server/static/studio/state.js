// The page's one state. A sheet of photos ("entries") is worked on as one job; an entry is
// {key, name, file, item}: `file` where the photo is at hand, `item` (as the API shows it) once it was sent.

import { picture, settled } from "./api.js";
import { keep, recall } from "./kept.js";

const KEPT = "options";
const UNREAD = ["decode", "too-large"]; // failures of photos that nothing can be made of
const ears = {};
let keys = 0;

/** Read freely; change by the functions below. `chosen`: keys of the selected entries. */
export const state = {
  task: "matte", // "matte" | "enhance" | "fuse"
  tasks: {}, // by name, as GET /v1/tasks lists them
  job: null,
  entries: [],
  items: new Map(), // entry by its item's id
  selected: null, // the entry that is compared
  chosen: new Set(),
  options: recall(KEPT), // by task: what differs from the defaults
  sending: null, // how much of the photos is on the server, 0 to 1, while they are on their way
};

/** Hear of "task", "job", "entries", "entry" (one changed), "selected", "chosen", "options", "sending". */
export function on(event, fn) {
  (ears[event] ??= []).push(fn);
}

function tell(event, ...what) {
  for (const fn of ears[event] ?? []) fn(...what);
}

/** Another task; the photos stay. */
export function setTask(task) {
  if (task === state.task) return;
  state.task = task;
  tell("task", task);
}

/** How the current job stands; null for none. */
export function setJob(job) {
  state.job = job;
  tell("job", job);
}

/** Whether the current job is still under way. */
export const running = () => Boolean(state.job && !settled(state.job));

/** An entry of a file or of an item. */
export const entry = ({ file = null, item = null }) =>
  ({ key: ++keys, name: item?.name ?? file.name, file, item });

/** The photo itself: at hand, or as the server has it. */
export async function fileOf({ file, item, name }, signal) {
  if (file) return file;
  const blob = await picture(item, "input", signal);
  return new File([blob], name, { type: blob.type });
}

/** Whether this photo is known not to be one that can be read. */
export const unread = ({ item }) => item?.state === "failed" && UNREAD.includes(item.error?.code);

/** The selected entries, in order. */
export const chosen = () => state.entries.filter(({ key }) => state.chosen.has(key));

/** How many are selected, where that is more than one and not all; else 0. */
export const several = () => (state.chosen.size > 1 && state.chosen.size < state.entries.length ? state.chosen.size : 0);

/** Another sheet of photos. */
export function setEntries(entries) {
  state.entries = entries;
  state.items = new Map(entries.filter((e) => e.item).map((e) => [e.item.id, e]));
  const there = new Set(entries.map((e) => e.key));
  state.chosen = new Set([...state.chosen].filter((key) => there.has(key)));
  tell("entries", entries);
  if (!entries.includes(state.selected)) select(entries[0] ?? null);
}

/** An item as it now stands, or a part of it ({id, stage}). */
export function setItem(item) {
  const found = state.items.get(item.id);
  if (!found) return;
  found.item = { ...found.item, ...item };
  tell("entry", found);
}

/** Look at this entry; `chosen`: the entries that are selected with it. */
export function select(entry, chosen = entry ? [entry] : []) {
  const other = entry !== state.selected;
  state.selected = entry;
  state.chosen = new Set(chosen.map((e) => e.key));
  if (other) tell("selected", entry);
  tell("chosen", state.chosen);
}

/** What differs from a task's defaults. */
export function setOptions(task, options) {
  state.options[task] = options;
  keep(KEPT, state.options);
  tell("options", task, options);
}

/** How much of the photos is on the server; null: none is on its way. */
export function setSending(part) {
  state.sending = part;
  tell("sending");
}
