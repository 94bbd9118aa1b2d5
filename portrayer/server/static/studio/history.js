// The jobs of before: found by name, opened, canceled, removed.

import * as api from "./api.js";
import { make } from "./make.js";
import { tried } from "./say.js";
import { state } from "./state.js";
import { either, label, language, onlanguage, t } from "./text.js";

const TYPING = 200; // ms
const SURE = 3000; // ms in which a removal is confirmed

const when = (seconds) => new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", { dateStyle: "medium", timeStyle: "short" }).format(seconds * 1000);

/** A list in `root` (a dialog's body): {show(), close()}. `onopen(id)`, `ongone(id)`. */
export function history(root, { onopen, ongone }) {
  const search = make("input", { type: "search", "data-t-label": "history.search", "data-t-placeholder": "history.search",
    oninput: () => { clearTimeout(timer); timer = setTimeout(read, TYPING); } });
  const list = make("ul", { class: "jobs" });
  const none = make("p", { class: "muted", role: "status" });
  let stop = null, timer = 0, jobs = [];
  root.append(search, list, none);
  label(root);

  const read = tried(async () => {
    stop?.abort();
    stop = new AbortController();
    jobs = (await api.jobs({ search: search.value.trim(), signal: stop.signal })).jobs;
    draw();
  });

  function draw() {
    list.replaceChildren(...jobs.map(row));
    none.textContent = jobs.length ? "" : t(search.value.trim() ? "history.nothing" : "history.empty");
  }

  function row(job) {
    const over = api.settled(job);
    const task = job.task.split("+").map((name) => either(`task.${name}`) ?? name).join(" + ");
    const counts = `${over ? job.done : job.done + job.failed} / ${job.total}`;
    const about = [task, counts, job.failed && t("jobs.failed", { n: job.failed }), when(job.created)].filter(Boolean).join(" · ");
    const open = button("open", () => onopen(job.id), make("strong", {}, job.name || job.id), make("small", {}, about));
    if (job.id === state.job?.id) open.ariaCurrent = "true";
    const act = over ? removal(job) : button("quiet", async () => { await api.cancel(job.id); read(); }, t("history.cancel"));
    return make("li", {}, open, make("span", { class: "chip", "data-state": job.state }, t(`state.${job.state}`)), act);
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

  const button = (kind, act, ...inside) => make("button", { type: "button", class: kind, onclick: tried(act) }, inside);

  onlanguage(draw);
  return { show: read, close: () => stop?.abort() };
}
