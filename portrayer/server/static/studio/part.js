// Parts of the page that come when they are first wanted.

const parts = {};

/** The module of a part, once its sheet is there too. */
export function part(name) {
  parts[name] ??= Promise.all([import(`./${name}.js`), sheet(name)]).then(([module]) => module);
  parts[name].catch(() => { delete parts[name]; }); // another time it may come
  return parts[name];
}

function sheet(name) {
  return new Promise((resolve) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: `/static/studio/${name}.css` });
    link.onload = link.onerror = resolve;
    document.head.append(link);
  });
}
