// Trying on one photo, before a job: small at once, then as it will be; or all presets side by side.

import { photo } from "./api.js";
import { reveal, see } from "./look.js";
import { part } from "./part.js";
import { presets } from "./presets.js";
import { refused, say } from "./say.js";
import { fusing, options, put, valid, wish } from "./setup.js";
import { fileOf, state, unread } from "./state.js";
import { t } from "./text.js";

const SMALL = 800; // px of the first look
const TINY = 360; // px on the contact sheet
const CALM = 250; // ms without a change before it is tried anew

const button = document.querySelector("#try");
let on = false;
let stop = null; // AbortController of what is under way
let timer = 0;

/** Whether the selected photo is being tried on. */
export const trying = () => on;

function shown(busy) {
  button.ariaPressed = String(on);
  button.ariaBusy = String(busy);
}

function still() {
  clearTimeout(timer);
  stop?.abort();
}

/** No trial and no preview from now on. */
export function quit() {
  still();
  fusing?.still();
  on = false;
  shown(false);
  see(null);
}

/** Try on the selected photo, and anew at each change, until quit(). */
export function begin() {
  fusing?.still();
  on = true;
  reveal();
  attempt();
}

/** Begins, or ends and shows the photo as it is. */
export function toggle() {
  if (!on) return begin();
  quit();
  if (state.task === "fuse") fusing.again();
}

/** Something changed: tried anew in a moment. Whether a trial is on. */
export function soon() {
  still();
  if (on) timer = setTimeout(attempt, CALM);
  return on;
}

/** One photo with these options, at most `side` px large; null: as large as they say. */
async function sample(one, given, side, signal) {
  const said = wish(given);
  if (!said) throw new DOMException("", "AbortError");
  const { files, options: plain } = said;
  if (state.task === "matte" && plain.output === "both") delete plain.output;
  if (side) Object.assign(plain, { "max-side": Math.min(side, plain["max-side"] || side), format: "webp", quality: 80 });
  files.push([state.tasks[state.task].inputs.at(-1), await fileOf(one, signal)]);
  return photo(state.task, files, { options: plain }, { signal });
}

async function attempt() {
  still();
  const one = state.selected;
  if (!on || !one || unread(one) || !valid()) return;
  if (!wish()) return quit();
  const { signal } = (stop = new AbortController());
  shown(true);
  try {
    for (const side of [SMALL, null]) {
      const blob = await sample(one, options(), side, signal);
      signal.throwIfAborted();
      see({ entry: one, blob });
    }
    say(t("shell.tried"));
  } catch (error) {
    refused(error, attempt);
  } finally {
    if (!signal.aborted) shown(false);
  }
}

/** All presets on the selected photo. */
export async function contact() {
  const one = state.selected;
  const { sheet } = await part("sheet");
  sheet(document.querySelector("#sheet"), [{ title: t("sheet.now"), options: options() }, ...presets(state.tasks[state.task])], {
    make: (given, signal) => sample(one, given, TINY, signal),
    onpick(given) {
      put(given);
      begin();
    },
  });
}
