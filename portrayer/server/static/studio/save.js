// Taking away: one photo, those that are selected, a whole job.

import { saved, url, zip as whole } from "./api.js";
import { chosen, several, state } from "./state.js";
import { zip } from "./zip.js";

const LATER = 60_000; // ms until a download has surely begun

function save(href, name = "") {
  const link = Object.assign(document.createElement("a"), { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

/** The selected photo. */
export const saveOne = () => save(url(state.selected.item, "result"));

/** Those that are selected, else the whole job, as a ZIP. */
export async function saveAll() {
  const { job } = state;
  if (!several()) return save(whole(job));
  const kinds = job.options.output === "both" ? ["result", "matte"] : ["result"];
  const files = [];
  for (const kind of kinds) {
    for (const { item } of chosen().filter((one) => one.item?.state === "done")) {
      files.push(await saved(item, kind));
    }
  }
  const href = URL.createObjectURL(await zip(files));
  save(href, `${job.name.replace(/\.[^.]*$/, "") || "photo"}.zip`);
  setTimeout(() => URL.revokeObjectURL(href), LATER);
}
