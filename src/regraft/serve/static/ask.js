// How both pages ask the server: with the token that it may need, again where it is busy, refusals as sentences.
import { byId, say } from "./elements.js";

const TRIES = 6; // of a request that the server is too busy for
const [MOST_FILES, MOST_BYTES] = [8, 20e6]; // of a request, unless one file is larger
const TOKEN = "regraft-token";
/** Seconds within which an answer has to be there, whole: of most requests, and where files go up or a large one comes down. */
export const [SHORT, LONG] = [30, 600];

/** What the server refused, in its words. `status` is that of HTTP, 0 where nothing answered. */
export class Refusal extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Whether the server waits for its token. */
export const loginNeeded = () => !byId("login").hidden;

/** Take the token that is typed, and call `then`. */
export function onLogin(then) {
  byId("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, byId("token").value);
    byId("login").hidden = true;
    say("");
    then();
  });
}

async function answer(path, options, tries, limit) {
  for (let tried = 1; ; tried += 1) {
    let response;
    const late = AbortSignal.timeout(limit * 1000);
    const signal = options.signal ? AbortSignal.any([options.signal, late]) : late;
    try {
      response = await fetch(path, { ...options, signal, headers: { ...headers(), ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (error.name === "TimeoutError") throw new Refusal(`The server did not answer within ${limit} s.`);
      throw new Refusal("The server does not answer. Is it still running?");
    }
    if ((response.status !== 429 && response.status !== 503) || tried >= tries) return response;
    const seconds = Math.min(Number(response.headers.get("Retry-After")) || 1, 30);
    say(`The server is busy; trying again in ${seconds} s`);
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

function refusal(response, body) {
  if (response.status !== 401) {
    return new Refusal(body?.error || `The server refused it (${response.status}).`, response.status);
  }
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(""); // the form stands behind it
  if (!loginNeeded()) {
    byId("login").hidden = false;
    byId("token").focus();
  }
  return new Refusal("This server asks for an access token.", 401);
}

/**
 * Ask the server for JSON; wait where it is busy. Throws `Refusal` with what it says.
 * `tries`: 1 not to wait. `takes`: whether the body of a refusal is an answer all the same.
 */
export async function ask(path, options = {}, { tries = TRIES, takes = () => false } = {}) {
  const response = await answer(path, options, tries, options.body instanceof FormData ? LONG : SHORT);
  let body = null;
  try {
    body = await response.json();
  } catch {
    if (response.ok) throw new Refusal("The server's answer did not arrive whole.");
  }
  if (!response.ok && !takes(body)) throw refusal(response, body);
  return body;
}

/** Send JSON. */
export function send(path, value, how) {
  return ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) }, how);
}

/** Ask for a file: `{blob, name}`, the name that the server gives it or null. */
export async function askFile(path, options = {}, { tries = TRIES, limit = SHORT } = {}) {
  const response = await answer(path, options, tries, limit);
  if (!response.ok) throw refusal(response, await response.json().catch(() => null));
  const said = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(said)?.[1];
  const name = encoded ? decodeURIComponent(encoded) : (/filename="?([^";]+)"?/.exec(said)?.[1] ?? null);
  try {
    return { blob: await response.blob(), name };
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The file did not arrive whole.");
  }
}

/** Where the server has a photo that it knows, so that it fits into side x side pixels. */
export const imagePath = (id, side) => `review/photos/${id}/image?side=${side}`;

/** Files in parts that one request may hold. */
export function* parts(files) {
  let [part, size] = [[], 0];
  for (const file of files) {
    if (part.length === MOST_FILES || (part.length && size + file.size > MOST_BYTES)) {
      yield part;
      [part, size] = [[], 0];
    }
    part.push(file);
    size += file.size;
  }
  if (part.length) yield part;
}

/** The form of POST /predict and its like. */
export function photosForm(files) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name || "photo");
  return form;
}
