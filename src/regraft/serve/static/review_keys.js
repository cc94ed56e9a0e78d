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

/**
 * Which class a digit gives, by digit: a class called "7" has the 7, all others take the next that is free. What is `given`
 * already stays, as somebody's finger may lie on it: a class that is called like a digit of another then has none.
 */
export function digitsOf(names, given = new Map()) {
  const digits = new Map(given);
  const have = new Set(given.values());
  const others = names.filter((name) => !have.has(name));
  const isDigit = (name) => /^[0-9]$/.test(name);
  for (const name of others.filter(isDigit)) if (!digits.has(name)) digits.set(name, name);
  const free = [..."123456789"].filter((digit) => !digits.has(digit));
  for (const name of others) if (!isDigit(name) && free.length) digits.set(free.shift(), name);
  return digits;
}

/** What keys ask for, one after another in the order in which they were pressed: each acts once the one before has led on. */
export class KeyQueue {
  #waiting = [];
  #busy = false;

  get busy() {
    return this.#busy;
  }

  async add(work) {
    this.#waiting.push(work);
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#waiting.length) await this.#waiting.shift()();
    } finally {
      this.#busy = false;
      this.drop();
    }
  }

  /** Forget what waits; returns how many keys that are. */
  drop() {
    return this.#waiting.splice(0).length;
  }
}

function isField(target) {
  return target.closest("input:not([type=checkbox], [type=radio], [type=file]), select, textarea, [contenteditable]") !== null;
}

/**
 * Listen to keys. `at(target)` is the card that a key is meant for, or null; `lost()`, whether nothing has the focus;
 * `inDialog()`, whether a dialog is open; `digits()`, the class of each digit; `busy()`, whether earlier keys are not done yet.
 * `move(step)`, `act(name, label)`, `undo()`, `help()` and `find()`, which brings the active card back, are called. Keys of one
 * character do something only where a card has the focus (WCAG 2.1.4).
 */
export function onKeys({ at, lost, inDialog, digits, busy, move, act, undo, help, find }) {
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
    const once = (then) => take(() => event.repeat || then());
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" && !shiftKey) once(undo);
      return;
    }
    if (key.length === 1 && card === null) return;
    if (key === "u") return once(undo);
    if (key === "?" && !inDialog()) return once(help);
    if ((key === "Enter" || key === " ") && target.closest("button, a, input, summary, label")) return;
    const label = digits().get(key) ?? null;
    const name = label === null ? CARD[key] : "relabel";
    if (!name && !MOVES[key]) return;
    if (card === null) {
      if (lost()) take(find);
    } else if (MOVES[key]) take(() => (event.repeat && busy()) || move(MOVES[key]));
    else if (!event.repeat) take(() => act(name, label));
  });
}
