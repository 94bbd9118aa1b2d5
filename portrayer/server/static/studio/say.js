// What the page tells: in passing to those who listen, in a note to everybody; and errors in words.

import { ApiError } from "./api.js";
import { make } from "./make.js";
import { either, t } from "./text.js";

const STAYS = 8000; // ms of a note

const $ = (selector) => document.querySelector(selector);

/** To those who listen to the page. */
export function say(text) {
  $("#said").textContent = text;
}

/** A note, with something to do about it: [words, fn]. */
export function toast(text, [what, act] = []) {
  const box = make("div", {}, make("p", {}, text),
    what && make("button", { type: "button", class: "quiet", onclick: () => { end(); act(); } }, what),
    make("button", { type: "button", class: "icon", "aria-label": t("shell.close"), onclick: () => end() }, "×"));
  const gone = setTimeout(() => box.remove(), STAYS);
  const end = () => { clearTimeout(gone); box.remove(); };
  $("#toast").replaceChildren(box);
}

/** Why something failed, in the page's language. */
export const reason = (error) => either(`error.${error?.code}`) ?? own(error) ?? t("error.other");

/** The same, with the server's own words beside it. */
export const because = (error) => [...new Set([reason(error), own(error)])].filter(Boolean).join(" · ");

const own = (error) => error?.reason || error?.title;

/** What the server refused, in a note; where it may go well at another time, with `again` to try. */
export function refused(error, again) {
  if (error.name === "AbortError") return;
  if (!(error instanceof ApiError)) throw error;
  for (const fn of ears) fn(error);
  toast(because(error), again && (!error.status || error.again) ? [t("shell.again"), again] : []);
}

const ears = new Set();

/** Calls fn(error) at each refusal. */
export const onrefused = (fn) => ears.add(fn);

/** The same act, its refusals told. */
export const tried = (act) => async (...given) => {
  try { await act(...given); } catch (error) { refused(error, () => tried(act)(...given)); }
};
