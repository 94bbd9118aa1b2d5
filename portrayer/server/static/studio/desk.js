// Where photos are worked on: what comes in, goes on, is looked at and taken away. It comes once the page is drawn.

import * as api from "./api.js";
import { key, look, other, reveal, see } from "./look.js";
import { part } from "./part.js";
import { tried } from "./say.js";
import { fusing } from "./setup.js";
import { on, state } from "./state.js";
import { quit, soon, trying } from "./trial.js";
import { add, remove, run } from "./work.js";

export { contact, toggle } from "./trial.js";
export { add, again, clear, named, open, run, stop } from "./work.js";

const grid = document.querySelector("#grid");
const saving = (name) => tried(async () => (await import("./save.js"))[name]());

export const [saveOne, saveAll] = [saving("saveOne"), saving("saveAll")];

/** These of the server's portraits, done. */
export const sampled = tried(async (names) => {
  const files = await Promise.all(names.map(api.sample));
  if (state.task === "fuse" && fusing) fusing.take(files.shift());
  add(files);
  await run();
});

let drawn = null; // the grid of photos, once there were some

on("task", quit);
on("options", soon);
on("entries", async () => {
  if (!state.entries.length || drawn) return;
  drawn = part("queue");
  (await drawn).queue(grid, { onopen: () => document.querySelector("#compare .stage")?.focus(), onremove: remove });
});
on("selected", () => {
  see(null);
  if (state.selected) reveal();
  soon();
});
on("entry", (one) => {
  if (one !== state.selected || !other(one)) return;
  if (trying()) look();
  else see(null); // it is being done
});

// In the grid the keys of the view work too, but for the arrows.
grid.addEventListener("keydown", (event) => { if (!event.defaultPrevented && !event.key.startsWith("Arrow")) key(event); });
addEventListener("beforeunload", (event) => { if (state.sending !== null) event.preventDefault(); });
