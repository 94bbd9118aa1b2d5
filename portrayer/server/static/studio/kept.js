// What the browser keeps for this page; where it may keep nothing, it is only forgotten.

/** What was kept under a name, else {}. */
export function recall(name) {
  try {
    return JSON.parse(localStorage.getItem(`portrayer.${name}`)) ?? {};
  } catch {
    return {};
  }
}

/** Keep this; false where the browser does not. */
export function keep(name, value) {
  try {
    localStorage.setItem(`portrayer.${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
