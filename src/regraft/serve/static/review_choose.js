// The dialog in which a class is chosen by its number, by typing a part of its name, or made.
import { byId, counted, element } from "./elements.js";
import { show } from "./review_dialogs.js";

const MOST = 100; // classes that are listed at once

let classes = []; // {name, photos}
let digits = new Map();
let listed = []; // {name, isNew}
let at = 0; // of `listed`

/** Let somebody choose a class for a photo; returns its name, "" where none was chosen. */
export async function chooseClass(photo, known, keys) {
  classes = known;
  digits = keys;
  byId("choose-photo").textContent = photo.file;
  byId("class").value = "";
  ask(null);
  list();
  return (await show(byId("choose"))).trim();
}

/** The classes that a text may mean, and the text as a new class. */
function fitting(text) {
  const plain = text.toLowerCase();
  const rank = (name) => (name === plain ? 0 : name.startsWith(plain) ? 1 : 2);
  const found = classes
    .map(({ name }) => ({ name, isNew: false, rank: rank(name.toLowerCase()) }))
    .filter(({ name }) => name.toLowerCase().includes(plain))
    .sort((one, other) => one.rank - other.rank)
    .slice(0, MOST);
  if (text && !classes.some(({ name }) => name === text)) found.push({ name: text, isNew: true });
  return found;
}

function typed() {
  return byId("class").value.normalize("NFC").trim();
}

function list() {
  listed = fitting(typed());
  at = 0;
  byId("classes").replaceChildren(...listed.map(option));
  mark();
}

function option({ name, isNew }, place) {
  const key = [...digits].find(([, of]) => of === name)?.[0];
  const photos = classes.find((one) => one.name === name)?.photos;
  const words = isNew ? `Make a new class “${name}”` : name;
  const note = isNew ? "" : counted(photos, "photo");
  const parts = [element("span", words), element("span", { className: "quiet", textContent: note })];
  if (key && !typed()) parts.unshift(element("kbd", { textContent: key, aria: { hidden: "true" } }));
  const made = element("li", { id: `class-${place}`, role: "option", className: isNew ? "new" : "" }, ...parts);
  made.addEventListener("click", () => take(listed[place]));
  return made;
}

function mark() {
  [...byId("classes").children].forEach((one, place) => one.setAttribute("aria-selected", String(place === at)));
  const chosen = byId("classes").children[at];
  chosen?.scrollIntoView({ block: "nearest" });
  if (chosen) byId("class").setAttribute("aria-activedescendant", chosen.id);
  else byId("class").removeAttribute("aria-activedescendant");
}

function take(choice) {
  if (!choice) return;
  if (choice.isNew) ask(choice.name);
  else byId("choose").close(choice.name);
}

/** Ask whether a new class is meant; null for the list again. */
function ask(name) {
  byId("choose-list").hidden = name !== null;
  byId("choose-new").hidden = name === null;
  if (name === null) return;
  byId("choose-question").textContent = `Make a new class “${name}”?`;
  byId("make-class").value = name;
  byId("make-class").focus();
}

/** Whether a digit is a choice by itself: nothing is typed, and no other class begins with it. */
function isChoice(key) {
  if (byId("class").value || !digits.has(key)) return false;
  return !classes.some(({ name }) => name.startsWith(key) && name !== digits.get(key));
}

export function prepareChoice() {
  byId("class").addEventListener("input", list);
  byId("class").addEventListener("keydown", (event) => {
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key in steps && listed.length) {
      at = (at + steps[event.key] + listed.length) % listed.length;
      mark();
    } else if (event.key === "Enter") take(listed[at]);
    else if (isChoice(event.key)) byId("choose").close(digits.get(event.key));
    else return;
    event.preventDefault();
  });
  byId("make-class").addEventListener("click", ({ currentTarget }) => byId("choose").close(currentTarget.value));
  byId("other-class").addEventListener("click", () => {
    ask(null);
    byId("class").focus();
  });
}
