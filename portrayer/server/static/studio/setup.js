// What is set for the current task: its controls, and for the task "fuse" its wells.

import { controls } from "./controls.js";
import { part } from "./part.js";
import { presets } from "./presets.js";
import { onrefused } from "./say.js";
import { setOptions, setTask, state } from "./state.js";

const UPLOADED = "(uploaded)"; // what the server shows of a picture among a job's options

const $ = (selector) => document.querySelector(selector);

const beside = {}; // by task: [[name, File]], the pictures among its options
let settings = null; // the controls of the task

/** The wells, once they were wanted: {options, wish(), take(file), again(), still()}. */
export let fusing = null;

/** The controls of the current task, drawn anew. */
export function draw() {
  const fuse = state.task === "fuse";
  const row = state.tasks[state.task];
  settings?.close();
  settings = null;
  $("#fuse").hidden = !fuse || !fusing;
  $("#open-sheet").hidden = !row || presets(row).length < 2;
  if (fuse && !fusing) return wells();
  if (!row) return;
  settings = controls($("#controls"), row, { without: fuse ? fusing.options : [] });
  settings.set({ ...state.options[state.task], ...Object.fromEntries(beside[state.task] ?? []) });
  settings.onchange(changed);
}

async function wells() {
  const { fuse } = await part("fuse");
  fusing ??= fuse($("#fuse"));
  if (state.task === "fuse") draw();
}

function changed() {
  beside[state.task] = settings.files();
  setOptions(state.task, settings.values());
}

/** Whether everything that is set may be sent. */
export const valid = () => Boolean(settings?.valid());

/** Everything that is set, pictures too. */
export const options = () => ({ ...settings.values(), ...Object.fromEntries(settings.files()) });

/** What goes beside the photos with these options: {files, options}; null where the wells have told what is missing. */
export function wish(given = options()) {
  const own = state.task === "fuse" ? fusing.wish() : { files: [], options: {} };
  if (!own) return null;
  const [pictures, plain] = [[], []];
  for (const each of Object.entries(given)) (each[1] instanceof File ? pictures : plain).push(each);
  return { files: [...pictures, ...own.files], options: { ...Object.fromEntries(plain), ...own.options } };
}

/** These options and no others, as if they were set by hand. */
export function put(given) {
  settings.set(given);
  changed();
}

/** The task of a job, and its options where they are those of one task. */
export function adopt(job) {
  const [task] = job.task.split("+");
  if (!(task in state.tasks)) return;
  const plain = Object.entries(job.options).filter(([, value]) => !String(value).endsWith(UPLOADED));
  delete beside[task];
  setOptions(task, Object.fromEntries(job.task === task ? plain : []));
  if (task === state.task) settings?.set(state.options[task]);
  else setTask(task);
}

onrefused(({ code, title }) => {
  const named = Object.keys(state.tasks[state.task]?.options.properties ?? {}).find((name) => title.startsWith(`${name} `));
  if (code === "option" && named) settings?.invalid(named, title);
});
