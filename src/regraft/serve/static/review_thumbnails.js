// The photos on the cards: fetched when they come near the window, let go of when they are far away.
import { askFile, imagePath, Refusal } from "./ask.js";

const AT_ONCE = 6; // requests
const NEAR = "600px"; // from the window
const FAR = "4000px";
const SIDE = window.devicePixelRatio > 1.5 ? 640 : 320; // pixels

const queue = []; // images, in the order in which they came near
const states = new Map(); // by image: {id, wanted, stop, url}
let fetching = 0;

const near = observer(NEAR, (image, inside) => (inside ? want(image) : unwant(image)));
const far = observer(FAR, (image, inside) => inside || forget(image));

function observer(rootMargin, tell) {
  return new IntersectionObserver((seen) => seen.forEach((one) => tell(one.target, one.isIntersecting)), { rootMargin });
}

/** Have an image show a photo while it is near the window. */
export function watch(image, id) {
  states.set(image, { id, wanted: false, stop: null, url: null });
  near.observe(image);
  far.observe(image);
}

export function unwatch(image) {
  near.unobserve(image);
  far.unobserve(image);
  unwant(image);
  forget(image);
  states.delete(image);
}

/** Ask again for what could not be fetched. */
export function fetchMissing() {
  for (const image of states.keys()) {
    if (image.parentElement.classList.contains("missing")) {
      near.unobserve(image);
      near.observe(image); // says anew whether it is near
    }
  }
}

function want(image) {
  const state = states.get(image);
  if (!state) return;
  state.wanted = true;
  if (state.url === null && !state.stop && !queue.includes(image)) queue.push(image);
  next();
}

function unwant(image) {
  const state = states.get(image);
  if (!state) return;
  state.wanted = false;
  if (queue.includes(image)) queue.splice(queue.indexOf(image), 1);
  state.stop?.abort();
}

function forget(image) {
  const state = states.get(image);
  if (!state?.url) return;
  URL.revokeObjectURL(state.url);
  state.url = null;
  image.removeAttribute("src");
}

function next() {
  while (fetching < AT_ONCE && queue.length) draw(queue.shift());
}

async function draw(image) {
  const state = states.get(image);
  state.stop = new AbortController();
  fetching += 1;
  try {
    const { blob } = await askFile(imagePath(state.id, SIDE), { signal: state.stop.signal }, { tries: 1 });
    if (!states.has(image)) return;
    state.url = URL.createObjectURL(blob);
    image.src = state.url;
    image.parentElement.classList.remove("missing");
  } catch (error) {
    if (error instanceof Refusal) image.parentElement.classList.add("missing");
    else if (error.name !== "AbortError") throw error;
    else if (state.wanted) queue.push(image); // it came back meanwhile
  } finally {
    state.stop = null;
    fetching -= 1;
    next();
  }
}
