// The training photos that are most similar to a photo, where the server knows the photos.
import { ask, askFile, imagePath, photosForm, Refusal } from "./ask.js";
import { byId, element, percent } from "./elements.js";

const SIDE = 240; // pixels
let shown = null; // whose similar photos are to be seen
let urls = [];

export function hideSimilar() {
  shown = null;
  urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  byId("similar").hidden = true;
  byId("similar-photos").replaceChildren();
}

/** Show them for one result of the page; what was found is kept in `result.similar`. */
export async function showSimilar(result) {
  hideSimilar();
  shown = result;
  byId("similar").hidden = false;
  byId("similar-note").textContent = "Looking for them …";
  try {
    result.similar ??= (await ask("similar", { method: "POST", body: photosForm([result.file]) })).photos;
    if (result !== shown) return;
    byId("similar-note").textContent = result.similar.length ? "" : "There is none.";
    byId("similar-photos").replaceChildren(...result.similar.map(card));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (result === shown) byId("similar-note").textContent = error.message;
  }
}

function card({ id, file, label, similarity }) {
  const image = element("img", { alt: "", title: file });
  draw(image, id, shown);
  return element(
    "li",
    {},
    image,
    element("strong", label ?? "no label"),
    element("span", { className: "quiet", textContent: `similarity ${percent(similarity)}` }),
  );
}

async function draw(image, id, result) {
  try {
    const { blob } = await askFile(imagePath(id, SIDE));
    if (result !== shown) return;
    urls.push(URL.createObjectURL(blob));
    image.src = urls.at(-1);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    image.replaceWith(element("span", { className: "quiet", textContent: "cannot be shown" }));
  }
}
