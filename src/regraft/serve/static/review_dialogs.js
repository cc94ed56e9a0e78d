// The dialogs: opened and closed in one way, and the small ones among them.
import { byId, element } from "./elements.js";
import { HELP } from "./review_keys.js";

/** The dialog that is open, or null; of two the upper one, which stands before the other in the page. */
export const openDialog = () => document.querySelector("dialog[open]");

/** Have the notices where they can be seen and reached: an open dialog covers the page, and takes its keys. */
function placeNotices() {
  const dialog = openDialog();
  if (dialog) dialog.append(byId("notices"));
  else document.querySelector("main").prepend(byId("notices"));
}

/** Open a dialog; returns a promise of what it was closed with, "" where nothing was chosen. */
export function show(dialog) {
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
  placeNotices();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
}

/** Have the dialogs of the page close by their buttons, and where somebody clicks beside them. */
export function prepareDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("close", placeNotices);
    dialog.addEventListener("click", ({ target }) => {
      if (target === dialog || target.closest("[data-close]")) dialog.close("");
    });
  }
  const rows = HELP.map(([keys, words]) => element("div", {}, element("dt", {}, ...caps(keys)), element("dd", words)));
  byId("keys").replaceChildren(...rows);
}

function caps(keys) {
  return keys.split(" ").map((word) => (/^(or|to|\+)$/.test(word) ? ` ${word} ` : element("kbd", word)));
}

export const showHelp = () => show(byId("help"));

/** Ask who reviews; returns the name, "" where none was given. */
export async function askName(known) {
  byId("name").value = known;
  const closed = show(byId("who"));
  byId("name").select();
  return (await closed).trim();
}

/** Have the form of a dialog close it with `value()`. */
export function closeBy(form, value) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.closest("dialog").close(value());
  });
}
