// The page to try a classifier: photos go to POST /predict, what comes back is shown. No library, no build step.
import { heatmap } from "./heatmap.js";

const byId = (id) => document.getElementById(id);
const AT_A_TIME = 8; // photos of one request
const MOST_BARS = 5;
const TRIES = 6; // of a request that the server is too busy for
const TOKEN = "regraft-token";

const results = []; // {file, url, answer}
let shown = null; // of `results`

class Refusal extends Error {}

function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Ask the server; wait where it is too busy. Throws `Refusal` with what it says. */
async function ask(path, options = {}) {
  for (let tried = 1; ; tried += 1) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    } catch {
      throw new Refusal("The server does not answer. Is it still running?");
    }
    if ((response.status === 429 || response.status === 503) && tried < TRIES) {
      const seconds = Math.min(Number(response.headers.get("Retry-After")) || 1, 30);
      say(`The server is busy; trying again in ${seconds} s`);
      await new Promise((done) => setTimeout(done, seconds * 1000));
      continue;
    }
    const body = await response.json().catch(() => null);
    if (response.status === 401) {
      byId("login").hidden = false;
      byId("token").focus();
      throw new Refusal("This server asks for an access token.");
    }
    if (!response.ok && !body?.predictions) {
      throw new Refusal(body?.error || `The server refused it (${response.status}).`);
    }
    return body;
  }
}

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

function percent(share) {
  if (share > 0.9995 && share < 1) return "> 99.9 %";
  if (share < 0.0005 && share > 0) return "< 0.1 %";
  return `${(100 * share).toFixed(1)} %`;
}

// --- photos in ---

async function classify(files) {
  const photos = [...files];
  if (!photos.length) return;
  const first = results.length;
  for (let start = 0; start < photos.length; start += AT_A_TIME) {
    const part = photos.slice(start, start + AT_A_TIME);
    say(photos.length > 1 ? `Photo ${start + 1} of ${photos.length} …` : `Looking at ${part[0].name} …`);
    const form = new FormData();
    part.forEach((file) => form.append("files", file, file.name || "photo"));
    try {
      const { predictions } = await ask("predict", { method: "POST", body: form });
      predictions.forEach((answer, place) => add(part[place], answer));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(error.message, true);
      return;
    }
    if (start === 0 && results.length > first) show(results[first], photos.length === 1);
  }
  const lost = results.slice(first).filter(({ answer }) => answer.error).length;
  if (photos.length > 1) say(`${photos.length} photos done${lost ? `; ${lost} cannot be read` : ""}.`);
  else if (lost) say("The photo cannot be read.", true);
}

function add(file, answer) {
  results.push({ file, url: URL.createObjectURL(file), answer });
  const row = byId("rows").insertRow();
  const result = results.at(-1);
  const thumbnail = document.createElement("img");
  thumbnail.src = result.url;
  thumbnail.alt = "";
  thumbnail.addEventListener("error", () => thumbnail.remove());
  row.insertCell().append(thumbnail);
  const name = document.createElement("button");
  name.type = "button";
  name.className = "link";
  name.textContent = answer.file;
  name.addEventListener("click", () => {
    show(result, true);
    byId("detail").scrollIntoView({ block: "start" });
    byId("label").focus();
  });
  row.insertCell().append(name);
  row.insertCell().textContent = answer.error ? "" : answer.label;
  const probability = row.insertCell();
  probability.className = "number";
  probability.textContent = answer.error ? "" : percent(answer.probability);
  const note = row.insertCell();
  note.className = answer.error ? "error" : "note";
  note.textContent = answer.error || short(answer);
  byId("count").textContent = `${results.length} photo${results.length > 1 ? "s" : ""}`;
  byId("table").hidden = results.length < 2;
}

function short(answer) {
  return [answer.unsure && "not sure", answer.unlike_training && "unlike the training photos"].filter(Boolean).join(", ");
}

// --- one answer ---

function show(result, announce) {
  shown = result;
  const { answer, file, url } = result;
  byId("detail").hidden = false;
  byId("photo").src = url;
  byId("photo").alt = `The photo ${answer.file}`;
  byId("frame").classList.remove("blank");
  byId("name").textContent = answer.file || file.name;
  hideMap();
  byId("explain").hidden = Boolean(answer.error);
  byId("label").tabIndex = -1;
  byId("label").textContent = answer.error ? "Cannot be read" : answer.label;
  byId("notes").replaceChildren(...notes(answer).map((text) => element("li", text)));
  byId("bars").replaceChildren(...(answer.top ?? []).slice(0, MOST_BARS).map(bar));
  if (announce && !answer.error) say(`${answer.file}: ${answer.label}, ${percent(answer.probability)}`);
}

function notes(answer) {
  if (answer.error) return [answer.error];
  const found = [];
  if (answer.unlike_training) found.push("Unlike the photos that it learned from: do not rely on the answer.");
  if (answer.unsure && !answer.unlike_training) found.push("Not sure: it may well be another class.");
  return found;
}

function bar({ label, probability }) {
  const line = element("li");
  const text = element("div");
  text.className = "row";
  const number = element("span", percent(probability));
  number.className = "number";
  text.append(element("span", label), number);
  const track = element("div");
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  const filled = element("div");
  filled.style.width = `${100 * probability}%`;
  track.append(filled);
  line.append(text, track);
  return line;
}

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// --- what it looks at ---

function hideMap() {
  byId("map").hidden = true;
  byId("legend").hidden = true;
  byId("explain").setAttribute("aria-pressed", "false");
  byId("explain").textContent = "Show what it looks at";
}

async function toggleMap() {
  if (!byId("map").hidden) {
    hideMap();
    return;
  }
  const result = shown;
  const button = byId("explain");
  button.disabled = true;
  try {
    if (!result.map) {
      say("Covering parts of the photo …");
      const form = new FormData();
      form.append("files", result.file, result.file.name || "photo");
      const query = new URLSearchParams({ label: result.answer.label });
      result.map = await ask(`heatmap?${query}`, { method: "POST", body: form });
      say("");
    }
    if (result !== shown) return;
    const summary = heatmap(byId("map"), byId("photo"), result.map.values);
    byId("map").hidden = false;
    byId("legend").hidden = false;
    button.setAttribute("aria-pressed", "true");
    button.textContent = "Hide what it looks at";
    say(`${result.answer.label}: ${summary}`);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message, true);
  } finally {
    button.disabled = false;
  }
}

// --- the table as a file ---

function cell(value) {
  let text = String(value ?? "");
  if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`; // no formula in a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const lines = [["file", "label", "probability", "unsure", "unlike_training", "error"]];
  for (const { answer } of results) {
    const number = answer.error ? "" : answer.probability.toFixed(6);
    lines.push([answer.file, answer.label, number, answer.unsure, answer.unlike_training, answer.error]);
  }
  const text = lines.map((line) => line.map(cell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`\ufeff${text}\r\n`], { type: "text/csv" }));
  link.download = "answers.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function clear() {
  results.splice(0).forEach(({ url }) => URL.revokeObjectURL(url));
  byId("rows").replaceChildren();
  byId("table").hidden = true;
  byId("detail").hidden = true;
  shown = null;
  say("");
  byId("files").focus();
}

function about({ networks, figures }) {
  const names = networks.map(({ architecture }) => architecture).join(" + ");
  if (figures?.accuracy === undefined) return names;
  const [low, high] = figures.accuracy_interval ?? [];
  const interval = low === undefined ? "" : ` [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`;
  return `${names}. Of ${figures.n.toLocaleString("en")} photos that it did not learn from it answered ${percent(figures.accuracy)}${interval} right.`;
}

async function introduce() {
  try {
    const model = await ask("model");
    const [one, two, ...more] = model.classes;
    const title = more.length ? `${one}, ${two} or ${more.length > 1 ? `${more.length} others` : more[0]}?` : `${one} or ${two}?`;
    byId("title").textContent = title.charAt(0).toUpperCase() + title.slice(1);
    document.title = `${byId("title").textContent} – regraft`;
    byId("about").textContent = about(model);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    say(error.message, true);
  }
}

for (const id of ["files", "camera"]) {
  byId(id).addEventListener("change", async ({ target }) => {
    await classify(target.files);
    target.value = "";
  });
}
const drop = document.documentElement;
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("drop").classList.add("over");
});
drop.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  classify(event.dataTransfer.files);
});
document.addEventListener("paste", ({ clipboardData }) => classify(clipboardData.files));
byId("photo").addEventListener("error", () => byId("frame").classList.add("blank"));
byId("explain").addEventListener("click", toggleMap);
byId("csv").addEventListener("click", download);
byId("clear").addEventListener("click", clear);
byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value);
  byId("login").hidden = true;
  say("");
  introduce();
});
introduce();
