// The sheet of photos and the job that it is: photos added and removed, sent, followed, opened again.

import * as api from "./api.js";
import { say, refused, toast, tried } from "./say.js";
import { adopt, valid, wish } from "./setup.js";
import { chosen, entry, fileOf, running, select, setEntries, setItem, setJob, setSending, several, state } from "./state.js";
import { t } from "./text.js";
import { quit } from "./trial.js";

let folder = ""; // that the photos came from
let sending = null; // AbortController of photos on their way to the server
let unwatch = () => {};
let opening = 0;

const address = (hash) => globalThis.history.replaceState(null, "", location.pathname + hash);

// --- photos ---------------------------------------------------------------------------------

/** More photos; with a job on the sheet, a new sheet of them. `left`: how many files were none. */
export function add(files, left = 0, from = "") {
  if (left) toast(t("shell.left", { n: left }));
  if (!files.length || sending) return;
  const fresh = files.map((file) => entry({ file }));
  const more = !state.job && state.entries.length;
  if (state.job) leave();
  folder = more ? "" : from;
  setEntries(more ? [...state.entries, ...fresh] : fresh);
  if (!more) select(fresh[0]);
  say(t("shell.added", { n: files.length }));
}

/** Photos off the sheet; a job that is under way stays whole. */
export function remove(gone) {
  if (sending || !gone.length) return;
  if (running()) return toast(t("shell.whole"));
  const at = state.entries.indexOf(gone[0]);
  const rest = state.entries.filter((one) => !gone.includes(one));
  setEntries(rest);
  if (!rest.length) return leave();
  if (gone.includes(state.selected) || !state.chosen.size) select(rest[Math.min(at, rest.length - 1)]);
  say(t("shell.removed", { n: gone.length }));
}

/** An empty sheet. */
export function clear() {
  leave();
  setEntries([]);
}

/** The sheet is let go; its job goes on, and is in the history. */
function leave() {
  const { job } = state;
  if (running()) toast(t("shell.goes.on"), [t("shell.back"), () => tried(open)(job.id)]);
  opening += 1;
  unwatch();
  setJob(null);
  address("");
}

// --- jobs -----------------------------------------------------------------------------------

/** The selected photos, or all, as a job. */
export const run = tried(async () => {
  if (sending || !state.entries.length || !state.tasks[state.task]) return;
  if (!valid()) return toast(t("error.option"));
  const said = wish();
  if (!said) return; // it has told what is missing
  const entries = several() ? chosen() : state.entries;
  const { task } = state;
  quit();
  sending = new AbortController();
  setSending(0);
  let job;
  try {
    const { signal } = sending;
    const files = [...said.files];
    for (const one of entries) files.push(["files", await fileOf(one, signal)]);
    job = await api.createJob(files, { task, options: said.options, name: folder }, {
      signal, onprogress: (sent, total) => setSending(sent / total),
    });
  } finally {
    sending = null;
    setSending(null);
  }
  say(t("shell.sent", { n: entries.length }));
  await open(job.id, entries);
});

/** Show a job; `entries`: those it was made of. */
export async function open(id, entries = null) {
  const mine = ++opening;
  unwatch();
  const job = await api.job(id);
  const items = [];
  for (let next = 0; next != null;) {
    const page = await api.items(id, next);
    items.push(...page.items);
    next = page.next;
  }
  if (mine !== opening) return;
  if (!entries) {
    folder = "";
    adopt(job);
  }
  setJob(job);
  setEntries(items.map((item, at) => (entries?.[at] ? Object.assign(entries[at], { item }) : entry({ item }))));
  address(`#${id}`);
  follow(job);
}

function follow(job) {
  unwatch();
  if (api.settled(job)) return;
  unwatch = api.watch(job.id, {
    item: setItem, stage: setItem, job: setJob,
    end: (now) => now.canceled || say(t(now.failed ? "shell.done.failed" : "shell.done", { n: now.done, failed: now.failed })),
    error: refused,
  });
}

/** What failed or was canceled, once more. */
export const again = tried(async () => {
  const { job } = await api.retry(state.job.id);
  setJob(job);
  follow(job);
});

/** What is being sent, or what of the job has not begun, is given up. */
export const stop = tried(async () => {
  if (sending) return sending.abort();
  const { job } = await api.cancel(state.job.id);
  say(t("shell.stopped"));
  if (state.job?.id === job.id) setJob(job);
});

/** The job that the address names, if it is still there. */
export const named = tried(async () => {
  const id = location.hash.slice(1);
  if (!/^[0-9a-f]{8,64}$/.test(id) || id === state.job?.id) return;
  const { jobs } = await api.jobs({ search: id });
  if (jobs.some((job) => job.id === id)) return open(id);
  address(state.job ? `#${state.job.id}` : "");
  toast(t("error.unknown-job"));
});
