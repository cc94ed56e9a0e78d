// The keys: what each does, to look up and to do it.

/** Keys of cards, by what they do. Digits give classes, see `digitsOf`. */
const CARD = {
  Enter: "confirm",
  c: "confirm",
  r: "choose",
  s: "suggested",
  x: "exclude",
  " ": "closer",
  l: "closer",
};
const MOVES = {
  ArrowLeft: { columns: -1 },
  ArrowRight: { columns: 1 },
  ArrowUp: { rows: -1 },
  ArrowDown: { rows: 1 },
  Home: { columns: -Infinity },
  End: { columns: Infinity },
};

/** What the help shows: [keys, what they do]. */
export const HELP = [
  ["← → ↑ ↓", "go to another photo; Home and End to the first and the last that is loaded"],
  ["Enter or c", "the label is right"],
  ["1 to 9", "it is of this class: the numbers stand beside the classes"],
  ["s", "it is of the class that is suggested"],
  ["r", "choose another class, or make a new one"],
  ["x", "leave the photo out"],
  ["u or Ctrl + Z", "undo your last decision"],
  ["Space or l", "look closer; Esc closes"],
  ["Tab", "from a photo to its buttons, and on"],
  ["?", "this list"],
];

/** Which class a digit gives, by digit: a class called "7" has the 7, all others take the next that is free. */
export function digitsOf(names) {
  const digits = new Map(names.filter((name) => /^[0-9]$/.test(name)).map((name) => [name, name]));
  const free = [..."123456789"].filter((digit) => !digits.has(digit));
  for (const name of names) if (!/^[0-9]$/.test(name) && free.length) digits.set(free.shift(), name);
  return digits;
}

function isField(target) {
  return target.closest("input:not([type=checkbox], [type=radio], [type=file]), select, textarea, [contenteditable]") !== null;
}

/**
 * Listen to keys. `at(target)` is the card that a key is meant for, or null; `lost()`, whether nothing has the focus;
 * `inDialog()`, whether a dialog is open; `digits()`, the class of each digit. `move(card, step)`, `act(card, name, label)`,
 * `undo()`, `help()` and `find()`, which brings the active card back, are called.
 */
export function onKeys({ at, lost, inDialog, digits, move, act, undo, help, find }) {
  document.addEventListener("keydown", (event) => {
    const { target, altKey, shiftKey, isComposing } = event;
    if (altKey || isComposing || isField(target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const card = at(target);
    const take = (then) => {
      event.preventDefault();
      then();
    };
    if (inDialog() && card === null) return; // a dialog with keys of its own
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" && !shiftKey) take(undo);
      return;
    }
    if (key === "u") return take(undo);
    if (key === "?" && !inDialog()) return take(help);
    if ((key === "Enter" || key === " ") && target.closest("button, a, input, summary, label")) return;
    const label = digits().get(key) ?? null;
    const name = label === null ? CARD[key] : "relabel";
    if (!name && !MOVES[key]) return;
    if (card === null) {
      if (lost()) take(find);
    } else if (MOVES[key]) take(() => move(card, MOVES[key]));
    else if (!event.repeat) take(() => act(card, name, label));
  });
}
