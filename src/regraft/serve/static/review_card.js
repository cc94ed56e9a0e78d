// One photo of the grid: what it is called now, why it is shown, what was decided, and buttons to decide.
import { element } from "./elements.js";
import { unwatch, watch } from "./review_thumbnails.js";

/** The class of a photo as it is now: {label, left_out}, by the decision that counts. */
export function labelNow({ label, decision }) {
  if (decision?.action === "exclude") return { label, leftOut: true };
  return { label: decision?.label ?? label, leftOut: false };
}

/** What a decision says: "dog", "left out"; "relabelled dog" of a sentence. */
export const said = ({ action, label }) => (action === "exclude" ? "left out" : label);
export const done = ({ action, label }) =>
  ({ confirm: "confirmed", relabel: `relabelled ${label}`, exclude: "left out", undo: "undone" })[action];

/** How the decision on a photo stands: {text, kind}; kind is "", "saved", "saving" or "unsaved". */
export function standing(photo, items) {
  const item = items.at(-1);
  if (item) {
    const what = item.action === "confirm" ? "confirmed" : said(item);
    if (item.refusal !== null) return { text: `Not saved: ${item.refusal}`, kind: "unsaved" };
    if (item.held) return { text: `${what}: not saved yet`, kind: "unsaved" };
    return { text: `${what}: saving …`, kind: "saving" };
  }
  const { decision } = photo;
  if (!decision) return { text: "", kind: "" };
  const mark = decision.action === "exclude" ? "✕ left out" : `✓ ${decision.label}`;
  return { text: `${mark}, by ${decision.reviewer}`, kind: "saved" };
}

/** What other reviewers say, in a sentence; "" where they agree. */
export const otherWords = ({ others }) => others.map((one) => `${one.reviewer} says ${said(one)}`).join("; ");

/** The buttons of a photo; `act(name, value)` does what they say. */
export function buttonsOf(photo, act) {
  const { label } = labelNow(photo);
  const made = [];
  const add = (name, value, className, words, ...content) => {
    const button = element("button", { type: "button", className, title: words, aria: { label: words } }, ...content);
    button.addEventListener("click", () => act(name, value));
    made.push(button);
  };
  const mark = (sign) => element("span", { className: "mark", textContent: sign, aria: { hidden: "true" } });
  if (label !== null) add("confirm", null, "yes", `Confirm ${label}`, mark("✓"), label);
  if (photo.suggested !== null && photo.suggested !== label) {
    add("relabel", photo.suggested, "suggested", `Relabel ${photo.suggested}`, mark("→"), photo.suggested);
  }
  add("choose", null, "", "Other class…", "Other…");
  add("exclude", null, "", "Leave out", "Leave out");
  return made;
}

export class Card {
  /** `act(card, name, value)` is called for what is clicked. */
  constructor(photo, act) {
    this.photo = photo;
    this.act = (name, value) => act(this, name, value);
    this.image = element("img", { alt: "", draggable: false });
    this.picture = element("button", { type: "button", className: "picture" }, this.image);
    this.picture.addEventListener("click", () => this.act("closer"));
    this.label = element("p", { className: "label" });
    this.why = element("p", { className: "why" });
    this.buttons = element("div", { className: "decide" });
    this.state = element("p", { className: "state" });
    this.others = element("p", { className: "others" });
    this.file = element("p", { className: "file" });
    const parts = [this.picture, this.label, this.file, this.why, this.others, this.state, this.buttons];
    this.node = element("div", { className: "card", role: "gridcell", tabIndex: -1 }, ...parts);
    watch(this.image, photo.id);
  }

  /** Whether nobody needs to look at it: what is on its way counts. */
  get decided() {
    return Boolean(this.photo.decision) || this.pending;
  }

  /** Show a photo as the server has it, with what is not saved yet. */
  render(photo, items) {
    this.photo = photo;
    this.pending = items.some((item) => item.refusal === null);
    const { label, leftOut } = labelNow(photo);
    const { text, kind } = standing(photo, items);
    const others = otherWords(photo);
    Object.assign(this.node.dataset, { kind, leftOut, conflict: Boolean(others) });
    this.label.replaceChildren(...this.#labels(label));
    this.file.textContent = `${photo.copies ? `× ${photo.copies + 1} ` : ""}${photo.file}`;
    this.file.title = photo.file + (photo.copies ? `, and ${photo.copies} more of the same content` : "");
    this.why.textContent = photo.words;
    this.why.title = photo.words;
    this.others.textContent = others && `⚠ ${others}`;
    this.#renderState(text, items);
    this.#renderButtons();
    this.picture.setAttribute("aria-label", `Look closer at ${photo.file}`);
    const spoken = [photo.file, label ?? "no label", leftOut && "left out", photo.words, text, others];
    this.node.setAttribute("aria-label", spoken.filter(Boolean).join(". "));
  }

  #labels(label) {
    const now = element("strong", label ?? "no label");
    if (label === this.photo.label || this.photo.label === null) return [now];
    return [element("s", this.photo.label), " ", now];
  }

  #renderState(text, items) {
    this.state.textContent = text;
    this.state.title = text;
    const failed = items.filter((item) => item.refusal !== null);
    if (!failed.length) return;
    const again = element("button", { type: "button", className: "small", textContent: "Try again" });
    again.addEventListener("click", () => this.act("retry", failed));
    this.state.append(" ", again);
  }

  #renderButtons() {
    const key = JSON.stringify([labelNow(this.photo).label, this.photo.suggested]);
    if (this.buttons.dataset.key === key) return; // what has the focus stays
    const place = [...this.buttons.children].indexOf(document.activeElement);
    this.buttons.dataset.key = key;
    this.buttons.replaceChildren(...buttonsOf(this.photo, this.act));
    this.activate(this.node.tabIndex === 0);
    if (place >= 0) (this.buttons.children[place] ?? this.node).focus({ preventScroll: true });
  }

  /** Whether Tab leads here, and from here to the buttons. */
  activate(on) {
    this.node.tabIndex = on ? 0 : -1;
    for (const button of this.node.querySelectorAll("button")) button.tabIndex = on ? 0 : -1;
  }

  remove() {
    unwatch(this.image);
    this.node.remove();
  }
}
