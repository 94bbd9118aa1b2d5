// How photos come in: dropped (files and folders, anywhere on the page), pasted, picked.

const PHOTO = /\.(jpe?g|png|webp|bmp|tiff?|heic|heif|avif|gif)$/i;
const order = new Intl.Collator(undefined, { numeric: true });

/** Photos dropped on or pasted into the page: `onfiles(files, left, folder)`; `left`: how many were none. */
export function drop({ onfiles, mark = document.body }) {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const ours = (event) => !event.defaultPrevented && event.dataTransfer?.types.includes("Files");
  const over = (to) => { depth = to; mark.classList.toggle("dropping", depth > 0); };

  addEventListener("dragenter", (event) => ours(event) && over(depth + 1));
  addEventListener("dragleave", (event) => ours(event) && over(Math.max(0, depth - 1)));
  addEventListener("dragover", (event) => {
    if (!ours(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", async (event) => {
    const mine = ours(event);
    over(0);
    if (!mine) return; // a well of its own took it
    event.preventDefault();
    give(onfiles, await dropped(event.dataTransfer));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (event.defaultPrevented || !files.length) return;
    event.preventDefault();
    give(onfiles, { files });
  });
}

let input = null; // held, or Safari may drop what was picked

/** Let photos be picked, or a `folder` of them: `onfiles` as for drop(). */
export function pick({ folder = false, onfiles }) {
  input = Object.assign(document.createElement("input"), { type: "file", multiple: true });
  if (folder) input.webkitdirectory = true;
  else input.accept = "image/*";
  input.onchange = ({ target: { files } }) => give(onfiles, { files: [...files], folder: files[0]?.webkitRelativePath.split("/")[0] });
  input.click();
}

function give(onfiles, { files, folder = "" }) {
  const seen = files.filter((file) => !/^(\.|Thumbs\.db$|desktop\.ini$)/i.test(file.name));
  const photos = seen.filter((file) => file.type.startsWith("image/") || PHOTO.test(file.name));
  photos.sort((a, b) => order.compare(a.webkitRelativePath || a.name, b.webkitRelativePath || b.name));
  if (seen.length) onfiles(photos, seen.length - photos.length, folder);
}

// All must be taken before the event ends; what is in folders may come later.
async function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file")
    .map((item) => ({ file: item.getAsFile(), entry: item.webkitGetAsEntry?.() }));
  const files = await Promise.all(items.map(({ file, entry }) => (entry?.isDirectory ? walk(entry) : file ?? [])));
  return { files: files.flat(), folder: items.length === 1 && items[0].entry?.isDirectory ? items[0].entry.name : "" };
}

async function walk(entry) {
  if (entry.isFile) return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a hundred at a time
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) return found.flat();
    found.push(...await Promise.all(some.map(walk)));
  }
}
