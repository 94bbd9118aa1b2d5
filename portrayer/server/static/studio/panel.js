// The device panel: what /v1/system says, for people.

import { system } from "./api.js";
import { make } from "./make.js";
import { on, running } from "./state.js";
import { t, bytes, duration, either, number, onlanguage, rate } from "./text.js";

const BUSY = 2_000;
const IDLE = 30_000;

// Why a batch was no larger, as the server says it.
const WHY = [
  [/^all that waited$/, "panel.why.all"],
  [/^its share of (?<count>\d+) that waited$/, "panel.why.share"],
  [/^memory: (?<free>.+) of (?<total>.+) free$/, "panel.why.memory"],
  [/^an out-of-memory at (?<count>\d+)$/, "panel.why.oom"],
  [/^the device's best$/, "panel.why.best"],
  [/^$/, "panel.why.none"],
];

function why(text) {
  for (const [form, key] of WHY) {
    const found = form.exec(text);
    if (found) return t(key, found.groups).replace(/([KMGT])iB/g, "$1B");
  }
  return text;
}

const stageName = (stage) => either(`stage.${stage}`) ?? stage;

const line = (title, value, more) => make("div", { class: "line" }, make("dt", {}, title), make("dd", { class: "figure" }, value), more && make("dd", { class: "more" }, more));

function meter(title, value, share, { role = "meter", mark = "" } = {}) {
  const bar = make("i", { class: mark });
  bar.style.width = `${Math.max(share > 0 ? 1 : 0, Math.min(100, 100 * share))}%`;
  const measured = role && { role, "aria-label": title, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(100 * share), "aria-valuetext": value };
  return line(title, value, make("div", { class: "meter", ...measured }, bar));
}

const filled = (title, used, total) => meter(title, t("panel.of", { used: bytes(used), total: bytes(total) }), total ? used / total : 0);

// The cores of a processor share one budget and one set of weights: they are told as one.
function devices(report) {
  const cores = report.devices.filter((device) => device.name === "cpu");
  const others = report.devices.filter((device) => device.name !== "cpu");
  const known = others.length === report.gpus.length;
  const one = (device, title, gpu) => make("section", {}, make("h3", {}, title), make("dl", {},
    filled(t("panel.memory"), device.reserved, device.budget),
    gpu && use(gpu),
    line(t("panel.batch"), device.batch ? number(device.batch) : "–", make("small", {}, why(device.batch ? device.why : ""))),
    line(t("panel.precision"), device.precision)));
  const last = cores.toSorted((a, b) => b.batch - a.batch)[0];
  return [
    others.map((device, i) => one(device, known ? `${report.gpus[i].name} · ${device.name}` : device.name, known && report.gpus[i])),
    last && one(last, t("panel.cores", { n: cores.length })),
    known ? [] : report.gpus.map((gpu) => make("section", {}, make("h3", {}, gpu.name), make("dl", {}, use(gpu)))),
  ];
}

const use = (gpu) => [
  gpu.utilisation != null && meter(t("panel.gpu"), `${Math.round(100 * gpu.utilisation)} %`, gpu.utilisation),
  filled(t("panel.card"), gpu.memory_used, gpu.memory_total),
];

function speed({ photos_per_second: pace, stages, bottleneck }) {
  const best = Math.max(...Object.values(stages).map((stage) => stage.photos_per_second));
  const names = Object.keys(stages).sort((a, b) => order(a) - order(b));
  return make("section", {}, make("h3", {}, t("panel.speed")), make("dl", {},
    line(t("panel.now"), t("panel.rate", { rate: rate(pace) })),
    bottleneck && line(t("panel.bottleneck"), stageName(bottleneck))),
  names.length > 0 && make("p", { class: "muted" }, t("panel.stages")),
  names.length > 0 && make("dl", {}, names.map((name) => meter(stageName(name), t("panel.rate", { rate: rate(stages[name].photos_per_second) }),
    stages[name].photos_per_second / best, { role: "", mark: name === bottleneck ? "slowest" : "" }))));
}

const order = (stage) => ["decode", "task", "infer", "encode"].indexOf(stage);

function drawn(report) {
  const { queue, memory } = report;
  const busy = queue.running + queue.queued > 0;
  const age = queue.oldest && queue.queued ? Math.max(0, Date.now() / 1000 - queue.oldest) : 0;
  return [
    !report.ready && make("p", { class: "warn" }, t("panel.loading")),
    make("section", {}, make("h3", {}, t("panel.queue")), make("p", {},
      busy ? t("panel.queued", { n: queue.queued, running: queue.running }) : t("panel.waiting")),
    age > 1 && make("small", {}, t("panel.oldest", { time: duration(age) }))),
    report.pace?.photos_per_second > 0 && speed(report.pace),
    devices(report),
    memory.budget && make("section", {}, make("h3", {}, t("panel.host")), make("dl", {},
      filled(t("panel.memory"), memory.reserved, memory.budget),
      line(t("panel.splits"), number(report.splits)))),
  ];
}

/** The device panel in root. It asks while it is seen: every 2 s while something runs, else every 30 s. */
export function panel(root) {
  let report = null, away = false, seen = false, asking = false, calm = true, timer = 0;

  function show() {
    root.classList.add("panel");
    root.replaceChildren(make("h2", {}, t("panel.title")),
      ...[away && make("p", { class: "bad", role: "status" }, t("panel.away")), report && drawn(report)].flat(Infinity).filter(Boolean));
  }

  async function ask() {
    clearTimeout(timer);
    if (!seen || root.hidden || document.hidden || asking) return;
    asking = true;
    try {
      report = await system();
      away = false;
    } catch {
      away = true;
    }
    asking = false;
    show();
    calm = away || (report.ready && report.queue.running + report.queue.queued + (report.waiting ?? 0) === 0);
    timer = setTimeout(ask, calm ? IDLE : BUSY);
  }

  new IntersectionObserver(([entry]) => {
    seen = entry.isIntersecting;
    ask();
  }).observe(root);
  document.addEventListener("visibilitychange", ask);
  on("job", () => { if (calm && running()) ask(); });
  onlanguage(show);
  show();
}
