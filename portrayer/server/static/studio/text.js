// The words of the page, in Chinese and English, and figures as each writes them.

import en from "./en.js";
import { keep, recall } from "./kept.js";
import zh from "./zh.js";

const TABLES = { en, zh };
const TAGS = { en: "en", zh: "zh-CN" };
const KEPT = "language";

const listeners = new Set();
let spoken = first();

function first() {
  const kept = recall(KEPT);
  if (kept in TABLES) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** The words of a key, {name} replaced by values; of two keys "key" and "key.one" the latter where n is 1. */
export function t(key, values = {}) {
  const table = TABLES[spoken];
  const words = (values.n === 1 && table[`${key}.one`]) || table[key] || key;
  return words.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : value ?? whole;
  });
}

/** The words of the first of these keys that there is, else undefined. */
export function either(...keys) {
  const key = keys.find((each) => each in TABLES[spoken]);
  return key && t(key);
}

/** "zh" or "en". */
export const language = () => spoken;

/** Speak "zh" or "en" from now on. */
export function speak(name) {
  spoken = name;
  keep(KEPT, name);
  label();
  for (const fn of listeners) fn(name);
}

/** Calls fn(language) at each change; returns what takes it off again. */
export function onlanguage(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

/** Fills data-t (text), data-t-label (aria-label and title) and data-t-placeholder below root. */
export function label(root = document.documentElement) {
  document.documentElement.lang = TAGS[spoken];
  const all = (name) => [...(root.matches?.(`[${name}]`) ? [root] : []), ...root.querySelectorAll(`[${name}]`)];
  for (const element of all("data-t")) element.textContent = t(element.dataset.t);
  for (const element of all("data-t-label")) {
    element.title = t(element.dataset.tLabel);
    element.setAttribute("aria-label", element.title);
  }
  for (const element of all("data-t-placeholder")) element.placeholder = t(element.dataset.tPlaceholder);
}

/** A number as the language writes it, with at most so many digits after the point. */
export const number = (value, digits = 2) => value.toLocaleString(TAGS[spoken], { maximumFractionDigits: digits });

/** Bytes for people: 1.5 GB (of 1024, as devices count). */
export function bytes(count) {
  const step = count > 0 ? Math.min(4, Math.floor(Math.log2(count) / 10)) : 0;
  return `${number(count / 1024 ** step, step > 2 ? 1 : 0)} ${["B", "KB", "MB", "GB", "TB"][step]}`;
}

/** Photos (or samples) a second, with no more digits than say something. */
export const rate = (value) => number(value, value < 1 ? 2 : value < 10 ? 1 : 0);

/** Seconds for people: 8 s, 3 min, 2 h 5 min. */
export function duration(seconds) {
  if (seconds < 10) return t("time.s", { n: Math.round(seconds * 10) / 10 });
  if (seconds < 60) return t("time.s", { n: Math.ceil(seconds) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return t("time.min", { n: minutes });
  return t("time.h", { h: Math.floor(minutes / 60), n: minutes % 60 });
}
