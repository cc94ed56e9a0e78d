// A photo in full size, beside those that show the same picture; keys and buttons decide here, too.
import { ask, askFile, imagePath, Refusal } from "./ask.js";
import { byId, element } from "./elements.js";
import { buttonsOf, labelNow, otherWords, standing } from "./review_card.js";
import { show } from "./review_dialogs.js";

const SIDE = 1600; // pixels
const SMALL = 320;

export class Closer {
  #card = null;
  #urls = [];

  /** `closed(card)` is called with the card that was seen last. */
  constructor(outbox, act, closed) {
    this.outbox = outbox;
    this.act = act;
    this.dialog = byId("closer");
    this.dialog.addEventListener("close", () => {
      const card = this.#card;
      this.#card = null;
      this.#forget();
      closed(card);
    });
  }

  /** The card whose photo is seen, or null. */
  get card() {
    return this.#card;
  }

  /** Show the photo of a card, and open the dialog where it is closed. */
  open(card) {
    this.#card = card;
    this.#forget();
    byId("closer-photo").removeAttribute("src");
    byId("closer-photo").alt = `The photo ${card.photo.file}`;
    byId("closer-note").textContent = "Loading …";
    byId("closer-buttons").replaceChildren();
    byId("related").replaceChildren();
    byId("related-title").hidden = !card.photo.related.length;
    this.render();
    if (!this.dialog.open) show(this.dialog);
    byId("closer-title").focus({ preventScroll: true });
    this.#draw(card);
    this.#relate(card);
  }

  close() {
    this.dialog.close("");
  }

  /** Show anew what is known of the photo. */
  render() {
    const card = this.#card;
    if (card === null) return;
    const { photo } = card;
    const { label, leftOut } = labelNow(photo);
    const { text, kind } = standing(photo, this.outbox.of(photo.id));
    byId("closer-title").textContent = leftOut ? "Left out" : (label ?? "No label");
    byId("closer-file").textContent = [photo.file, photo.split && `of ${photo.split}`].filter(Boolean).join(", ");
    byId("closer-why").textContent = photo.words;
    byId("closer-others").textContent = otherWords(photo) && `⚠ ${otherWords(photo)}`;
    byId("closer-state").textContent = text;
    byId("closer-state").dataset.kind = kind;
    const place = [...byId("closer-buttons").children].indexOf(document.activeElement);
    byId("closer-buttons").replaceChildren(...buttonsOf(photo, (name, value) => this.act(card, name, value)));
    if (place >= 0) (byId("closer-buttons").children[place] ?? byId("closer-title")).focus();
  }

  #forget() {
    this.#urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  }

  async #draw(card) {
    const drawn = await this.#fetch(byId("closer-photo"), card.photo.id, SIDE, card);
    if (card === this.#card) byId("closer-note").textContent = drawn ?? "";
  }

  /** Draw a photo into an image; returns a sentence where that cannot be. */
  async #fetch(image, id, side, card) {
    try {
      const { blob } = await askFile(imagePath(id, side));
      if (card !== this.#card) return null;
      this.#urls.push(URL.createObjectURL(blob));
      image.src = this.#urls.at(-1);
      return null;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return error.message;
    }
  }

  async #relate(card) {
    for (const id of card.photo.related.slice(0, 12)) {
      try {
        const photo = await ask(`review/photos/${id}`);
        if (card !== this.#card) return;
        const image = element("img", { alt: "" });
        const { label, leftOut } = labelNow(photo);
        const words = element("strong", leftOut ? "left out" : (label ?? "no label"));
        const file = element("span", { className: "quiet", textContent: photo.file });
        byId("related").append(element("li", {}, image, words, file));
        this.#fetch(image, id, SMALL, card);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error; // else one that was removed meanwhile
      }
    }
  }
}
