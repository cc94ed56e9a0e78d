// Decisions on their way to the server: in order, sent again until it has them, kept over a reload.
import { ask, loginNeeded, Refusal, send } from "./ask.js";

const AGAIN = 2000; // milliseconds until the next attempt where the server does not answer
const MOST_FAULTS = 3; // of the server over one item, then the others have their turn
const PASSING = [408, 429, 502, 503, 504, 507]; // it is busy, starts, lacks room, or a gateway does not reach it

/**
 * An item: {id, action, photo, file, label, reviewer, after, tried, faults, sending, held, refusal}. `photo` is null of "undo";
 * `after` is the last row of the log that was known when it was decided; `tried`, that the server may have it, although no
 * answer came; `faults`, how often it failed over it; `held`, that it waits for a server that does not answer.
 */
export class Outbox {
  #items = [];
  #place = null; // in the browser's storage
  #counted = new Set(); // rows of the log that items of ours became, or undid
  #timer = null;
  #next = 1;
  #lastSaved = 0; // id of the item that was decided last of those that are saved

  /** `saved(item, {decision, photo})`, `refused(item)` and `changed(item)` are called as things go. */
  constructor({ saved, refused, changed }) {
    Object.assign(this, { saved, refused, changed });
    this.unanswered = false;
    this.reason = ""; // why nothing is taken, in the words of the last refusal
  }

  /** Take what an earlier page left of these data, and send it. */
  open(data) {
    this.#place = `regraft-unsaved:${data}`;
    let left = [];
    try {
      left = JSON.parse(sessionStorage.getItem(this.#place)) ?? [];
    } catch {
      sessionStorage.removeItem(this.#place); // nothing of ours
    }
    this.#items = [...left.map((item) => ({ ...item, id: this.#next++, sending: false, held: false })), ...this.#items];
    this.#keep();
    this.#items.forEach((item) => this.changed(item));
    this.#pump();
  }

  /** What is not saved of a photo, in order. */
  of(photo) {
    return this.#items.filter((item) => item.photo === photo);
  }

  /** What waits for the server. */
  get waiting() {
    return this.#items.filter((item) => item.refusal === null);
  }

  /** What the server did not take. */
  get failed() {
    return this.#items.filter((item) => item.refusal !== null);
  }

  add({ action, photo = null, file = "", label = null, reviewer, after }) {
    if (photo !== null) this.#items = this.#items.filter((item) => item.photo !== photo || item.refusal === null);
    const state = { tried: false, faults: 0, sending: false, held: this.unanswered, refusal: null };
    const item = { id: this.#next++, action, photo, file, label, reviewer, after, ...state };
    this.#items.push(item);
    this.#keep();
    this.changed(item);
    this.#pump();
  }

  /** Send again what the server did not take. */
  retry(items = this.failed) {
    for (const item of items) {
      Object.assign(item, { refusal: null, faults: 0 });
      this.changed(item);
    }
    this.#keep();
    this.wake();
  }

  /** Let go of what was decided last, if the server refused it; returns it, else null. */
  takeBack() {
    const item = this.#items.at(-1) ?? null;
    if (item === null || item.refusal === null || item.id < this.#lastSaved) return null;
    this.discard([item]);
    return item;
  }

  discard(items) {
    this.#items = this.#items.filter((item) => !items.includes(item));
    this.#keep();
    items.forEach((item) => this.changed(item));
    this.#pump();
  }

  /** Try again now. */
  wake() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#pump();
  }

  #keep() {
    if (this.#place === null) return;
    if (this.#items.length) sessionStorage.setItem(this.#place, JSON.stringify(this.#items));
    else sessionStorage.removeItem(this.#place);
  }

  /** Send the next one: one by one, as undoing is of the row that came last. */
  #pump() {
    if (this.#place === null || this.#timer !== null || this.#items.some((item) => item.sending)) return;
    const [next] = this.waiting;
    if (next) this.#send(next);
  }

  async #send(item) {
    item.sending = true;
    this.changed(item);
    try {
      if (this.unanswered) await checkReady();
      const answer = (item.tried && (await this.#find(item))) || (await this.#ask(item));
      if (answer.undone) this.#counted.add(`undone ${answer.undone.number}`);
      else if (answer.decision) this.#counted.add(`row ${answer.decision.number}`);
      this.#hold(false);
      this.#items = this.#items.filter((one) => one !== item);
      this.#lastSaved = Math.max(this.#lastSaved, item.id);
      this.#keep();
      this.saved(item, answer);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.#fail(item, error);
    }
    this.changed(item);
    this.#pump();
  }

  #hold(held) {
    if (held === this.unanswered) return;
    this.unanswered = held;
    for (const item of this.waiting) {
      item.held = held;
      this.changed(item);
    }
  }

  async #fail(item, error) {
    if (await isForLater(error, item)) {
      if (error.status !== 401) this.reason = error.message;
      this.#hold(this.unanswered || error.status !== 401);
      this.#timer ??= setTimeout(() => (loginNeeded() ? (this.#timer = null) : this.wake()), AGAIN);
    } else {
      this.#hold(false);
      item.tried = error.status >= 500; // it may have failed after it was written
      item.refusal = error.message;
      this.refused(item);
    }
    item.sending = false;
    this.#keep();
  }

  async #ask(item) {
    item.tried = true;
    this.#keep();
    const { action, photo, label, reviewer } = item;
    const value = { photo, action, reviewer, ...(label === null ? {} : { label }) };
    try {
      if (action === "undo") return await send("review/undo", { reviewer }, { tries: 1 });
      return await send("review/decisions", value, { tries: 1 });
    } catch (error) {
      if (isFault(error)) item.faults = (item.faults ?? 0) + 1;
      throw error;
    }
  }

  /** Look whether the server has an item whose answer did not arrive: to send it twice would undo one thing in two steps. */
  async #find(item) {
    for (let after = item.after; ; ) {
      const { decisions } = await ask(`review/decisions?after=${after}`, {}, { tries: 1 });
      const found = decisions.find((row) => !this.#counted.has(keyOf(row)) && isOf(row, item));
      if (found) {
        const photo = await ask(`review/photos/${found.photo}`, {}, { tries: 1 });
        const undone = found.undoes === null ? null : await this.#row(found.undoes);
        return { decision: found, undone, photo };
      }
      if (!decisions.length) return null;
      after = decisions.at(-1).number;
    }
  }

  async #row(number) {
    return (await ask(`review/decisions?after=${number - 1}`, {}, { tries: 1 })).decisions[0] ?? null;
  }
}

/** Throw `Refusal` unless the server knows the photos: one that just started looks at them first. */
async function checkReady() {
  const { phase, error } = await ask("review/state", {}, { tries: 1 });
  if (phase === "looking") throw new Refusal("The server looks at the photos first.", 503);
  if (phase === "failed") throw new Refusal(error ?? "The server cannot look at the photos.", 503);
}

/** Whether the server failed over what it was asked: it would do so again. */
const isFault = ({ status }) => status >= 500 && !PASSING.includes(status);

/** Whether a refusal may pass: nothing answers, or a server that just started knows no photo yet. */
async function isForLater(error, { faults }) {
  const { status } = error;
  if (isFault(error)) return !(faults >= MOST_FAULTS);
  if (status === 0 || status === 401 || PASSING.includes(status)) return true;
  if (status !== 404) return false;
  return checkReady().then(() => false, () => true);
}

const keyOf = ({ number, undoes }) => (undoes === null ? `row ${number}` : `undone ${undoes}`);

function isOf(row, { action, photo, label, reviewer }) {
  if (row.action !== action || row.reviewer !== reviewer) return false;
  return action === "undo" || (row.photo === photo && (label === null || row.label === label.normalize("NFC").trim()));
}
