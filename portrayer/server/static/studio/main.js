// The page put together: photos come in, are worked on as a job, looked at, taken away.

import * as api from "./api.js";
import { controls, presets } from "./controls.js";
import { drop, pick } from "./drop.js";
import { queue, reason, unread } from "./queue.js";
import { entry, on, running, select, setEntries, setItem, setJob, setOptions, setTask, state } from "./state.js";
import { duration, label, language, number, onlanguage, rate, speak, t } from "./text.js";

const SMALL = 800; // px of a preview's first look
const TINY = 360; // px on the contact sheet
const CALM = 250; // ms without a change before a preview runs
const TOAST = 8000; // ms
const UPLOADED = "(uploaded)"; // what the server shows of a picture among a job's options

const $ = (selector) => document.querySelector(selector);
const words = (selector, text) => { $(selector).textContent = text; };

let settings = null; // the controls of the task
const beside = {}; // by task: [[name, File]], the pictures among its options
// These come when they are first wanted: before and after, the wells of the task "fuse", the device, the history.
let view = null;
let fusing = null;
let device = null;
let jobs = null;
let sending = null; // {stop, part}: photos on their way to the server
let folder = ""; // that the photos came from
let unwatch = () => {};
let opening = 0;
let samples = []; // names

// --- saying ---------------------------------------------------------------------------------

function say(text) {
  words("#said", text);
}

function toast(text, [what, act] = []) {
  const box = document.createElement("div");
  const line = Object.assign(document.createElement("p"), { textContent: text });
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "×", className: "icon", ariaLabel: t("shell.close") });
  const button = what && Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: what });
  const gone = setTimeout(() => box.remove(), TOAST);
  const end = () => { clearTimeout(gone); box.remove(); };
  close.onclick = end;
  if (button) button.onclick = () => { end(); act(); };
  box.append(...[line, button, close].filter(Boolean));
  $("#toast").replaceChildren(box);
}

function refused(error, again) {
  if (error.name === "AbortError") return;
  if (!(error instanceof api.ApiError)) throw error;
  const said = [reason(error)];
  if (["option", "request"].includes(error.code) && error.title !== said[0]) said.push(error.title);
  const named = Object.keys(state.tasks[state.task]?.options.properties ?? {}).find((name) => error.title.startsWith(`${name} `));
  if (error.code === "option" && named) settings?.invalid(named, error.title);
  toast(said.join(": "), again && (!error.status || error.again) ? [t("shell.again"), again] : []);
}

const parts = {};

/** A part of the page that comes later: its module, and its sheet is there. */
function part(name) {
  if (parts[name]) return parts[name];
  const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `/static/studio/${name}.css` });
  const styled = new Promise((resolve) => { sheet.onload = sheet.onerror = resolve; });
  document.head.append(sheet);
  return (parts[name] = Promise.all([import(`./${name}.js`), styled]).then(([module]) => module));
}

const tried = (act) => async (...given) => {
  try { await act(...given); } catch (error) { refused(error, () => tried(act)(...given)); }
};

// --- photos ---------------------------------------------------------------------------------

/** The photo itself: at hand, or as the server has it. */
async function fileOf(one, signal) {
  if (one.file) return one.file;
  const blob = await api.picture(one.item, "input", signal);
  return new File([blob], one.name, { type: blob.type });
}

function add(files, left, from) {
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

function remove(gone) {
  if (sending || running() || !gone.length) return; // a job that is under way stays whole
  const at = state.entries.indexOf(gone[0]);
  const rest = state.entries.filter((one) => !gone.includes(one));
  setEntries(rest);
  if (!rest.length) return leave();
  if (gone.includes(state.selected) || !state.chosen.size) select(rest[Math.min(at, rest.length - 1)]);
  say(t("shell.removed", { n: gone.length }));
}

/** The sheet is let go; its job goes on, and is in the history. */
function leave() {
  if (running()) toast(t("shell.goes.on"), [t("shell.back"), ((id) => () => tried(open)(id))(state.job.id)]);
  opening += 1;
  unwatch();
  setJob(null);
  globalThis.history.replaceState(null, "", location.pathname);
}

// --- jobs -----------------------------------------------------------------------------------

const chosen = () => state.entries.filter((one) => state.chosen.has(one.key));
const several = () => (state.chosen.size > 1 && state.chosen.size < state.entries.length ? state.chosen.size : 0);
const wanted = () => (several() ? chosen() : state.entries);

const run = tried(async () => {
  if (sending || !state.entries.length || !settings) return;
  if (!settings.valid()) return toast(t("error.option"));
  const files = settings.files();
  const options = settings.values();
  if (state.task === "fuse") {
    const said = fusing.wish();
    if (!said) return; // it has told what is missing
    files.push(...said.files);
    Object.assign(options, said.options);
  }
  const entries = wanted();
  quit();
  sending = { stop: new AbortController(), part: 0 };
  standing();
  try {
    const { signal } = sending.stop;
    for (const one of entries) files.push(["files", await fileOf(one, signal)]);
    const job = await api.createJob(files, { task: state.task, options, name: folder }, {
      signal,
      onprogress: (sent, total) => { sending.part = sent / total; standing(); },
    });
    sending = null;
    say(t("shell.sent", { n: entries.length }));
    await open(job.id, entries);
  } finally {
    sending = null;
    standing();
  }
});

/** Show a job; `entries`: those it was made of. */
async function open(id, entries = null) {
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
    const task = job.task.split("+")[0];
    if (task in state.tasks) {
      const own = Object.entries(job.options).filter(([, value]) => !String(value).endsWith(UPLOADED));
      delete beside[task];
      setOptions(task, Object.fromEntries(job.task === task ? own : []));
      setTask(task);
      settings?.set(state.options[task]);
    }
  }
  const fresh = items.map((item, at) => (entries?.[at] ? Object.assign(entries[at], { item }) : entry({ item })));
  setJob(job);
  setEntries(fresh);
  globalThis.history.replaceState(null, "", `#${id}`);
  look();
  follow(job);
}

function follow(job) {
  unwatch();
  device?.wake();
  if (api.settled(job)) return;
  unwatch = api.watch(job.id, {
    item: setItem, stage: setItem, job: setJob,
    end: (now) => now.canceled || say(t(now.failed ? "shell.done.failed" : "shell.done", { n: now.done, failed: now.failed })),
    error: refused,
  });
}

const again = tried(async () => {
  const { job } = await api.retry(state.job.id);
  setJob(job);
  follow(job);
});

const stop = tried(async () => {
  if (sending) return sending.stop.abort();
  const { job } = await api.cancel(state.job.id);
  say(t("shell.stopped"));
  if (state.job?.id === job.id) setJob(job);
});

// --- looking --------------------------------------------------------------------------------

const found = new WeakMap(); // by entry: the faces in it
let looked = "";
let preview = null; // {entry, blob, faces}: what the selected photo would become; the newest, whoever made it

async function faces(one) {
  if (!found.has(one)) {
    const file = await fileOf(one);
    const fields = { options: { strength: 0, denoise: 0, "max-side": 1024, format: "jpeg" } };
    const said = await api.photo("enhance", [["photo", file]], fields, { json: true });
    found.set(one, { boxes: said.faces ?? [], width: said.width });
  }
  return found.get(one);
}

function look() {
  const one = state.selected;
  const why = one?.item?.state === "failed" ? one.item.error : null;
  $("#why").hidden = !why;
  words("#why", why ? [reason(why), why.reason].filter((said, at, all) => said && all.indexOf(said) === at).join(" · ") : "");
  looked = one ? `${one.key} ${one.item?.state} ${one.item?.attempt}` : "";
  if (!view) return one && viewer();
  if (!one) return view.clear();
  const { item, file, name } = one;
  const own = preview?.entry === one ? preview : null;
  view.show({
    name,
    before: file ?? (unread(one) ? null : api.url(item, "input")),
    after: own?.blob ?? (item?.state === "done" ? api.url(item, "result") : null),
    matte: !own && item?.state === "done" && state.job?.options.output === "both" ? api.url(item, "matte") : null,
    faces: own?.faces ?? (unread(one) || state.job?.options.crop ? null : () => faces(one)),
  });
}

async function viewer() {
  const { compare } = await part("compare");
  if (view) return;
  view = compare($("#compare"));
  view.onstep((by) => {
    const at = state.entries.indexOf(state.selected) + by;
    if (state.entries[at]) select(state.entries[at]);
  });
  look();
}

/** On a narrow page, what is looked at may have been scrolled away. */
const show = () => $("#look").scrollIntoView({ block: "nearest" });

// --- trying ---------------------------------------------------------------------------------

const trial = { on: false, stop: null, timer: 0 };

function quit() {
  clearTimeout(trial.timer);
  trial.stop?.abort();
  fusing?.still();
  Object.assign(trial, { on: false, stop: null });
  preview = null;
  trying(false);
}

function trying(busy) {
  const button = $("#try");
  button.ariaPressed = String(trial.on);
  button.ariaBusy = String(busy);
}

/** Everything that is set, pictures too. */
const whole = () => ({ ...settings.values(), ...Object.fromEntries(settings.files()) });

/** One photo with these options, small where `side` says so. */
async function sample(one, options, side, signal) {
  const given = { ...options };
  const files = Object.entries(given).filter(([, value]) => value instanceof File);
  for (const [name] of files) delete given[name];
  if (state.task === "fuse") {
    const said = fusing.wish();
    if (!said) throw new DOMException("", "AbortError");
    files.push(...said.files);
    Object.assign(given, said.options);
  }
  if (state.task === "matte" && given.output === "both") delete given.output;
  if (side) Object.assign(given, { "max-side": Math.min(side, given["max-side"] || side), format: "webp", quality: 80 });
  files.push([state.tasks[state.task].inputs.at(-1), await fileOf(one, signal)]);
  return api.photo(state.task, files, { options: given }, { signal });
}

/** The selected photo with the settings as they are: small at once, then as it will be. */
async function attempt() {
  clearTimeout(trial.timer);
  trial.stop?.abort();
  const one = state.selected;
  if (!trial.on || !one || unread(one) || !settings?.valid()) return;
  if (state.task === "fuse" && !fusing.wish()) return quit();
  const { signal } = (trial.stop = new AbortController());
  trying(true);
  try {
    for (const side of [SMALL, 0]) {
      const blob = await sample(one, whole(), side, signal);
      signal.throwIfAborted();
      preview = { entry: one, blob };
      look();
    }
    say(t("shell.tried"));
  } catch (error) {
    refused(error, attempt);
  } finally {
    if (!signal.aborted) trying(false);
  }
}

function changed(values) {
  beside[state.task] = settings.files();
  setOptions(state.task, values);
  soon();
}

/** Whether a trial is on: then there is another one in a moment. */
function soon() {
  clearTimeout(trial.timer);
  if (!trial.on) return false;
  trial.stop?.abort();
  trial.timer = setTimeout(attempt, CALM);
  return true;
}

function begin() {
  fusing?.still();
  trial.on = true;
  show();
  attempt();
}

// --- the contact sheet ----------------------------------------------------------------------

async function contact() {
  const one = state.selected;
  const { sheet } = await part("sheet");
  sheet($("#sheet"), [{ title: t("sheet.now"), options: whole() }, ...presets(state.tasks[state.task])], {
    make: (options, signal) => sample(one, options, TINY, signal),
    onpick(options) {
      settings.set(options);
      changed(settings.values());
      begin();
    },
  });
}

// --- taking away ----------------------------------------------------------------------------

function save(href, name = "") {
  const link = Object.assign(document.createElement("a"), { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

const saveAll = tried(async () => {
  if (!several()) return save(api.zip(state.job));
  const files = [];
  for (const { item, name } of chosen().filter((one) => one.item?.state === "done")) {
    const end = (item.result?.format ?? "png").replace("jpeg", "jpg");
    files.push([`${name.replace(/\.[^.]*$/, "")}.${end}`, await api.picture(item, "result")]);
  }
  const { zip } = await import("./zip.js");
  const href = URL.createObjectURL(await zip(files));
  save(href, `${state.job.name || "portrayer"}.zip`);
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
});

// --- what is to be read beside the photos ---------------------------------------------------

const are = (word) => state.entries.filter(({ item }) => item?.state === word).length;

function counted(part, over, busy, some) {
  const { job, entries } = state;
  const parts = sending ? [t("shell.sending", { n: Math.floor(100 * part) })]
    : some ? [t("shell.chosen", { n: some })]
    : busy ? [`${number(over)} / ${number(job.total)}`, job.rate && t("shell.rate", { n: rate(job.rate) }), job.eta && t("shell.eta", { time: duration(job.eta) })]
    : job ? [t("shell.finished", { n: are("done") }), are("failed") && t("jobs.failed", { n: are("failed") }), are("canceled") && t("jobs.canceled", { n: are("canceled") })]
    : [t(entries.length ? "shell.count" : "shell.none", { n: entries.length })];
  return parts.filter(Boolean).join(" · ");
}

function standing() {
  const { job, entries } = state;
  const busy = sending || running();
  const over = job ? job.done + job.failed + job.canceled : 0;
  const part = sending ? sending.part : job ? over / job.total : 0;
  const some = several();
  const failed = job && !busy ? job.failed + job.canceled : 0;
  const done = some ? chosen().filter((one) => one.item?.state === "done").length : job?.done;

  $("#grid").classList.toggle("clear", job?.task === "matte" && !job.options.background && job.options.output !== "matte");
  $("#grid").hidden = $("#compare").hidden = !entries.length;
  $("#empty").hidden = Boolean(entries.length);
  $("#clear").hidden = !entries.length || Boolean(sending);
  $("#stop").hidden = $("#bar").hidden = !busy;
  $("#bar").value = part;
  words("#count", counted(part, over, busy, some));

  $("#after").hidden = !job || Boolean(sending) || !(job.done || failed);
  $("#retry").hidden = !failed;
  words("#retry span", t("shell.retry", { n: failed || 0 }));
  $("#save-one").disabled = state.selected?.item?.state !== "done";
  $("#save-all").disabled = !done;
  words("#save-all span", some ? t("shell.save.some", { n: done }) : t("shell.save.all"));

  const count = some || entries.length;
  words("#run", count ? t(`run.${state.task}${some ? ".chosen" : ""}`, { n: count }) : t(`task.${state.task}`));
  $("#run").disabled = !count || Boolean(sending);
  $("#try").disabled = $("#open-sheet").disabled = !state.selected || unread(state.selected);
  document.title = busy ? `${Math.floor(100 * part)} % · Portrayer` : "Portrayer";
}

// --- tasks ----------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("#tasks [role=tab]")];

async function wells() {
  const { fuse } = await part("fuse");
  fusing ??= fuse($("#fuse"), {
    refused, toast, busy: soon, onfiles: (files) => add(files, 0, ""),
    onpreview: (made) => { if (!trial.on && !sending) { preview = made; look(); } },
  });
  if (state.task === "fuse") task();
}

function task() {
  if (state.task === "fuse" && !fusing) wells();
  for (const tab of tabs) {
    const mine = tab.dataset.task === state.task;
    tab.ariaSelected = String(mine);
    tab.tabIndex = mine ? 0 : -1;
    if (mine) $("#work").setAttribute("aria-labelledby", tab.id);
  }
  quit();
  $("#fuse").hidden = state.task !== "fuse" || !fusing;
  settings?.close();
  settings = null;
  $("#controls").replaceChildren();
  const row = state.tasks[state.task];
  if (row && (fusing || state.task !== "fuse")) {
    settings = controls($("#controls"), row, { without: state.task === "fuse" ? fusing.options : [] });
    settings.set({ ...state.options[state.task], ...Object.fromEntries(beside[state.task] ?? []) });
    settings.onchange(changed);
  }
  $("#open-sheet").hidden = !row || presets(row).length < 2;
  look();
  standing();
}

for (const tab of tabs) {
  tab.onclick = () => setTask(tab.dataset.task);
  tab.onkeydown = ({ key }) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!by) return;
    const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length];
    next.focus();
    next.click();
  };
}

// --- who we are -----------------------------------------------------------------------------

api.onlocked(() => new Promise((resolve) => {
  const dialog = $("#token");
  words("#token-wrong", "");
  dialog.oncancel = (event) => event.preventDefault();
  dialog.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    try {
      await api.session($("#token-field").value);
      $("#token-field").value = "";
      dialog.close();
      resolve();
    } catch (error) {
      words("#token-wrong", error.status === 401 ? t("token.wrong") : reason(error));
      $("#token-field").select();
    }
  };
  dialog.showModal();
}));

// --- together -------------------------------------------------------------------------------

queue($("#grid"), { onopen: () => $("#compare .stage")?.focus(), onremove: remove });
drop({ onfiles: add });

on("task", task);
on("selected", () => {
  preview = null;
  look();
  if (state.selected) show();
  soon();
});
on("entry", (one) => {
  if (one !== state.selected || looked === `${one.key} ${one.item?.state} ${one.item?.attempt}`) return;
  if (!trial.on) preview = null; // it is being done
  look();
});
for (const event of ["job", "entries", "chosen", "selected"]) on(event, standing);

$("#add").onclick = () => pick({ onfiles: add });
$("#add-folder").onclick = () => pick({ onfiles: add, folder: true });
$("#empty").ondblclick = $("#add").onclick;
$("#clear").onclick = () => { leave(); setEntries([]); $("#add").focus(); };
$("#stop").onclick = stop;
$("#retry").onclick = again;
$("#save-one").onclick = () => save(api.url(state.selected.item, "result"));
$("#save-all").onclick = saveAll;
$("#run").onclick = run;
$("#try").onclick = () => {
  if (!trial.on) return begin();
  quit();
  look();
  if (state.task === "fuse") fusing.again();
};
$("#open-sheet").onclick = contact;
$("#open-history").onclick = async () => {
  $("#history").showModal();
  if (!jobs) {
    const { history } = await part("history");
    jobs ??= history($("#history .body"), {
      onopen: tried(async (job) => { $("#history").close(); if (!sending) await open(job.id); }),
      ongone: (id) => { if (state.job?.id === id) { leave(); setEntries([]); } },
      onerror: refused,
    });
    label($("#history"));
  }
  jobs.show();
};
$("#history").onclose = () => jobs?.close();
$("#open-device").onclick = async () => {
  const box = $("#device");
  box.hidden = !box.hidden;
  $("#open-device").ariaExpanded = String(!box.hidden);
  if (device) return;
  const { panel } = await part("panel");
  device ??= panel(box);
};
for (const button of document.querySelectorAll("dialog [data-close]")) button.onclick = () => button.closest("dialog").close();
for (const dialog of document.querySelectorAll("#history, #sheet")) {
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
}
$("#samples").onclick = tried(async () => {
  const files = await Promise.all(samples.map(api.sample));
  if (state.task === "fuse" && fusing) fusing.take(files.shift());
  add(files, 0, "");
  await run();
});

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
  if (event.key === "Escape" && !$("#device").hidden) { $("#open-device").click(); $("#open-device").focus(); }
});
// In the grid the keys of the view work too, but for the arrows.
$("#grid").addEventListener("keydown", (event) => { if (!event.defaultPrevented && !event.key.startsWith("Arrow")) view?.key(event); });

/** The job that the address names, if it is still there. */
async function named() {
  const id = location.hash.slice(1);
  if (!/^[0-9a-f]{8,64}$/.test(id) || id === state.job?.id) return;
  const { jobs: found } = await api.jobs({ search: id });
  if (found.some((job) => job.id === id)) return open(id);
  globalThis.history.replaceState(null, "", location.pathname + (state.job ? `#${state.job.id}` : ""));
  toast(t("error.unknown-job"));
}

addEventListener("hashchange", tried(named));
addEventListener("beforeunload", (event) => { if (sending) event.preventDefault(); });

function spoken() {
  const button = $("#language");
  button.textContent = language() === "zh" ? "EN" : "中文";
  button.lang = language() === "zh" ? "en" : "zh-CN";
  button.title = language() === "zh" ? "English" : "中文";
  standing();
}
$("#language").onclick = () => speak(language() === "zh" ? "en" : "zh");
onlanguage(spoken);
label();
spoken();
task();

tried(async () => {
  for (const each of await api.tasks()) state.tasks[each.name] = each;
  task();
  await named();
  samples = await api.samples();
  $("#samples").hidden = !samples.length;
})();
