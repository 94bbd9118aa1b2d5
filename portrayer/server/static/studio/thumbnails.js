// The small pictures of the grid: made here of photos at hand, else asked for.

import { picture, sent } from "./api.js";
import { unread } from "./state.js";

const SMALL = 256; // px of a small picture made here
const AT_ONCE = 4; // a browser has six connections, and one is the job's
const KEPT = 600; // small pictures that are remembered
const LATER = 5000; // ms before one that the server could not give now is asked for again
const LIGHT = 4 << 20; // bytes of a photo that is fetched for its small picture

/**
 * Small pictures, a few at once: {want(entries), of(entry)}. What is not wanted any more is let go;
 * `of` gives an address or ""; `shown(entry)` is told of each that has come.
 */
export function thumbnails(shown) {
  const kept = new Map(); // by version, the oldest first: an address, or "" for none
  const busy = new Map(); // by version: its AbortController
  let wanted = [];

  function pump() {
    for (const entry of wanted) {
      if (busy.size >= AT_ONCE) return;
      const name = version(entry);
      if (kept.has(name) || busy.has(name)) continue;
      const stop = new AbortController();
      busy.set(name, stop);
      load(entry, stop.signal).then(
        (blob) => keep(name, entry, blob ? URL.createObjectURL(blob) : ""),
        (error) => {
          if (error.name === "AbortError") return;
          keep(name, entry, "");
          if ([0, 429, 503].includes(error.status)) setTimeout(() => { kept.delete(name); pump(); }, LATER);
        },
      ).finally(() => { busy.delete(name); pump(); });
    }
  }

  function keep(name, entry, address) {
    kept.set(name, address);
    if (kept.size > KEPT) {
      const [[oldest, gone]] = kept;
      kept.delete(oldest);
      if (gone) URL.revokeObjectURL(gone);
    }
    shown(entry);
  }

  function of(entry) {
    for (const name of [version(entry), `file ${entry.key}`]) {
      const address = kept.get(name);
      if (!address) continue;
      kept.delete(name);
      kept.set(name, address); // the newest again
      return address;
    }
    return "";
  }

  function want(entries) {
    wanted = entries;
    const names = new Set(entries.map(version));
    for (const [name, stop] of busy) if (!names.has(name)) stop.abort();
    pump();
  }

  return { of, want };
}

const version = ({ key, file, item }) =>
  item?.state === "done" ? `done ${item.id} ${item.attempt}` : file ? `file ${key}` : `sent ${item.id}`;

async function load({ file, item }, signal) {
  if (item?.state === "done") return picture(item, "thumbnail", signal);
  if (file) return made(file, signal);
  if (unread({ item })) return null;
  if (item.state === "failed") return picture(item, "thumbnail", signal); // it was read
  const blob = await sent(item, LIGHT, signal); // whether it can be read is not known
  return blob && made(blob, signal);
}

async function made(file, signal) {
  const bitmap = await createImageBitmap(file, { resizeWidth: SMALL, resizeQuality: "medium" });
  signal.throwIfAborted();
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/webp", quality: 0.8 });
}
