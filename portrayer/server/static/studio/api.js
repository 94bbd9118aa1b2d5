// The server's public HTTP API, and nothing else. What it refuses is thrown as an ApiError.

const TRIES = 3; // of an upload whose connection broke: its key makes it safe to send again
const SOON = 1500; // ms before the next try
const AGAIN = 5000; // ms before a stream that was refused is asked for again

/** What the server refused: `status` 0 where it could not be reached; `again`: seconds to wait. */
export class ApiError extends Error {
  constructor(status, { code = "", title = "", detail = "" } = {}, again = 0) {
    super(title || code || String(status));
    Object.assign(this, { status, code: code || (status ? "http" : "offline"), title, detail, again });
  }
}

// --- who we are -----------------------------------------------------------------------------

let unlocking = null;

/** `onlocked(fn)`: fn() is called at a 401 and gives a promise of being let in; what was asked is then asked again. */
export let onlocked;
const locked = new Promise((resolve) => { onlocked = resolve; });

/** Show the token; the server keeps it in a cookie that no script reads. ApiError 401: another one. */
export async function session(token) {
  const answer = await fetch("/v1/session", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
  });
  if (!answer.ok) throw await refused(answer);
}

function unlock() {
  unlocking ??= locked.then((fn) => fn()).finally(() => { unlocking = null; });
  return unlocking;
}

// --- asking ---------------------------------------------------------------------------------

const refused = async (answer) =>
  refusal(answer.status, await answer.text().catch(() => ""), answer.headers.get("Retry-After"));

function refusal(status, text, after) {
  let first;
  try { first = JSON.parse(text).errors[0]; } catch { /* not ours: a proxy's */ }
  return new ApiError(status, first, Number(after) || 0);
}

async function ask(path, init) {
  let answer;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(0);
  }
  if (answer.status === 401) return unlock().then(() => ask(path, init));
  if (!answer.ok) throw await refused(answer);
  return answer;
}

const json = async (path, init) => (await ask(path, init)).json();

// [[field, File]] and {name: value}; an object goes as JSON.
function form(files, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    body.append(name, typeof value === "object" ? JSON.stringify(value) : value);
  }
  for (const [field, file] of files) body.append(field, file, file.name ?? field);
  return body;
}

// --- tasks and the machine ------------------------------------------------------------------

// The page is drawn from these: asked for as soon as this module is here, whatever else is still to come.
const early = json("/v1/tasks");
early.catch(() => {}); // whoever asks hears of it

/** The tasks, with the JSON schema of their options, and the presets; asked for again where that went wrong. */
export const tasks = () => early.catch(() => json("/v1/tasks"));

/** The names of portraits to try things on. */
export const samples = () => json("/v1/samples");

/** One of them, as a file. */
export async function sample(name) {
  const blob = await (await ask(`/v1/samples/${name}`)).blob();
  return new File([blob], `${name}.${blob.type.replace("image/", "").replace("jpeg", "jpg")}`, { type: blob.type });
}

/** Devices, memory, speed by stage. */
export const system = () => json("/v1/system");

// --- jobs -----------------------------------------------------------------------------------

/** Many photos: a job, once every one of them is on the server. `onprogress(sent, total)` in bytes. */
export async function createJob(files, fields, { onprogress, signal }) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
  const body = form(files, fields);
  for (let left = TRIES; ;) {
    try {
      return await upload("/v1/jobs", body, key, onprogress, signal);
    } catch (error) {
      if (error.status === 401) await unlock();
      else if (error.status !== 0 || --left === 0) throw error;
      else await new Promise((resolve) => setTimeout(resolve, SOON));
    }
  }
}

// fetch tells nothing of an upload's progress in any browser.
function upload(path, body, key, onprogress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal?.addEventListener("abort", stop, { once: true });
    request.upload.onprogress = (event) => onprogress?.(event.loaded, event.total);
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.onerror = () => reject(new ApiError(0));
    request.onload = () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(refusal(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    request.open("POST", path);
    request.setRequestHeader("Idempotency-Key", key);
    if (signal?.aborted) return request.onabort();
    request.send(body);
  });
}

/** How a job stands. */
export const job = (id) => json(`/v1/jobs/${id}`);

/** Jobs, the newest first: {jobs, next}. */
export const jobs = ({ search, signal }) => json(`/v1/jobs?${new URLSearchParams({ search })}`, { signal });

/** The photos of a job in the order they came: {items, next}. */
export const items = (id, cursor) => json(`/v1/jobs/${id}/items?cursor=${cursor}&limit=1000`);

/** Stop what has not begun: {moved, job}. */
export const cancel = (id) => json(`/v1/jobs/${id}`, { method: "DELETE" });

/** Remove a job with all its files. */
export const purge = (id) => json(`/v1/jobs/${id}?purge=true`, { method: "DELETE" });

/** Queue again what failed or was canceled: {moved, job}. */
export const retry = (id) => json(`/v1/jobs/${id}/retry`, { method: "POST" });

/** Whether nothing of a job will come any more. */
export const settled = (job) => job.done + job.failed + job.canceled >= job.total;

/** A job's progress as it comes, until it is settled: `item(i)`, `stage({id, stage})`, `job(j)`, `end(j)`, `error(e)`. */
export function watch(id, { item, stage, job: told, end, error }) {
  let source, timer;
  const stop = () => { clearTimeout(timer); source?.close(); };
  const listen = () => {
    source = new EventSource(`/v1/jobs/${id}/events`); // goes on by Last-Event-ID on its own
    source.addEventListener("item", (event) => item?.(JSON.parse(event.data)));
    source.addEventListener("stage", (event) => stage?.(JSON.parse(event.data)));
    source.addEventListener("job", (event) => {
      const now = JSON.parse(event.data);
      told?.(now);
      if (!settled(now)) return;
      stop();
      end?.(now);
    });
    source.onerror = () => source.readyState === EventSource.CLOSED && lost();
  };
  // The stream was refused: for how long, only a plain request can say.
  const lost = async () => {
    const at = source;
    try {
      await job(id);
    } catch (why) {
      error?.(why);
      if (why.status === 404) return;
    }
    if (source === at) timer = setTimeout(listen, AGAIN);
  };
  listen();
  return () => { stop(); source = null; };
}

// --- photos ---------------------------------------------------------------------------------

/** One photo, now. A Blob, or with `json` {result_b64, faces, ...}. */
export async function photo(task, files, fields, { json: wanted = false, signal } = {}) {
  const answer = await ask(`/v1/${task}`, {
    method: "POST", body: form(files, fields), signal,
    headers: { Accept: wanted ? "application/json" : "image/*" },
  });
  return wanted ? answer.json() : answer.blob();
}

/** Where a picture of an item lies: "input", "result", "matte" or "thumbnail". */
export const url = (item, kind) => `/v1/items/${item.id}/${kind}`;

/** A picture of an item, as a Blob. */
export const picture = async (item, kind, signal) => (await ask(url(item, kind), { signal })).blob();

/** The same as a File, under the name that the server saves it by. */
export async function saved(item, kind) {
  const answer = await ask(url(item, kind));
  const [, name] = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("Content-Disposition"));
  return new File([await answer.blob()], decodeURIComponent(name));
}

/** A photo as it was sent, as a Blob; null where it begins like none, or has more bytes than `most`. */
export async function sent(item, most, signal) {
  const answer = await ask(url(item, "input"), { signal });
  const { headers } = answer;
  if (headers.get("Content-Type")?.startsWith("image/") && Number(headers.get("Content-Length")) <= most) return answer.blob();
  answer.body.cancel();
  return null;
}

/** Where all results of a job lie. */
export const zip = (job) => `/v1/jobs/${job.id}/results.zip`;
