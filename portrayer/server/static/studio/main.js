// The page put together: its tabs, buttons, keys and dialogs. What they do comes when it is first wanted.

import * as api from "./api.js";
import { drop, pick } from "./drop.js";
import { part } from "./part.js";
import { tried } from "./say.js";
import { draw } from "./setup.js";
import { standing } from "./standing.js";
import { on, setTask, state } from "./state.js";
import { label, language, onlanguage, speak } from "./text.js";

const $ = (selector) => document.querySelector(selector);

let jobs = null; // the history, once it was wanted
let device = null; // the device panel, the same
let samples = []; // names

const desk = () => import("./desk.js");
const add = async (...given) => (await desk()).add(...given);

api.onlocked(async () => (await import("./token.js")).token());
drop({ onfiles: add });

// --- tasks ----------------------------------------------------------------------------------

const tabs = [...document.querySelectorAll("#tasks [role=tab]")];

function task() {
  for (const tab of tabs) {
    const mine = tab.dataset.task === state.task;
    tab.ariaSelected = String(mine);
    tab.tabIndex = mine ? 0 : -1;
    if (mine) $("#work").setAttribute("aria-labelledby", tab.id);
  }
  draw();
}

on("task", task);
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

// --- buttons --------------------------------------------------------------------------------

// By the button's id: what the desk does.
const DONE = {
  run: "run", stop: "stop", retry: "again", try: "toggle", "open-sheet": "contact", "save-one": "saveOne", "save-all": "saveAll",
};
for (const [id, name] of Object.entries(DONE)) $(`#${id}`).onclick = async () => (await desk())[name]();

$("#add").onclick = $("#empty").ondblclick = () => pick({ onfiles: add });
$("#add-folder").onclick = () => pick({ onfiles: add, folder: true });
$("#samples").onclick = async () => (await desk()).sampled(samples);
$("#clear").onclick = async () => {
  (await desk()).clear();
  $("#add").focus();
};
$("#language").onclick = () => speak(language() === "zh" ? "en" : "zh");
$("#open-device").onclick = panel;
$("#open-history").onclick = history;

async function panel() {
  const box = $("#device");
  box.hidden = !box.hidden;
  $("#open-device").ariaExpanded = String(!box.hidden);
  if (device) return;
  device = part("panel");
  (await device).panel(box);
}

async function history() {
  $("#history").showModal();
  jobs ??= (await part("history")).history($("#history .body"), {
    onopen: async (id) => {
      $("#history").close();
      if (state.sending === null) await (await desk()).open(id);
    },
    ongone: async (id) => { if (state.job?.id === id) (await desk()).clear(); },
  });
  jobs.show();
}

$("#history").onclose = () => jobs?.close();
for (const button of document.querySelectorAll("dialog [data-close]")) button.onclick = () => button.closest("dialog").close();
for (const dialog of document.querySelectorAll("#history, #sheet")) {
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("#run").click(); }
  if (event.key === "Escape" && !$("#device").hidden) { panel(); $("#open-device").focus(); }
});

// --- drawn, once there is what to draw ------------------------------------------------------

function spoken() {
  const [tag, name] = language() === "zh" ? ["en", "English"] : ["zh-CN", "中文"];
  Object.assign($("#language"), { textContent: tag === "en" ? "EN" : name, lang: tag, title: name });
}

const named = async () => { if (location.hash) await (await desk()).named(); };
addEventListener("hashchange", named);

const begin = tried(async () => {
  for (const each of await api.tasks()) state.tasks[each.name] = each;
  task();
  await named();
  samples = await api.samples();
  $("#samples").hidden = !samples.length;
});

label();
spoken();
onlanguage(spoken);
standing();
begin();
