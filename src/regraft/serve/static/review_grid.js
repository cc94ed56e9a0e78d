// The photos in rows: loaded 60 at a time, reached by arrows, one of them active.
import { ask, Refusal } from "./ask.js";
import { byId, counted, element, say } from "./elements.js";
import { Card } from "./review_card.js";

const COUNT = 60; // photos of one request
const NARROWEST = 240; // pixels of a card
const GAP = 16;

export class Grid {
  #cards = [];
  #byId = new Map();
  #active = null;
  #columns = 0;
  #filter = new URLSearchParams();
  #list = 0; // grows with each new list: what was asked for an older one is dropped
  #loading = null;
  #known = false; // whether the server said which photos there are
  #total = 0;
  #lost = "";
  #look = null; // at the photos, of which the server tells; null where the list is of several

  /** `outbox` has what is not saved; `act(card, name, value)` is called for what is clicked on a card. */
  constructor(outbox, act) {
    this.outbox = outbox;
    this.act = act;
    this.node = byId("grid");
    new ResizeObserver(() => this.#layOut()).observe(this.node);
    const ahead = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.more(), { rootMargin: "900px" });
    this.ahead = () => {
      ahead.unobserve(byId("more"));
      ahead.observe(byId("more"));
    };
    byId("more").addEventListener("click", async () => {
      const first = this.#cards.length;
      await this.more();
      this.focus(this.#cards[first]);
    });
    this.node.addEventListener("focusin", ({ target }) => {
      const card = this.of(target);
      if (card) this.activate(card);
    });
  }

  /** Load the photos that fit a filter (URLSearchParams), from the first on: 60, or `least`, or as many as lead to one (its id). */
  async load(filter, { least = 0, until = null } = {}) {
    this.#filter = filter;
    this.#list += 1;
    this.#loading = null;
    this.#cards.forEach((card) => card.remove());
    this.#cards = [];
    this.#byId.clear();
    this.#active = null;
    this.#total = 0;
    this.#known = false;
    this.#lost = "";
    this.#layOut(true);
    const list = this.#list;
    while ((await this.more()) && list === this.#list && this.#cards.length < least && !this.#byId.has(until));
  }

  /** Load more; returns whether there were any. `lost` says whether they could not be loaded. */
  more() {
    if (this.#cards.length && this.#cards.length >= this.#total) return Promise.resolve(false);
    this.#loading ??= this.#fetch().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #fetch() {
    const list = this.#list;
    const query = new URLSearchParams(this.#filter);
    query.set("after", this.#cards.at(-1)?.photo.place ?? -1);
    query.set("count", COUNT);
    this.node.setAttribute("aria-busy", "true");
    try {
      const { photos, total, look } = await ask(`review/photos?${query}`, {}, { tries: 1 });
      if (list !== this.#list) return false;
      if (!this.#known) this.#look = look;
      else if (look !== this.#look) this.#look = null;
      this.#known = true;
      if (this.#lost) say(""); // it is there now
      this.#lost = "";
      // Of photos that are still undecided `total` counts those that are loaded and decided no more.
      const loaded = this.#cards.filter((card) => card.photo.decision).length;
      this.#total = query.get("undecided") ? Math.max(total + loaded, this.#cards.length + photos.length) : total;
      if (!photos.length) this.#total = this.#cards.length;
      for (const photo of photos.filter(({ id }) => !this.#byId.has(id))) this.#add(photo);
      this.#layOut(true);
      return photos.length > 0;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (list !== this.#list) return false;
      this.#lost = `${this.#cards.length ? "More photos" : "The photos"} could not be loaded. ${error.message}`;
      this.#describe();
      say(this.#lost, true);
      return false;
    } finally {
      if (list === this.#list) this.node.setAttribute("aria-busy", "false");
    }
  }

  #add(photo) {
    const card = new Card(photo, this.act);
    this.#cards.push(card);
    this.#byId.set(photo.id, card);
    card.render(photo, this.outbox.of(photo.id));
    if (!this.#active) this.activate(card);
  }

  /** Put the cards into rows, which screen readers count. */
  #layOut(anew = false) {
    const columns = Math.max(1, Math.floor((this.node.clientWidth + GAP) / (NARROWEST + GAP)));
    if (columns === this.#columns && !anew) return;
    const focused = document.activeElement;
    const kept = columns === this.#columns ? this.#fullRows() : 0;
    this.#columns = columns;
    [...this.node.children].slice(kept).forEach((row) => row.remove());
    for (let start = kept * columns; start < this.#cards.length; start += columns) {
      const cells = this.#cards.slice(start, start + columns).map(({ node }) => node);
      this.node.append(element("div", { className: "cards", role: "row" }, ...cells));
    }
    this.node.style.setProperty("--columns", columns);
    if (focused !== document.activeElement && this.node.contains(focused)) focused.focus({ preventScroll: true });
    this.#describe();
  }

  #fullRows() {
    const rows = [...this.node.children];
    const short = rows.findIndex((row) => row.children.length < this.#columns);
    return short < 0 ? rows.length : short;
  }

  #describe() {
    const [shown, all] = [this.#cards.length, this.#total];
    const lost = this.#lost;
    byId("more").hidden = shown >= all && !lost;
    byId("more").textContent = lost ? "Try again" : "More";
    byId("end").hidden = !lost && (shown < all || !this.#known);
    byId("end-words").textContent = lost || (shown ? `That was all: ${counted(shown, "photo")}.` : "No photo is left here.");
    this.node.hidden = !shown;
    if (shown < all && !lost) this.ahead();
  }

  /** The card that an element belongs to, or null. */
  of(target) {
    const node = target.closest?.(".card");
    return node ? (this.#cards.find((card) => card.node === node) ?? null) : null;
  }

  card(photo) {
    return this.#byId.get(photo) ?? null;
  }

  get active() {
    return this.#active;
  }

  /** Whether the list could be loaded. */
  get known() {
    return this.#known;
  }

  /** Why the last photos that were asked for are not here, "" where they are. */
  get lost() {
    return this.#lost;
  }

  /** Number of the look at the photos that the list is of; null where it is of several, undefined where that is not known. */
  get look() {
    return this.#look;
  }

  /** How many photos are loaded. */
  get length() {
    return this.#cards.length;
  }

  activate(card) {
    if (card === this.#active) return;
    this.#active?.activate(false);
    this.#active = card;
    card.activate(true);
  }

  focus(card, { scroll = true } = {}) {
    if (!card) return;
    this.activate(card);
    card.node.focus({ preventScroll: true });
    if (scroll) card.node.scrollIntoView({ block: "nearest" });
  }

  /** The card so many steps away, the nearest one there is; what is not loaded yet is. */
  async step(from, { columns = 0, rows = 0 }) {
    const place = this.#place(from) + columns + rows * this.#columns;
    if (place >= this.#cards.length) await this.more();
    return this.#cards[Math.max(0, Math.min(place, this.#cards.length - 1))];
  }

  /** Where a card stands, or the one that took its place when the list was loaded anew. */
  #place(card) {
    return this.#cards.indexOf(this.#byId.get(card.photo.id));
  }

  /** The next card that nobody decided on, after one; null where there is none, undefined where the list is another one by now. */
  async nextUndecided(from) {
    const list = this.#list;
    for (let place = this.#place(from) + 1; ; place += 1) {
      const more = place < this.#cards.length || (await this.more());
      if (list !== this.#list) return undefined;
      if (!more) return null;
      const card = this.#cards[place];
      if (!card) return null;
      if (!card.decided) return card;
    }
  }

  /** Show a photo anew, where it is loaded: as the server has it now, or what became of its decision. */
  render(id, photo = null) {
    const card = this.card(id);
    card?.render(photo ?? card.photo, this.outbox.of(id));
  }
}
