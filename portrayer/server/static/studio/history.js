// The jobs of before: found by name, opened, canceled, removed.

import * as api from "./api.js";
import { state } from "./state.js";
import { either, language, onlanguage, t } from "./text.js";

const TYPING = 200; // ms
const SURE = 3000; // ms in which a removal is confirmed

/** A list in `root` (a dialog's body): {show(), close()}. `onopen(job)`, `ongone(id)`, `onerror(error)`. */
export function history(root, { onopen, ongone, onerror }) {
  const search = Object.assign(document.createElement("input"), { type: "search" });
  const list = document.createElement("ul");
  const none = document.createElement("p");
  search.dataset.tPlaceholder = search.dataset.tLabel = "history.search";
  none.className = "muted";
  none.role = "status";
  list.className = "jobs";
  root.append(search, list, none);
  let stop = null, timer = 0, jobs = [];

  async function read() {
    stop?.abort();
    stop = new AbortController();
    try {
      jobs = (await api.jobs({ search: search.value.trim(), signal: stop.signal })).jobs;
      draw();
    } catch (error) {
      if (error.name !== "AbortError") onerror(error);
    }
  }

  function draw() {
    list.replaceChildren(...jobs.map(row));
    none.textContent = jobs.length ? "" : t(search.value.trim() ? "history.nothing" : "history.empty");
  }

  function row(job) {
    const line = document.createElement("li");
    const open = button("open", () => onopen(job));
    const over = api.settled(job);
    const title = Object.assign(document.createElement("strong"), { textContent: job.name || job.id });
    const about = document.createElement("small");
    const task = job.task.split("+").map((name) => either(`task.${name}`) ?? name).join(" + ");
    const counts = over ? `${job.done} / ${job.total}` : `${job.done + job.failed} / ${job.total}`;
    about.textContent = [task, counts, job.failed && t("jobs.failed", { n: job.failed }), when(job.created)].filter(Boolean).join(" · ");
    const word = Object.assign(document.createElement("span"), { className: "chip", textContent: t(`state.${job.state}`) });
    word.dataset.state = job.state;
    open.append(title, about);
    if (job.id === state.job?.id) open.ariaCurrent = "true";
    const act = over ? removal(job) : button("quiet", async () => { await api.cancel(job.id); read(); }, t("history.cancel"));
    line.append(open, word, act);
    return line;
  }

  // Gone is gone: it is asked twice, in the same place.
  function removal(job) {
    let sure = false;
    const one = button("quiet", async () => {
      if (!sure) {
        sure = true;
        one.textContent = t("history.sure");
        setTimeout(() => { sure = false; one.textContent = t("history.remove"); }, SURE);
        return;
      }
      await api.purge(job.id);
      ongone(job.id);
      await read();
      search.focus();
    }, t("history.remove"));
    return one;
  }

  function button(className, onclick, textContent = "") {
    const element = Object.assign(document.createElement("button"), { type: "button", className, textContent });
    element.onclick = async () => { try { await onclick(); } catch (error) { onerror(error); } };
    return element;
  }

  search.oninput = () => { clearTimeout(timer); timer = setTimeout(read, TYPING); };
  onlanguage(draw);
  return { show: read, close: () => stop?.abort() };
}

const when = (seconds) => new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", { dateStyle: "medium", timeStyle: "short" }).format(seconds * 1000);
