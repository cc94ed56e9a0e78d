// The page to try a classifier: photos go to POST /predict, what comes back is shown. No library, no build step.
import { ask, onLogin, parts, photosForm, Refusal } from "./ask.js";
import { byId, element, keepFile, percent, say } from "./elements.js";
import { heatmap } from "./heatmap.js";
import { hideSimilar, showSimilar } from "./similar.js";

const MOST_BARS = 5;

const results = []; // {file, url, answer}
let shown = null; // of `results`
let knowsPhotos = false; // whether the server has the training photos

// --- photos in ---

async function classify(files) {
  const photos = [...files];
  if (!photos.length) return;
  const first = results.length;
  let sent = 0;
  for (const part of parts(photos)) {
    say(photos.length > 1 ? `Photo ${sent + 1} of ${photos.length} …` : `Looking at ${part[0].name} …`);
    try {
      const request = { method: "POST", body: photosForm(part) };
      const { predictions } = await ask("predict", request, { takes: (body) => body?.predictions });
      predictions.forEach((answer, place) => add(part[place], answer));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say(error.message, true);
      return;
    }
    if (sent === 0 && results.length > first) show(results[first], photos.length === 1);
    sent += part.length;
  }
  const lost = results.slice(first).filter(({ answer }) => answer.error).length;
  if (photos.length > 1) say(`${photos.length} photos done${lost ? `; ${lost} cannot be read` : ""}.`);
  else if (lost) say("The photo cannot be read.", true);
}

function add(file, answer) {
  results.push({ file, url: URL.createObjectURL(file), answer });
  const row = byId("rows").insertRow();
  const result = results.at(-1);
  const thumbnail = element("img", { src: result.url, alt: "" });
  thumbnail.addEventListener("error", () => thumbnail.remove());
  row.insertCell().append(thumbnail);
  const name = element("button", { type: "button", className: "link", textContent: answer.file });
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
  if (knowsPhotos && !answer.error) showSimilar(result);
  else hideSimilar();
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
  const number = element("span", { className: "number", textContent: percent(probability) });
  const filled = element("div");
  filled.style.width = `${100 * probability}%`;
  const track = element("div", { className: "track", aria: { hidden: "true" } }, filled);
  return element("li", {}, element("div", { className: "row" }, element("span", label), number), track);
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
      const query = new URLSearchParams({ label: result.answer.label });
      result.map = await ask(`heatmap?${query}`, { method: "POST", body: photosForm([result.file]) });
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
  keepFile(new Blob([`\ufeff${text}\r\n`], { type: "text/csv" }), "answers.csv");
}

function clear() {
  results.splice(0).forEach(({ url }) => URL.revokeObjectURL(url));
  byId("rows").replaceChildren();
  byId("table").hidden = true;
  byId("detail").hidden = true;
  hideSimilar();
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
    knowsPhotos = Boolean(model.review);
    byId("review").hidden = !knowsPhotos;
    if (knowsPhotos) byId("review").href = "review";
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
onLogin(introduce);
introduce();
