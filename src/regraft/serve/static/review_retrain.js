// What fitting again with the decisions changed: figures before and after, intervals as words and as a picture.
import { byId, counted, element } from "./elements.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, EDGE] = [240, 38, 8]; // of a picture
const IN_PERCENT = new Set(["accuracy", "balanced_accuracy", "top5_accuracy", "ece"]);
const VERDICTS = { better: "▲ proven better", worse: "▼ proven worse", "not proven": "○ not proven" };

let shown = null; // number of the result; 0 once it is known that there is none

/** Show a result (see GET /review/state), or nothing: closed where it was there before the page. */
export function showResult(result, data) {
  byId("result").hidden = !result;
  if (shown !== result?.number) openResult(shown !== null);
  if (!result) {
    shown = 0;
    return;
  }
  byId("use").disabled = result.in_use;
  byId("use").textContent = result.in_use ? "This server answers by it" : "Answer by it here";
  if (result.number === shown) return;
  shown = result.number;
  byId("result-about").textContent = about(result, data);
  byId("use-about").textContent = aboutUse(result);
  byId("figures").replaceChildren(...result.figures.map(row));
  byId("command").textContent = `regraft fit ${/^[\w./-]+$/.test(data) ? data : "DATA"} --labels reviewed.csv`;
}

function openResult(open) {
  byId("result-body").hidden = !open;
  byId("toggle-result").setAttribute("aria-expanded", String(open));
  byId("toggle-result").textContent = open ? "Hide" : "Show";
}

export function prepareResult() {
  byId("toggle-result").addEventListener("click", () => openResult(byId("result-body").hidden));
}

function about({ compared, relabelled, excluded, unknown, seconds, too_few: few = {} }, data) {
  const changed = [`${counted(relabelled, "photo")} relabelled`, `${excluded.toLocaleString("en")} left out`];
  if (unknown) changed.push(`${counted(unknown, "decision")} about photos that only a new fit reads`);
  const small = Object.keys(few);
  const waiting = small.length ? ` Too few photos to learn from yet: ${small.join(", ")}.` : "";
  return (
    `${changed.join(", ")}.${waiting} Before and after are compared on ${counted(compared, "photo")} that neither learned from, ` +
    "by their labels as they are now. Before: the same fit with the labels as they were found in " +
    `${data}, not the classifier that answers here. It took ${seconds.toFixed(1)}\u00a0s.`
  );
}

/** What to know before this server answers by it. */
function aboutUse({ learned_from: photos = null, classes_lost: lost = [] }) {
  const words = photos === null ? [] : [`It learned from ${counted(photos, "photo")}.`];
  if (lost.length) words.push(`It does not know: ${lost.join(", ")}.`);
  return words.join(" ");
}

function row(figure) {
  const { words, before, after, better } = figure;
  const write = writer(figure);
  const verdict = element("span", { className: `verdict ${figure.verdict}`, textContent: VERDICTS[figure.verdict] ?? figure.verdict });
  const name = element("th", { scope: "row" }, words, element("span", { className: "quiet", textContent: `${better} is better` }));
  return element(
    "tr",
    {},
    name,
    element("td", { className: "number" }, `${write.value(before)} → `, element("strong", write.value(after))),
    element("td", {}, element("p", write.change(figure)), picture(figure, write)),
    element("td", {}, verdict),
  );
}

/** How values and differences of a figure are written. */
function writer({ name, percent = IN_PERCENT.has(name) }) {
  const digits = percent ? 1 : 3;
  const number = (value) => (value * (percent ? 100 : 1)).toFixed(digits).replace(/^-(0\.?0*)$/, "$1");
  const signed = (value) => (value > 0 && Number(number(value)) > 0 ? `+${number(value)}` : number(value).replace("-", "−"));
  const value = (one) => (one === null ? "unknown" : `${number(one)}${percent ? " %" : ""}`);
  const unit = percent ? " points" : "";
  const change = ({ difference, interval }) =>
    interval
      ? `${signed(difference)}${unit}, 95 % interval ${signed(interval[0])} to ${signed(interval[1])}`
      : `${signed(difference)}${unit}, no interval is known`;
  return { value, signed, change };
}

/** Draw an interval beside the line of no change. */
function picture({ difference, interval, better, words }, write) {
  const reach = Math.max(...[difference, ...(interval ?? [])].map(Math.abs), 1e-9) * 1.15;
  const across = (value) => WIDTH / 2 + ((WIDTH / 2 - EDGE) * value) / reach;
  const middle = HEIGHT / 2 - 6;
  const drawing = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${words}: ${write.change({ difference, interval })}` });
  drawing.append(draw("line", { class: "zero", x1: across(0), x2: across(0), y1: 0, y2: HEIGHT - 13 }));
  if (interval) {
    const [low, high] = interval.map(across);
    drawing.append(draw("line", { class: "interval", x1: low, x2: high, y1: middle, y2: middle }));
    for (const x of [low, high]) drawing.append(draw("line", { class: "interval", x1: x, x2: x, y1: middle - 5, y2: middle + 5 }));
  }
  drawing.append(draw("circle", { class: "dot", cx: across(difference), cy: middle, r: 5 }));
  const up = better === "higher";
  drawing.append(label(EDGE, "start", up ? "← worse" : "← better"), label(WIDTH / 2, "middle", "no change"));
  drawing.append(label(WIDTH - EDGE, "end", up ? "better →" : "worse →"));
  return drawing;
}

function label(x, anchor, text) {
  const made = draw("text", { x, y: HEIGHT - 3, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function draw(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
