// What both pages make elements with, and say things by.

export const byId = (id) => document.getElementById(id);

/** Make an element. Properties are text, or those of the element; `aria`, `data` and `role` are attributes. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { aria = {}, data = {}, role, ...own } = typeof properties === "string" ? { textContent: properties } : properties;
  Object.assign(made, own);
  Object.assign(made.dataset, data);
  if (role) made.setAttribute("role", role);
  for (const [key, value] of Object.entries(aria)) made.setAttribute(`aria-${key}`, value);
  made.append(...children);
  return made;
}

let passing = null;

/** Say something where all see it, and screen readers read it. */
export function say(text, bad = false) {
  const status = byId("status");
  status.textContent = text;
  status.classList.toggle("bad", bad);
  clearTimeout(passing);
  if (status.dataset.seconds && !bad) passing = setTimeout(() => say(""), status.dataset.seconds * 1000);
}

export function percent(share) {
  if (share > 0.9995 && share < 1) return "> 99.9 %";
  if (share < 0.0005 && share > 0) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** "1 photo", "1,000 photos". */
export function counted(number, one, more = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : more}`;
}

/** Have the browser keep a file. */
export function keepFile(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
