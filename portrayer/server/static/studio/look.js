// What is looked at: the selected photo before and after, as it is or as it would become.

import * as api from "./api.js";
import { part } from "./part.js";
import { because } from "./say.js";
import { fileOf, select, state, unread } from "./state.js";

const FACES = { strength: 0, denoise: 0, "max-side": 1024, format: "jpeg" }; // nothing but the faces is wanted

const $ = (selector) => document.querySelector(selector);

const found = new WeakMap(); // by entry: the faces in it
let view = null; // before and after, once a photo was there
let preview = null; // {entry, blob, faces}: what the selected photo would become; the newest, whoever made it
let looked = "";

const version = ({ key, item }) => `${key} ${item?.state} ${item?.attempt}`;

/** Whether this is another photo, or in another state, than the one that is shown. */
export const other = (one) => looked !== version(one);

/** Show this preview of a photo; null: show it as it is. */
export function see(made) {
  preview = made;
  look();
}

/** The selected photo, shown as it now is. */
export function look() {
  const one = state.selected;
  const failed = one?.item?.state === "failed";
  $("#why").hidden = !failed;
  $("#why").textContent = failed ? because(one.item.error) : "";
  looked = one ? version(one) : "";
  if (!view) return one && viewer();
  if (!one) return view.clear();
  const { item, file, name } = one;
  const own = preview?.entry === one ? preview : null;
  const done = item?.state === "done";
  view.show({
    name,
    before: file ?? (unread(one) ? null : api.url(item, "input")),
    after: own?.blob ?? (done ? api.url(item, "result") : null),
    matte: !own && done && state.job?.options.output === "both" ? api.url(item, "matte") : null,
    faces: own?.faces ?? (unread(one) || state.job?.options.crop ? null : () => faces(one)),
  });
}

async function viewer() {
  const { compare } = await part("compare");
  if (view) return;
  view = compare($("#compare"));
  view.onstep((by) => {
    const next = state.entries[state.entries.indexOf(state.selected) + by];
    if (next) select(next);
  });
  look();
}

async function faces(one) {
  if (!found.has(one)) {
    const said = await api.photo("enhance", [["photo", await fileOf(one)]], { options: FACES }, { json: true });
    found.set(one, { boxes: said.faces ?? [], width: said.width });
  }
  return found.get(one);
}

/** On a narrow page, what is looked at may have been scrolled away. */
export const reveal = () => $("#look").scrollIntoView({ block: "nearest" });

/** A key of the view that was pressed elsewhere. */
export const key = (event) => view?.key(event);
