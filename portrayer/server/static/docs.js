// Draws the HTTP API from openapi.json (OpenAPI 3.1). Everything becomes text nodes, never markup,
// and nothing is asked of another origin.

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];
const SHOWN = 100_000; // characters of an answer that are shown at most
const BASE = new URL(".", location).href.replace(/\/$/, "");
const TOKEN = document.querySelector("#token");

let api = {}; // the document

// --- elements -------------------------------------------------------------------------------

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

const code = (text) => make("code", {}, text);

// A long path may break after each slash.
const broken = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")]);

// The little Markdown that descriptions use: paragraphs, lists, `code`, **strong**.
function prose(text = "") {
  const words = (line) =>
    line.split(/(`+[^`]+`+|\*\*[^*]+\*\*)/).map((part) => {
      if (part.startsWith("`")) return code(part.replaceAll("`", ""));
      return part.startsWith("**") ? make("strong", {}, part.slice(2, -2)) : part;
    });
  return text.trim().split(/\n\s*\n/).filter(Boolean).map((block) => {
    const points = block.split(/^\s*[-*] /m);
    if (points[0].trim() || points.length < 2) return make("p", {}, words(block));
    return make("ul", {}, points.slice(1).map((point) => make("li", {}, words(point))));
  });
}

// --- schemas --------------------------------------------------------------------------------

const pointed = (ref) =>
  ref.slice(2).split("/").reduce((place, key) => place?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], api);

const resolved = (object) => (object?.$ref ? { ...pointed(object.$ref), ...object, $ref: undefined } : object ?? {});

// One flat schema: references followed, allOf joined, "or null" taken off.
function settled(schema) {
  if (!schema || schema === true) return {};
  const { $ref, allOf = [], anyOf, oneOf, ...own } = schema;
  const parts = [...($ref ? [pointed($ref)] : []), ...allOf].map(settled);
  const whole = Object.assign({}, ...parts, own, $ref ? { called: $ref.split("/").pop() } : {});
  whole.properties = Object.assign({}, ...parts.map((part) => part.properties), own.properties);
  whole.required = [...parts.flatMap((part) => part.required ?? []), ...(own.required ?? [])];
  const ways = (anyOf ?? oneOf ?? []).filter((way) => way.type !== "null");
  if (ways.length === 1) return { ...settled(ways[0]), ...own };
  return ways.length ? { ...whole, ways } : whole;
}

const single = (s) => (s.type === "array" ? settled(s.items) : s);
const json = (type) => /[/+]json/.test(type);
const binary = (s) => s.format === "binary" || (s.contentMediaType && !s.contentEncoding && !json(s.contentMediaType));

function kind(schema) {
  const s = settled(schema);
  if (binary(s)) return "file";
  if (json(s.contentMediaType)) return "JSON text";
  if (s.ways) return [...new Set(s.ways.map(kind))].join(" or ");
  if (s.type === "array") return `list of ${kind(s.items)}`;
  if (s.called && Object.keys(s.properties).length) return s.called;
  return [s.type ?? "any"].flat().join(" or ");
}

const shown = (value) => (typeof value === "string" ? value || '""' : JSON.stringify(value));

const listed = (values) => values.map((value, i) => [i > 0 && ", ", code(shown(value))]);

function range(low, high, unit = "") {
  const tail = unit && ` ${unit}`;
  if (low != null && high != null) return `${low} to ${high}${tail}`;
  if (low != null) return `at least ${low}${tail}`;
  return high != null ? `at most ${high}${tail}` : unit;
}

// What a value is held to, as short phrases.
function rules(schema) {
  const s = settled(schema);
  const choices = single(s).enum ?? ("const" in s ? [s.const] : null);
  return [
    choices && ["one of ", listed(choices)],
    range(s.minimum, s.maximum, s.unit),
    s.exclusiveMinimum != null && `more than ${s.exclusiveMinimum}`,
    s.exclusiveMaximum != null && `less than ${s.exclusiveMaximum}`,
    range(s.minLength, s.maxLength, s.minLength ?? s.maxLength ? "characters" : ""),
    range(s.minItems, s.maxItems, s.minItems ?? s.maxItems ? "of them" : ""),
    s.pattern && ["matches ", code(s.pattern)],
    s.default != null && ["default ", code(shown(s.default))],
    s.examples?.length && ["such as ", listed(s.examples)],
  ].filter((rule) => rule && rule.length);
}

// Schemas with fields of their own that lie in a schema: its text's, its items', its alternatives.
function inner(schema) {
  const s = settled(schema);
  if (s.contentSchema) return inner(s.contentSchema);
  if (s.ways) return s.ways.flatMap(inner);
  if (s.type === "array") return inner(s.items);
  const more = typeof s.additionalProperties === "object" ? inner(s.additionalProperties) : [];
  return Object.keys(s.properties ?? {}).length ? [s, ...more] : more;
}

function field(name, schema, required, seen, description) {
  const within = inner(schema).filter((s) => !seen.includes(s.called));
  const s = settled(schema);
  const held = rules(s).map((rule, i) => [i > 0 && " · ", rule]);
  return row(name, [kind(s), required && make("span", { class: "required" }, "required")],
    prose(description ?? s.description ?? single(s).description),
    held.length > 0 && make("p", { class: "quiet" }, held),
    within.map((part) => folded(`Fields of ${part.title ?? part.called ?? name}`, fields(part, seen))));
}

const row = (name, aside, ...said) => make("div", { class: "row" },
  make("dt", {}, make("code", { class: "key" }, name), " ", make("span", { class: "kind" }, aside)),
  make("dd", {}, said));

const folded = (title, ...inside) => make("details", {}, make("summary", {}, title), inside);

function fields(schema, seen = []) {
  const s = settled(schema);
  const path = s.called ? [...seen, s.called] : seen; // a schema that holds itself ends here
  return make("dl", {}, Object.entries(s.properties).map(([name, part]) =>
    field(name, part, s.required.includes(name), path)));
}

// --- one operation --------------------------------------------------------------------------

function operations() {
  const found = [];
  for (const [path, item] of Object.entries(api.paths ?? {})) {
    for (const method of METHODS.filter((name) => item[name])) {
      const one = item[method];
      const slug = `${method}${path}`.replace(/[^a-z0-9]+/gi, "-").replace(/-$/, "").toLowerCase();
      const parameters = [...(item.parameters ?? []), ...(one.parameters ?? [])].map(resolved);
      const content = Object.entries(resolved(one.requestBody).content ?? {});
      const [type, media] = content.find(([name]) => name.startsWith("multipart/")) ?? content[0] ?? [];
      const form = type?.startsWith("multipart/");
      const secured = (one.security ?? api.security ?? []).some((way) => Object.keys(way).length);
      found.push({ ...one, method, path, slug, parameters, content, type, media, form, secured });
    }
  }
  return found;
}

// What a request is made of: {place, name, schema, required, file} of parameters and form fields.
function inputs(op) {
  const { properties, required } = op.form ? settled(op.media.schema) : { properties: {} };
  const all = [
    ...op.parameters.map((p) => ({ ...p, place: p.in, schema: settled({ ...p.schema, example: p.example }) })),
    ...Object.entries(properties).map(([name, part]) =>
      ({ place: "form", name, schema: settled(part), required: required.includes(name) })),
  ];
  return all.map((input) => ({ ...input, file: binary(single(input.schema)) }));
}

function example(schema, name) {
  const s = settled(schema);
  const said = [s.example, s.examples?.[0], s.const, s.enum?.[0], s.default].find((value) => value != null);
  if (said != null) return said;
  if (s.ways) return example(s.ways[0], name);
  if (s.contentSchema) return example(s.contentSchema, name);
  if (s.type === "array") return single(s).type === "object" ? [] : [example(s.items, name)];
  if (s.type === "object") {
    return Object.fromEntries(s.required.map((key) => [key, example(s.properties[key], key)]));
  }
  return { integer: s.minimum ?? 1, number: s.minimum ?? 1, boolean: true }[s.type] ?? name.toUpperCase();
}

// One request: what was typed and, to be shown, examples of what is missing.
function plan(op, typed, whole) {
  const all = inputs(op);
  const given = op.media?.example ?? resolved(Object.values(op.media?.examples ?? {})[0]).value
    ?? (all.some((input) => input.required) ? {} : { [all.find((input) => input.file)?.name]: "photo.jpg" });
  const request = { path: op.path, query: new URLSearchParams(), headers: [], form: [], body: null };
  for (const { place, name, schema, required, file } of all) {
    const said = place === "form" ? given[name] : null;
    let values = typed.get(`${place} ${name}`) ?? [];
    if (whole && !values.length && (required || (said != null && !typed.size))) {
      values = [said ?? (file ? "photo.jpg" : example(schema, name))].flat();
      if (file) values = values.map((label) => ({ name: label }));
    }
    for (const value of values) {
      const text = file ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
      if (place === "path") request.path = request.path.replace(`{${name}}`, encodeURIComponent(text));
      if (place === "query") request.query.append(name, text);
      if (place === "header") request.headers.push([name, text]);
      if (place === "form") request.form.push([name, text]);
    }
  }
  if (op.media && !op.form) {
    request.headers.push(["Content-Type", op.type.replace("*", "jpeg")]);
    request.body = json(op.type) ? JSON.stringify(op.media.example ?? example(op.media.schema, "")) : "@photo.jpg";
  }
  request.url = BASE + request.path + (request.query.size ? `?${request.query}` : "");
  return request;
}

function answer(op) {
  const [, good] = Object.entries(op.responses ?? {}).find(([status]) => status.startsWith("2")) ?? [];
  return Object.keys(resolved(good).content ?? {})[0] ?? "";
}

// The header that carries the token, as [name, value before the token].
function credential() {
  const ways = Object.values(api.components?.securitySchemes ?? {}).map(resolved);
  const key = ways.find((way) => way.type === "apiKey" && way.in === "header");
  return key || !ways.length ? [key?.name ?? "X-Api-Key", ""] : ["Authorization", "Bearer "];
}

const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

// What -F takes: a name with its own signs in it stands in double quotes.
const attached = (name) => (/[;,"\\]/.test(name) ? `@"${name.replace(/["\\]/g, "\\$&")}"` : `@${name}`);

function curl(op, typed = new Map()) {
  const request = plan(op, typed, true);
  const [name, scheme] = credential();
  const type = answer(op);
  const file = type.startsWith("image/") ? `result.${type.slice(6).replace("*", "png")}` : type.endsWith("zip") && "results.zip";
  const method = request.form.length || request.body ? "post" : "get"; // what curl takes by itself
  return [
    `curl ${op.method === method ? "" : `-X ${op.method.toUpperCase()} `}${quoted(request.url)}`,
    (op.secured || TOKEN.value) && `-H "${name}: ${scheme}$TOKEN"`,
    ...request.headers.map(([key, value]) => `-H ${quoted(`${key}: ${value}`)}`),
    ...request.form.map(([key, value]) =>
      value.name ? `-F ${quoted(`${key}=${attached(value.name)}`)}` : `--form-string ${quoted(`${key}=${value}`)}`),
    request.body && `--data-binary ${quoted(request.body)}`,
    type === "text/event-stream" && "-N",
    file && `-o ${file}`,
  ].filter(Boolean).join(" \\\n  ");
}

// --- try it ---------------------------------------------------------------------------------

function control({ place, name, schema, required, file }) {
  const of = single(schema);
  const same = { name: `${place} ${name}`, required };
  const preset = schema.default != null && shown(schema.default);
  const choices = of.enum ?? (of.type === "boolean" ? ["true", "false"] : null);
  if (file) return make("input", { ...same, type: "file", multiple: of !== schema });
  if (choices) {
    const none = make("option", { value: "" }, preset ? `${preset} (default)` : required ? "choose" : "not sent");
    return make("select", same, none, choices.map((value) => make("option", {}, String(value))));
  }
  const kinds = { integer: { type: "number", step: 1 }, number: { type: "number", step: "any" } };
  return make("input", { ...same, ...kinds[of.type], min: of.minimum, max: of.maximum,
    placeholder: preset || kind(schema), autocomplete: "off", spellcheck: "false" });
}

function typedIn(form) {
  const typed = new Map();
  for (const [name, value] of new FormData(form)) {
    if (value === "" || (value instanceof File && !value.name)) continue;
    typed.set(name, [...(typed.get(name) ?? []), value]);
  }
  return typed;
}

const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function send(op, typed, signal) {
  const request = plan(op, typed, false);
  const [name, scheme] = credential();
  const headers = new Headers(request.headers);
  if (TOKEN.value) headers.set(name, scheme + TOKEN.value.trim());
  const body = op.form && new FormData();
  for (const [key, value] of request.form) body.append(key, value);
  return fetch(request.url, { method: op.method.toUpperCase(), headers, body, signal, cache: "no-store" });
}

async function show(response, status, place) {
  const type = response.headers.get("Content-Type") ?? "";
  const said = (...more) => {
    status.textContent = [`${response.status} ${response.statusText}`, type.split(";")[0], ...more].filter(Boolean).join(" · ");
  };
  const headers = [...response.headers].map(([key, value]) => `${key}: ${value}`).join("\n");
  place.append(folded("Headers", make("pre", { tabindex: 0 }, headers)));
  if (type.startsWith("text/event-stream")) {
    const text = make("pre", { tabindex: 0 });
    place.append(text);
    said("listening");
    for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      text.textContent = (text.textContent + value).slice(-SHOWN);
      text.scrollTop = text.scrollHeight;
    }
    return said("ended");
  }
  const blob = await response.blob();
  said(size(blob.size));
  if (!blob.size) return;
  if (/json|text/.test(type) && blob.size <= SHOWN) {
    const text = await blob.text();
    return place.append(make("pre", { tabindex: 0 }, json(type) ? JSON.stringify(JSON.parse(text), null, 2) : text));
  }
  const href = URL.createObjectURL(blob);
  if (type.startsWith("image/")) place.append(make("img", { src: href, alt: "The answer" }));
  place.append(make("a", { href, download: `answer.${type.split(/[/;]/)[1]}` }, "Save"));
}

function trial(op, command) {
  const status = make("p", { role: "status" });
  const place = make("div", { class: "answer" });
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  const [needed, free] = [true, false].map((wanted) =>
    inputs(op).filter((input) => Boolean(input.required) === wanted).map((input) =>
      make("label", {}, code(input.name), control(input))));
  const redraw = () => { command.textContent = curl(op, typedIn(form)); };
  const submit = async (event) => {
    event.preventDefault();
    if (!stop.hidden) return; // one at a time
    const ending = new AbortController();
    stop.onclick = () => ending.abort();
    for (const image of place.querySelectorAll("[href^='blob:']")) URL.revokeObjectURL(image.href);
    place.replaceChildren();
    stop.hidden = false;
    status.textContent = "Waiting…";
    try {
      await show(await send(op, typedIn(form), ending.signal), status, place);
    } catch (error) {
      status.textContent = error.name === "AbortError" ? "Stopped" : `No answer: ${error.message}`;
    } finally {
      stop.hidden = true;
      status.scrollIntoView({ block: "nearest" });
    }
  };
  const form = make("form", { oninput: redraw, onsubmit: submit },
    needed, free.length > 0 && folded("Optional", free),
    make("div", { class: "buttons" }, make("button", {}, "Send"), stop));
  TOKEN.addEventListener("input", redraw);
  return make("details", { class: "try" }, make("summary", {}, "Try it"), form, status, place);
}

// --- the page -------------------------------------------------------------------------------

function described(op) {
  const parameters = ["path", "query", "header"].map((place) => [place, op.parameters.filter((p) => p.in === place)]);
  const responses = Object.entries(op.responses ?? {});
  const errors = responses.filter(([status]) => status >= "4");
  return [
    parameters.filter(([, list]) => list.length).map(([place, list]) => [
      make("h4", {}, { path: "In the path", query: "Query", header: "Headers" }[place]),
      make("dl", {}, list.map((p) => field(p.name, p.schema, p.required, [], p.description))),
    ]),
    op.content.length > 0 && make("h4", {}, "Body ", make("span", { class: "kind" }, op.content[0][0])),
    op.content.map(([type, media], i) => {
      const parts = inner(media.schema).map((s) => fields(s));
      const said = parts.length ? parts : make("p", {}, `A ${kind(media.schema)}.`);
      return i ? folded(`Or as ${type}`, said) : said;
    }),
    make("h4", {}, "Answers"),
    make("dl", {}, responses.filter((one) => !errors.includes(one)).map(answered)),
    errors.length > 0 && folded(`Errors ${errors.map(([status]) => status).join(", ")}`, make("dl", {}, errors.map(answered))),
  ];
}

function answered([status, said]) {
  const response = resolved(said);
  const content = Object.entries(response.content ?? {});
  const headers = Object.keys(response.headers ?? {});
  return row(status, content.map(([type]) => type).join(", "),
    prose(response.description),
    headers.length > 0 && make("p", { class: "quiet" }, "headers ", listed(headers)),
    content.flatMap(([, media]) => inner(media.schema)).map((s) => folded(`Fields of ${s.title ?? s.called ?? "the answer"}`, fields(s))));
}

function copying(command) {
  if (!navigator.clipboard) return null; // only where the browser trusts the address
  const button = make("button", { type: "button", class: "copy", onclick: async () => {
    await navigator.clipboard.writeText(command.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return button;
}

function drawn(op) {
  const command = make("pre", { tabindex: 0, class: "curl", role: "group", "aria-label": "curl command" }, curl(op));
  return make("article", { id: op.slug, "aria-labelledby": `${op.slug}-name` },
    make("h3", { id: `${op.slug}-name` }, make("a", { href: `#${op.slug}` }, op.summary ?? op.path)),
    make("p", { class: "path" }, make("span", { class: `method ${op.method}` }, op.method.toUpperCase()), " ", make("code", {}, broken(op.path))),
    make("div", {}, prose(op.description)),
    make("div", { class: "ready" }, command, copying(command), (op.form || op.method === "get") && trial(op, command)),
    make("div", {}, described(op)));
}

function grouped(all) {
  const names = [...(api.tags ?? []).map((tag) => tag.name), ...all.flatMap((op) => op.tags?.[0] ?? "Other")];
  return [...new Set(names)]
    .map((name) => [name, all.filter((op) => (op.tags?.[0] ?? "Other") === name)])
    .filter(([, list]) => list.length);
}

function draw() {
  const groups = grouped(operations());
  document.title = `${api.info?.title ?? "Portrayer"} · HTTP API`;
  document.querySelector("#version").textContent = api.info?.version ?? "";
  document.querySelector("nav").replaceChildren(...groups.flatMap(([name, list]) => [
    make("h2", {}, name),
    make("ul", {}, list.map((op) => make("li", {}, make("a", { href: `#${op.slug}` },
      make("span", { class: `method ${op.method}` }, op.method.toUpperCase()), " ", make("span", {}, broken(op.path)))))),
  ]));
  document.querySelector("main").replaceChildren(
    make("h1", {}, api.info?.title ?? "HTTP API"),
    ...prose(api.info?.description),
    make("p", {}, "The same for machines: ", make("a", { href: "openapi.json" }, "openapi.json"), ", OpenAPI ", api.openapi, "."),
    ...groups.map(([name, list]) => make("section", {}, make("h2", {}, name),
      prose(api.tags?.find((tag) => tag.name === name)?.description), list.map(drawn))));
  document.getElementById(location.hash.slice(1))?.scrollIntoView();
  follow();
}

// The index says where the reader is.
function follow() {
  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const eye = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((entry) => entry.isIntersecting)) {
      for (const [id, link] of links) link.ariaCurrent = id === target.id ? "true" : null;
    }
  }, { rootMargin: "-15% 0px -80%" });
  for (const article of document.querySelectorAll("article")) eye.observe(article);
}

async function read() {
  const headers = TOKEN.value ? { "X-Api-Key": TOKEN.value.trim() } : {};
  try {
    const response = await fetch("openapi.json", { headers });
    if (!response.ok) throw new Error(`openapi.json answered ${response.status}`);
    api = await response.json();
    draw();
  } catch (error) {
    document.querySelector("main").replaceChildren(
      make("p", { role: "alert" }, `${error.message}. If the server has a token, type it above.`),
      make("button", { type: "button", onclick: read }, "Read again"));
  }
}

const wide = matchMedia("(min-width: 60rem)");
const unfold = () => { document.querySelector("#index").open = wide.matches; };
wide.addEventListener("change", unfold);
document.querySelector("nav").addEventListener("click", (event) => { if (event.target.closest("a")) unfold(); });
unfold();
read();
