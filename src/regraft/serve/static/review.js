// The page on which people look through photos and correct labels. See docs/review.md.
import { ask, askFile, LONG, loginNeeded, onLogin, Refusal, send } from "./ask.js";
import { byId, counted, keepFile, say } from "./elements.js";
import { addPhotos, prepareAdding } from "./review_add.js";
import { done, labelNow } from "./review_card.js";
import { chooseClass, prepareChoice } from "./review_choose.js";
import { Closer } from "./review_closer.js";
import { askName, closeBy, openDialog, prepareDialogs, showHelp } from "./review_dialogs.js";
import { Grid } from "./review_grid.js";
import { KeyQueue, onKeys } from "./review_keys.js";
import { Outbox } from "./review_outbox.js";
import { prepareResult } from "./review_retrain.js";
import { currentFilter, digits, orderedClasses, showBanner, showReviewer, showState } from "./review_state.js";
import { fetchMissing } from "./review_thumbnails.js";

const POLL = 2000; // milliseconds
const POLL_WORK = 700; // while the server works on something
const POLL_NOW = 150; // after a decision
const REVIEWER = "regraft-reviewer";
const MOST_ASKED = 60; // photos that are asked for anew, one by one
const SLOW = 400; // milliseconds after which it is said that photos are loaded

let state = null; // as GET /review/state says
let last = null; // row of the log of decisions that is known
let photos = 0; // that the server had when the list was loaded
let answered = true; // whether the server answered the last time
let reasonLost = ""; // why not
const poll = { timer: null, running: false, again: false };
const stale = new Set(); // photos that others decided on, to ask for anew
const own = new Map(); // by photo, the rows of the log that are ours and shown

const outbox = new Outbox({ saved, refused, changed });
const keys = new KeyQueue();
const grid = new Grid(outbox, act);
const closer = new Closer(outbox, act, (card) => loginNeeded() || grid.focus(grid.card(card.photo.id) ?? grid.active));

// --- decisions ---

async function reviewer() {
  const known = localStorage.getItem(REVIEWER);
  return known || renameReviewer();
}

async function renameReviewer() {
  const name = await askName(localStorage.getItem(REVIEWER) ?? "");
  if (name) localStorage.setItem(REVIEWER, name);
  showReviewer(localStorage.getItem(REVIEWER));
  return name;
}

/** Do what a key or a button of a card says. */
async function act(card, name, value) {
  const { photo } = card;
  const now = labelNow(photo);
  if (name === "closer") return closer.card ? closer.close() : look(card);
  if (name === "retry") return outbox.retry(value);
  if (name === "choose") {
    const label = await chooseClass(photo, orderedClasses(state), digits());
    return label ? decide(card, "relabel", label) : undefined;
  }
  if (name === "suggested" && photo.suggested === null) return say("No class is suggested for this photo.");
  if (name === "suggested") return decide(card, "relabel", photo.suggested);
  if (name === "confirm" && now.label === null) return say("It has no label yet: choose its class.");
  // Who confirms a photo confirms what stands on the card, which another reviewer may have given it.
  if (name === "confirm") return decide(card, "relabel", now.label);
  return decide(card, name, value);
}

async function decide(card, action, label) {
  const name = await reviewer();
  if (!name) return;
  const { id, file, label: found } = card.photo;
  const what = action === "relabel" && label === found ? "confirm" : action;
  outbox.add({ action: what, photo: id, file, label, reviewer: name, after: last ?? state.last });
  const slow = setTimeout(() => say("Loading more photos …"), SLOW);
  const next = await grid.nextUndecided(card).finally(() => clearTimeout(slow));
  if (!next) return stay(next === null);
  if (openDialog() && !closer.card) return;
  if (closer.card === card) look(next);
  else if (!closer.card && grid.active === card) grid.focus(next);
}

/** Say why no photo follows, and what becomes of keys that were meant for those that should. */
function stay(sameList) {
  const dropped = keys.drop();
  const words = sameList ? [grid.lost || "That was the last one of this list that is undecided."] : [];
  if (dropped) words.push(`${counted(dropped, "key")} pressed meanwhile did nothing.`);
  if (words.length) say(words.join(" "), Boolean(grid.lost));
}

/** Have a key do something with the photo that is seen once the keys before it are done. */
function queue(work) {
  return keys.add(() => {
    const card = closer.card ?? grid.active;
    return card && work(card);
  });
}

/** Show the photo of a card in full size. */
function look(card) {
  grid.activate(card);
  closer.open(card);
}

async function undo() {
  const refusedLast = outbox.takeBack();
  if (refusedLast) {
    say(`${refusedLast.file || "Undo"}: taken back, it was not saved`);
    return;
  }
  const name = await reviewer();
  if (name) outbox.add({ action: "undo", reviewer: name, after: last ?? state.last });
}

function changed(item) {
  if (item.photo !== null) show(item.photo);
  banner();
}

/** Show a photo anew on its card and in full size. */
function show(id, photo = null) {
  grid.render(id, photo);
  if (closer.card?.photo.id === id) closer.render();
}

function saved(item, { decision, undone, photo }) {
  answered = true;
  if (item.action === "undo") {
    if (!undone) say("There is nothing of yours to undo.");
    else {
      if (photo) show(photo.id, photo);
      say(`${photo?.file ?? "A photo that is not here any more"}: ${done(undone)}, undone`);
      const card = grid.card(undone.photo);
      if (card && closer.card) look(card);
      else if (card && !openDialog()) grid.focus(card);
    }
  } else {
    own.set(photo.id, [...(own.get(photo.id) ?? []), decision.number]);
    show(photo.id, photo);
    say([`${item.file || photo.file}: ${done(decision)}, saved`, grid.lost].filter(Boolean).join(". "), Boolean(grid.lost));
  }
  askSoon();
}

function refused(item) {
  say(`${item.file || "Undo"}: not saved. ${item.refusal}`, true);
}

function banner() {
  const reason = answered && outbox.unanswered ? outbox.reason : reasonLost;
  showBanner({ answered: answered && !outbox.unanswered, reason, outbox });
}

// --- what the server says ---

/** Ask for what is new, now and then again; nothing while the page is hidden. */
async function askSoon() {
  poll.again = poll.running;
  clearTimeout(poll.timer);
  if (poll.running) return;
  poll.running = true;
  try {
    if (!loginNeeded() && (document.visibilityState === "visible" || outbox.waiting.length)) {
      await update();
      if (!answered) back();
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status !== 401) lost(error);
  } finally {
    poll.running = false;
    const works = state?.doing || state?.retrain.running;
    poll.timer = setTimeout(askSoon, poll.again && answered ? POLL_NOW : works ? POLL_WORK : POLL);
  }
}

function lost(error) {
  reasonLost = error.message;
  answered = false;
  banner();
}

function back() {
  answered = true;
  banner();
  outbox.wake();
  if (grid.lost) grid.more();
}

async function update() {
  const before = state;
  const now = await ask("review/state", {}, { tries: 1 });
  state = now;
  showState(state);
  if (state.phase !== "ready") return;
  if (!answered || before?.phase !== "ready") fetchMissing();
  if (last === null) outbox.open(state.data);
  const added = last === null ? 0 : state.photos - photos;
  const anew = last === null || last > state.last || !grid.known;
  const moved = !anew && grid.look !== undefined && state.look !== undefined && grid.look !== state.look;
  if (anew) await load();
  else {
    if (moved) await reload();
    await follow();
  }
  if (added > 0) say(`${counted(added, "photo is", "photos are")} new.${anew || moved ? "" : " Reload the list to see them."}`);
  photos = state.photos;
  if (before?.retrain.running && !state.retrain.running) tellRetrained();
}

/** Load the list of photos; see `Grid.load`. */
async function load(how) {
  last ??= state.last;
  last = Math.min(last, state.last);
  photos = state.photos;
  await grid.load(currentFilter(), how);
  if (document.activeElement === document.body) grid.focus(grid.active, { scroll: false });
}

/** Load the list anew while somebody works on it: the photo that is seen stays, if it is still there. */
async function reload() {
  const seen = closer.card ?? grid.active;
  const inGrid = grid.of(document.activeElement) !== null;
  await load({ least: grid.length, until: seen?.photo.id });
  const card = seen && grid.card(seen.photo.id);
  if (closer.card && card) look(card);
  else if (closer.card && grid.known) closer.close();
  else if (card && inGrid && !openDialog()) grid.focus(card);
}

/** Show what others decided since. */
async function follow() {
  while (last < state.last) {
    const { decisions } = await ask(`review/decisions?after=${last}`, {}, { tries: 1 });
    if (!decisions.length) break;
    for (const { photo, number } of decisions) if (!own.get(photo)?.includes(number)) stale.add(photo);
    last = decisions.at(-1).number;
  }
  const shown = [...stale].filter((id) => grid.card(id));
  if (shown.length > MOST_ASKED) {
    stale.clear();
    await reload();
    return;
  }
  await Promise.all(shown.map(refresh));
  stale.clear();
}

/** Show a photo as the server has it now; again, where a decision of ours was saved meanwhile. */
async function refresh(id) {
  for (;;) {
    const before = own.get(id);
    const photo = await ask(`review/photos/${id}`, {}, { tries: 1 });
    if (before !== own.get(id)) continue;
    show(id, photo);
    return;
  }
}

function tellRetrained() {
  if (state.error) return say(state.error, true);
  say("Retrained: the figures stand above the photos.");
  if (!openDialog() && !grid.of(document.activeElement)) byId("result").scrollIntoView({ block: "nearest" });
}

/** Have a button ask the server for something, and say what it refuses. */
function onClick(id, work) {
  byId(id).addEventListener("click", async ({ currentTarget }) => {
    currentTarget.disabled = true;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(error.message, true);
    } finally {
      currentTarget.disabled = false;
      if (state) showState(state);
    }
  });
}

async function download(path, name, fallback) {
  const file = await askFile(path, {}, { limit: LONG });
  keepFile(file.blob, name ?? file.name ?? fallback);
}

// --- set up ---

prepareDialogs();
prepareChoice();
prepareAdding();
prepareResult();
closeBy(byId("who-form"), () => byId("name").value);
showReviewer(localStorage.getItem(REVIEWER));
onKeys({
  at: (target) => (openDialog() ? (target.closest("dialog") === closer.dialog ? closer.card : null) : grid.of(target)),
  lost: () => document.activeElement === document.body,
  inDialog: () => openDialog() !== null,
  digits,
  busy: () => keys.busy,
  act: (name, label) => queue((card) => act(card, name, label)),
  undo: () => keys.add(undo),
  help: showHelp,
  find: () => grid.focus(grid.active),
  move: (step) =>
    queue(async (card) => {
      const next = await grid.step(card, step);
      if (closer.card && next) look(next);
      else grid.focus(next);
    }),
});
byId("reviewer").addEventListener("click", renameReviewer);
byId("show-help").addEventListener("click", showHelp);
byId("filter").addEventListener("change", () => load());
byId("filter").addEventListener("submit", (event) => event.preventDefault());
byId("reload").addEventListener("click", () => load());
onClick("retrain", async () => {
  await send("review/retrain", {});
  state.retrain.running = true;
  say("Retraining …");
  askSoon();
});
onClick("use", async () => {
  await send("review/use", {});
  say("This server answers by the retrained classifier now.");
  askSoon();
});
for (const id of ["look", "look-anew"]) {
  onClick(id, async () => {
    await send("review/look", {});
    say("Looking at the folder again …");
    askSoon();
  });
}
onClick("labels", () => download("review/labels.csv", "reviewed.csv"));
onClick("classifier", () => download("review/classifier", null, "classifier.safetensors"));
onClick("adding", async () => {
  const name = await reviewer();
  if (name && (await addPhotos(state.classes, name))) askSoon();
});
onLogin(() => {
  outbox.wake();
  askSoon();
});
document.addEventListener("visibilitychange", askSoon);
window.addEventListener("online", askSoon);
window.addEventListener("beforeunload", (event) => {
  if (outbox.waiting.length) event.preventDefault(); // they outlast a reload, but no closed tab
});
askSoon();
