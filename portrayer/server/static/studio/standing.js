// How the sheet stands, beside the photos: counts, progress, and what may be pressed.

import { chosen, on, running, several, state, unread } from "./state.js";
import { duration, number, onlanguage, rate, t } from "./text.js";

const $ = (selector) => document.querySelector(selector);
const words = (selector, text) => { $(selector).textContent = text; };
const are = (word, entries = state.entries) => entries.filter(({ item }) => item?.state === word).length;

function counted(over) {
  const { job, entries, sending } = state;
  const some = several();
  if (sending !== null) return [t("shell.sending", { n: Math.floor(100 * sending) })];
  if (some) return [t("shell.chosen", { n: some })];
  if (!job) return [t(entries.length ? "shell.count" : "shell.none", { n: entries.length })];
  if (running()) return [`${number(over)} / ${number(job.total)}`, job.rate && t("shell.rate", { n: rate(job.rate) }), job.eta && t("shell.eta", { time: duration(job.eta) })];
  const [failed, canceled] = [are("failed"), are("canceled")];
  return [t("shell.finished", { n: are("done") }), failed && t("jobs.failed", { n: failed }), canceled && t("jobs.canceled", { n: canceled })];
}

function draw() {
  const { job, entries, sending, task } = state;
  const sends = sending !== null;
  const busy = sends || running();
  const over = job ? job.done + job.failed + job.canceled : 0;
  const part = sends ? sending : job ? over / job.total : 0;
  const some = several();
  const failed = job && !busy ? job.failed + job.canceled : 0;
  const done = some ? are("done", chosen()) : job?.done;

  $("#grid").classList.toggle("clear", job?.task === "matte" && !job.options.background && job.options.output !== "matte");
  $("#grid").hidden = $("#compare").hidden = !entries.length;
  $("#empty").hidden = Boolean(entries.length);
  $("#clear").hidden = !entries.length || sends;
  $("#stop").hidden = $("#bar").hidden = !busy;
  $("#bar").value = part;
  words("#count", counted(over).filter(Boolean).join(" · "));

  $("#after").hidden = !job || sends || !(job.done || failed);
  $("#retry").hidden = !failed;
  words("#retry span", t("shell.retry", { n: failed }));
  $("#save-one").disabled = state.selected?.item?.state !== "done";
  $("#save-all").disabled = !done;
  words("#save-all span", some ? t("shell.save.some", { n: done }) : t("shell.save.all"));

  const count = some || entries.length;
  words("#run", count ? t(`run.${task}${some ? ".chosen" : ""}`, { n: count }) : t(`task.${task}`));
  $("#run").disabled = !count || sends;
  $("#try").disabled = $("#open-sheet").disabled = !state.selected || unread(state.selected);
  document.title = busy ? `${Math.floor(100 * part)} % · Portrayer` : "Portrayer";
}

/** Drawn now, and from now on whenever something of it changes. */
export function standing() {
  for (const event of ["task", "job", "entries", "chosen", "selected", "sending"]) on(event, draw);
  onlanguage(draw);
  draw();
}
