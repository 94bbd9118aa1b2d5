// The models that an option chooses among: each with its licence and its size and, where it is not here, what brings it.

import { icon, make } from "./make.js";
import { say as tell } from "./say.js";
import { bytes, either, t } from "./text.js";

const SHEETS = "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3";
const TICK = "M3 8.5l3.5 3.5 6.5-7.5";

// The licences of all that a model takes; the server's own words for them but for those of no licence.
const licences = (text) => text.split("; ").map((each) => either(`licence.${each}`) ?? each).join("; ");

// Browsers give the clipboard to pages of this machine and of https; elsewhere what is selected can be copied.
async function copy(code, button) {
  getSelection().selectAllChildren(code);
  const given = await navigator.clipboard?.writeText(code.textContent).then(() => true, () => false);
  if (!given && !document.execCommand("copy")) return;
  button.replaceChildren(icon(TICK));
  tell(t("models.copied"));
}

// What the server advises: the command in it, to be copied.
function command(advice, name) {
  const [, words] = /`(.+?)`/.exec(advice) ?? [];
  if (!words) return make("small", {}, advice);
  const code = make("code", {}, words);
  const what = t("models.copy", { name });
  const button = make("button", { type: "button", class: "icon", title: what, "aria-label": what, onclick: () => copy(code, button) }, icon(SHEETS));
  return make("div", { class: "command" }, code, button);
}

/** The field of an option whose rule has `models`, as the server tells them; see fields.js. */
export function models({ id, title, rule, say, get, put }) {
  const radios = rule.models.map(({ name, installed }) =>
    make("input", { type: "radio", name: id, value: name, disabled: !installed, onchange: () => put(name) }));
  const rows = rule.models.map(({ name, licence, commercial, bytes: size, advice }, at) => make("div", { class: "model" },
    make("label", {}, radios[at], make("span", {}, say(name)),
      !commercial && make("small", { class: "warn" }, t("models.non-commercial")),
      make("small", {}, `${licences(licence)} · ${bytes(size)}`)),
    advice && command(advice, say(name))));
  const absent = rows.filter((_, at) => radios[at].disabled);
  const rest = make("details", { hidden: !absent.length },
    make("summary", {}, t("models.absent", { n: absent.length })), make("small", {}, t("models.bring")), absent);
  const group = make("div", { class: "models", role: "radiogroup", "aria-label": title }, rows.filter((row) => !absent.includes(row)), rest);
  function sync() {
    for (const radio of radios) radio.checked = radio.value === get();
    if (radios.some((radio) => radio.checked && radio.disabled)) rest.open = true;
  }
  return { parts: [group], group: true, sync };
}
