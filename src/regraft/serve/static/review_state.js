// The parts of the page that show the state of the review: progress, work, notes, filters, classes, what is not saved.
import { byId, counted, element } from "./elements.js";
import { digitsOf } from "./review_keys.js";
import { showResult } from "./review_retrain.js";

const ALL = "all";
const REASONS = {
  all: "All photos",
  "wrong label": "Likely wrong labels",
  duplicate: "Same picture under different labels or splits",
  uncertain: "Not sure",
  outlier: "Unlike all others",
  unlabelled: "Label these",
  none: "All others",
  added: "Added",
};

const MOST_CLASSES = 24; // in the legend

let classes = []; // as the legend shows them
let given = new Map(); // the class of each digit that was ever given on this page
const heard = new Map(); // by class, the place at which this page first heard of it
const drawn = new Map(); // by id, what an element was last made of

/** Make the children of an element anew, if what they are made of changed: what has the focus stays. */
function draw(id, value, make) {
  const key = JSON.stringify(value);
  if (drawn.get(id) === key) return;
  drawn.set(id, key);
  byId(id).replaceChildren(...make());
}

/** Classes in the order of their keys: as this page heard of them, of the first ones those that were found before new ones. */
export function orderedClasses(state) {
  const foundFirst = [...state.classes].sort((one, other) => one.new - other.new);
  for (const { name } of foundFirst) if (!heard.has(name)) heard.set(name, heard.size);
  given = digitsOf([...heard.keys()], given);
  return foundFirst.sort((one, other) => heard.get(one.name) - heard.get(other.name));
}

/** The class that each digit gives; a class that is gone keeps its digit for when it comes back. */
export function digits() {
  const here = new Set(classes.map(({ name }) => name));
  return new Map([...given].filter(([, name]) => here.has(name)));
}

export function showReviewer(name) {
  byId("reviewer").textContent = name ? `Reviewer: ${name}` : "Who reviews?";
}

export function showState(state) {
  document.title = `Review ${state.data} – regraft`;
  byId("title").textContent = `Review ${state.data}`;
  byId("reviewing").hidden = state.phase !== "ready";
  byId("progress").hidden = state.phase !== "ready";
  showWork(state);
  draw("notes", state.notes, () => state.notes.map((text) => element("li", text)));
  if (state.phase !== "ready") return;
  classes = orderedClasses(state);
  showProgress(state);
  showRetrain(state);
  showReasons(state);
  draw("legend", classes, legend);
}

function showWork({ data, phase, doing, error }) {
  const { task, done, total } = doing ?? { task: "looking at the photos", done: 0, total: 0 };
  const numbers = total ? `: ${done.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  const words = `${task.charAt(0).toUpperCase()}${task.slice(1)}${numbers} …`;
  byId("work").hidden = phase === "ready" || (phase === "failed" && doing === null);
  byId("work-words").textContent = words;
  byId("doing").textContent = doing === null ? "" : words; // beside what is there already: nothing moves under the pointer
  if (total) Object.assign(byId("work-bar"), { max: total, value: done });
  else byId("work-bar").removeAttribute("value");
  byId("failure").hidden = phase !== "failed" && !error;
  byId("look-anew").hidden = phase !== "failed";
  const remedy = phase === "failed" ? ` ${data} cannot be reviewed yet: mend that, and look again.` : "";
  const text = `${error ?? "The photos cannot be looked at."}${remedy}`;
  if (byId("failure-words").textContent !== text) byId("failure-words").textContent = text;
}

function showProgress({ photos, decided }) {
  const number = decided.confirm + decided.relabel + decided.exclude;
  const parts = [`${decided.confirm} confirmed`, `${decided.relabel} relabelled`, `${decided.exclude} left out`];
  byId("progress-words").textContent = `${number.toLocaleString("en")} of ${counted(photos, "photo")} decided`;
  byId("progress-words").title = parts.join(", ");
  Object.assign(byId("progress-bar"), { max: Math.max(photos, 1), value: number });
}

function showRetrain({ data, retrain }) {
  const { possible, why_not: reason, running, since, result } = retrain;
  const news = since ? ` · ${counted(since, "decision")}${result ? " since" : ""}` : "";
  byId("retrain").textContent = running ? "Retraining …" : `Retrain${news}`;
  byId("retrain").disabled = running || !possible;
  byId("why-not").hidden = possible || running;
  byId("why-not").textContent = reason ? `No retraining: ${reason}` : "";
  showResult(result, data);
}

function showReasons({ reasons, photos, decided, conflicts }) {
  const left = photos - decided.confirm - decided.relabel - decided.exclude;
  const choices = [{ reason: ALL, left, photos }, ...reasons];
  byId("conflicts").textContent = conflicts ? `(${conflicts})` : "";
  const chosen = chosenReason();
  draw("reasons", choices, () => {
    const focused = byId("reasons").contains(document.activeElement);
    const radios = choices.map(({ reason, left, photos }) => {
      const input = element("input", { type: "radio", name: "reason", value: reason, checked: reason === chosen });
      const number = element("span", { className: "count", textContent: left.toLocaleString("en"), title: `${left} of ${photos} are undecided` });
      return element("label", { className: "chip" }, input, REASONS[reason] ?? reason, " ", number);
    });
    if (focused) queueMicrotask(() => byId("reasons").querySelector(":checked")?.focus());
    return [byId("reasons").querySelector("legend"), ...radios];
  });
}

const chosenReason = () => byId("reasons").querySelector(":checked")?.value ?? ALL;

function legend() {
  const keys = new Map([...digits()].map(([digit, name]) => [name, digit]));
  const made = classes.slice(0, MOST_CLASSES).map(({ name, photos, new: isNew }) => {
    const key = keys.has(name) ? [element("kbd", keys.get(name))] : [];
    const number = element("span", { className: "count", textContent: photos.toLocaleString("en") });
    return element("span", { className: "class" }, ...key, element("span", name), number, ...(isNew ? [element("em", "new")] : []));
  });
  const more = classes.length - MOST_CLASSES;
  return more > 0 ? [...made, element("span", { className: "class" }, `and ${more} more: `, element("kbd", "r"))] : made;
}

/** What GET /review/photos is asked for. */
export function currentFilter() {
  const filter = new URLSearchParams();
  if (chosenReason() !== ALL) filter.set("reason", chosenReason());
  if (byId("undecided").checked && !byId("conflict").checked) filter.set("undecided", "true");
  if (byId("conflict").checked) filter.set("conflict", "true");
  return filter;
}

/** Say what is not saved, and whether the server answers. */
export function showBanner({ answered, reason, outbox }) {
  const { waiting, failed } = outbox;
  const gone = answered ? [] : [reason];
  if (!answered && waiting.length) {
    gone.push(`${counted(waiting.length, "decision")} not saved yet: kept here, and sent as soon as it is back.`);
  } else if (!answered) gone.push("It is asked again every 2 seconds.");
  byId("banner").hidden = answered && !failed.length;
  draw("banner", [gone, failed.map(({ id, refusal }) => [id, refusal])], () => {
    const lines = failed.map(({ file, refusal }) => element("p", `${file || "Undo"}: not saved. ${refusal}`));
    if (gone.length) lines.unshift(element("p", gone.join(" ")));
    if (!failed.length) return lines;
    const again = element("button", { type: "button", className: "small", textContent: "Try again" });
    again.addEventListener("click", () => outbox.retry());
    const discard = element("button", { type: "button", className: "small", textContent: "Give up on what was refused" });
    discard.addEventListener("click", () => outbox.discard(outbox.failed));
    return [...lines, element("div", { className: "buttons" }, again, discard)];
  });
}
