// Page for predictions. The rows of a visitor stay in the browser: the server predicts them and keeps nothing.

import { Problem, request } from "./page.js";

const element = (id) => document.getElementById(id);
const form = element("input");
const texts = element("texts");
const file = element("file");
const target = element("target");
const longText = 400; // characters; only the start of a longer text is shown until it is opened
const maxShown = Number(form.dataset.shown);
const maxBytes = Number(form.dataset.bytes);

/** Rule of the head that the page was loaded with; null without a threshold and without labeled predictions. */
const ruleOfPage = JSON.parse(element("trade-off")?.dataset.tradeOff ?? "null");
let rule = ruleOfPage;
/** Predictions on the page: the first event of the server, all rows, and the name of the file. */
let results = null;
let running = null;

// --- Accept or defer.

/** Rule for the predictions on the page: that of the visitor, if the same head made the predictions. */
function ruleOfResults() {
  const { head, limits } = results.start;
  if (rule !== null && rule.head === head) return rule;
  return limits === null ? null : { head, limits, of_head: true };
}

/** Whether a rule accepts an uncertainty; numbers are compared in single precision, as on the server. */
function accepts(limits, uncertainty, label) {
  const limit = limits[Object.hasOwn(limits, label) ? label : ""];
  return uncertainty !== null && limit !== undefined && Math.fround(uncertainty) <= Math.fround(Number(limit));
}

/** Decision on each selection unit of a row, which are its entities or the row; null without a rule. */
function decisions(row) {
  const chosen = ruleOfResults();
  const units = row.entities === null ? [row] : row.entities;
  return units.map((unit) => (chosen === null ? null : accepts(chosen.limits, unit.uncertainty, unit.entity_group ?? unit.label)));
}

const losesSets = () => results.start.sets_need_rule && ruleOfResults() !== null && !ruleOfResults().of_head;
const wasExchanged = () => rule !== null && results.start.head !== rule.head;
const measure = (unit) => unit.error_probability ?? unit.uncertainty;

// --- Show.

/** New element with a class, text and children. */
function make(name, className = "", ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function scale(value) {
  const bar = make("i");
  bar.style.width = `${100 * value}%`;
  const frame = make("span", "scale", bar);
  frame.setAttribute("aria-hidden", "true");
  return [frame, make("span", "number", value.toFixed(3))];
}

function decision(accepted) {
  return accepted === null ? "" : make("span", accepted ? "accepted" : "deferred", accepted ? "accepted" : "deferred");
}

/** Text whose direction follows its own characters, whatever surrounds it. */
function foreign(name, className, text) {
  const node = make(name, className, text);
  node.dir = "auto";
  return node;
}

function entityLine(entity, accepted) {
  const parts = [make("span", "", foreign("bdi", "", entity.word), ": ", make("b", "", entity.entity_group))];
  return make("div", "entity", ...parts, make("span", "measure", ...scale(measure(entity))), decision(accepted));
}

/** Cell with a text whose end is folded away if it is long. */
function textCell(text) {
  if (text.length <= longText) return foreign("td", "text", text);
  let cut = text.lastIndexOf(" ", 0.75 * longText);
  if (cut < longText / 2) cut = 0.75 * longText; // no spaces, as in Chinese
  if (/[\uD800-\uDBFF]/.test(text[cut - 1])) cut -= 1; // half of a character
  const cell = foreign("td", "text", "");
  cell.append(make("details", "", make("summary", "", text.slice(0, cut)), text.slice(cut)));
  return cell;
}

function tableRow(row) {
  const text = textCell(row.text);
  if (row.truncated) text.append(" ", make("span", "problem", "(too long: the model did not read all of it)"));
  if (row.error !== null) {
    const problem = make("td", "problem", row.error);
    problem.colSpan = 3; // of which CSS may hide the last one
    return make("tr", "", text, problem);
  }
  const accepted = decisions(row);
  const last = make("td", "decision", row.entities === null ? decision(accepted[0]) : "");
  if (row.label_set && !losesSets()) last.append(make("div", "label-set", row.label_set));
  const prediction = make("td", "prediction");
  if (row.entities === null) prediction.append(foreign("b", "", row.prediction));
  else if (row.entities.length) prediction.append(...row.entities.map((entity, number) => entityLine(entity, accepted[number])));
  else prediction.append("no entity");
  return make("tr", "", text, prediction, make("td", "measure", ...scale(measure(row))), last);
}

/** Rows with the searched characters and the chosen decision; a row without a prediction has no decision. */
function chosenRows() {
  const searched = element("search").value.trim().toLowerCase();
  const decided = element("decided").value;
  return results.rows.filter((row) => {
    const parts = [row.text, row.prediction, row.error, ...(row.entities ?? []).flatMap((entity) => [entity.word, entity.entity_group])];
    if (!parts.some((part) => String(part ?? "").toLowerCase().includes(searched))) return false;
    return decided === "" || (row.error === null && decisions(row).includes(decided === "accepted"));
  });
}

/** Rows in the chosen order; the most uncertain ones come after those without a prediction. */
function ordered(rows) {
  if (element("order").value === "input") return rows;
  const rank = (row) => (row.error === null ? measure(row) : Infinity);
  return rows.toSorted((first, second) => (rank(first) === rank(second) ? 0 : rank(second) - rank(first)));
}

function summary(chosen) {
  const predicted = results.rows.filter((row) => row.error === null);
  const made = predicted.flatMap(decisions);
  const unit = results.start.entity_column === null ? "predictions" : "entities";
  const count = (number) => number.toLocaleString("en");
  const parts = [`${count(predicted.length)} of ${count(results.rows.length)} texts have a prediction`];
  if (made.length && !made.includes(null)) parts.push(`${count(made.filter(Boolean).length)} of ${count(made.length)} ${unit} are accepted`);
  if (chosen.length < results.rows.length) parts.push(`${count(chosen.length)} ${chosen.length === 1 ? "row matches" : "rows match"}`);
  if (chosen.length > maxShown) parts.push(`the ${element("order").value === "input" ? "first" : "most uncertain"} ${maxShown} are shown`);
  let sentence = `${results.name ? `${results.name}: ` : ""}${parts.join("; ")}.`;
  if (losesSets()) sentence += " Sets of classes are shown only for the threshold of the head.";
  if (wasExchanged()) sentence += " The head was exchanged after the page was loaded: reload the page.";
  return sentence;
}

function showResults() {
  if (results === null) return;
  const chosen = chosenRows();
  element("summary").textContent = element("announcement").textContent = summary(chosen);
  element("measure").textContent = results.start.calibrated ? "Error probability" : "Uncertainty";
  const undecided = results.start.entity_column !== null || (ruleOfResults() === null && results.start.set_column === null);
  element("rows").classList.toggle("undecided", undecided);
  document.querySelector("#rows tbody").replaceChildren(...ordered(chosen).slice(0, maxShown).map(tableRow));
  element("decision").hidden = ruleOfResults() === null;
  element("results").hidden = false;
}

/** Text with its words shaded, and the heaviest words with their weights. */
function explained({ pieces }) {
  const text = foreign("p", "pieces", "");
  for (const piece of pieces) {
    if (!piece.shade) {
      text.append(piece.text);
      continue;
    }
    const [, before, word, after] = piece.text.match(/^(\s*)(.*?)(\s*)$/s);
    const mark = make("mark", "", word);
    mark.style.setProperty("--shade", `${piece.shade}%`);
    text.append(before, mark, after);
  }
  const heaviest = pieces.filter((piece) => piece.shade).toSorted((first, second) => second.weight - first.weight).slice(0, 3);
  const list = heaviest.flatMap((piece, number) => [number ? ", " : "", foreign("bdi", "", piece.text.trim()), ` +${piece.weight.toFixed(3)}`]);
  return make("li", "", text, heaviest.length ? make("p", "heaviest", "Most: ", ...list) : "");
}

/** Accuracy that the error probabilities of all rows promise, and the reasons not to believe it. */
function showEstimate({ estimates, reasons }) {
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const lines = estimates.map(({ subject, count, value, low, high }) => {
    const interval = `95% interval: ${percent(low)} to ${percent(high)}, for ${count.toLocaleString("en")} ${subject}`;
    return make("p", "", make("b", "value", `Estimated accuracy: ${percent(value)}`), " ", make("span", "soft", interval));
  });
  const doubts = reasons.length ? [make("p", "problem", "Do not rely on it:"), make("ul", "", ...reasons.map((reason) => make("li", "", reason)))] : [];
  element("estimate").classList.toggle("doubtful", reasons.length > 0);
  element("estimate").replaceChildren(...lines, ...doubts);
  element("estimate").hidden = false;
  element("announcement").textContent += ` ${element("estimate").innerText}`;
}

for (const name of ["search", "decided", "order"]) element(name).addEventListener("input", showResults);

// --- Predict.

/** Yield the events of a response as they arrive. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const messages = (rest + value).split("\n\n");
    rest = messages.pop();
    for (const message of messages) if (message.startsWith("data: ")) yield JSON.parse(message.slice(6));
  }
}

function showProgress(done, total) {
  const bar = document.querySelector("#progress progress");
  if (total) [bar.max, bar.value] = [total, done];
  else bar.removeAttribute("value");
  const count = (number) => number.toLocaleString("en");
  element("progress-text").textContent = total ? `${count(done)} of ${count(total)} texts` : "Waiting for the server …";
}

/** Predict texts or a file; a run that is going on is canceled. */
async function predict(body, name = "") {
  running?.abort();
  const controller = (running = new AbortController());
  element("problem").textContent = element("announcement").textContent = "";
  element("results").hidden = element("words").hidden = element("estimate").hidden = true;
  document.querySelector("#words ul").replaceChildren();
  results = null;
  try {
    if (body.size > maxBytes) throw new Problem(`${name || "The input"} has ${body.size} bytes, more than ${maxBytes}: divide it.`, 413);
    element("progress").hidden = false;
    showProgress(0, 0);
    const content = await body.arrayBuffer().catch(() => {
      throw new Problem(`${name} cannot be read; it may have changed: choose it again.`, 0);
    });
    const headers = name ? { "X-File-Name": encodeURIComponent(name) } : {};
    await receive(await request("/predictions", new Blob([content]), { headers, signal: controller.signal }), name);
  } catch (problem) {
    if (controller.signal.aborted) return;
    if (!(problem instanceof Problem)) console.error(problem);
    element("problem").textContent = problem instanceof Problem ? problem.message : "The connection to the server has ended: try again.";
  } finally {
    if (running === controller) {
      running = null;
      element("progress").hidden = true;
    }
  }
}

async function receive(response, name) {
  const received = { name, start: null, rows: [] };
  let complete = false;
  for await (const event of events(response)) {
    if (event.kind === "error") throw new Problem(event.reason, response.status);
    if (event.kind === "start") received.start = event;
    if (event.kind === "rows") {
      received.rows.push(...event.rows);
      showProgress(received.rows.length, received.start.total);
      if (received.rows.length === received.start.total) {
        results = received;
        element("search").value = element("decided").value = "";
        element("order").value = results.rows.length > maxShown ? "uncertain" : "input";
        showResults();
      }
    }
    if (event.kind === "estimate") showEstimate(event);
    if (event.kind === "words") {
      document.querySelector("#words ul").append(explained(event));
      element("words").hidden = false;
    }
    if (event.kind === "end") complete = true;
  }
  if (!complete) throw new Error("the stream of events is incomplete");
}

function start() {
  if (texts.value.trim() || !file.files.length) {
    file.value = ""; // so that it does not seem to be the file that was predicted
    predict(new Blob([texts.value]));
  } else predict(file.files[0], file.files[0].name);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
texts.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || !(event.shiftKey || event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  start();
});
file.addEventListener("click", () => {
  file.value = ""; // so that the same file can be chosen again after it was corrected
});
file.addEventListener("change", () => {
  if (file.files.length) predict(file.files[0], file.files[0].name);
});
element("cancel").addEventListener("click", () => {
  running?.abort();
  running = null;
  element("progress").hidden = true;
  element("predict").focus();
});

// --- Choose a target.

/** Show the coverage and the risk of the rule in words and on the curve. */
function showRule() {
  element("statement").replaceChildren(...rule.sentences.map((sentence) => make("p", "", sentence)));
  const line = element("target-line");
  if (line === null) return;
  const height = (risk) => `${100 - (100 * risk) / Number(line.dataset.ceiling)}%`;
  line.toggleAttribute("hidden", rule.target === null || rule.target > Number(line.dataset.ceiling));
  for (const name of ["y1", "y2"]) line.setAttribute(name, height(rule.target ?? 0));
  const point = element("operating-point");
  point.toggleAttribute("hidden", rule.risk === null);
  point.setAttribute("cx", `${100 * rule.coverage}%`);
  point.setAttribute("cy", height(rule.risk ?? 0));
}

let choosing = null;
async function choose() {
  choosing?.abort();
  const controller = (choosing = new AbortController());
  try {
    const response = await request(`/trade-off?percent=${target.value}`, undefined, { signal: controller.signal });
    const chosen = await response.json();
    if (controller.signal.aborted) return;
    element("exchanged").textContent = chosen.head === ruleOfPage.head ? "" : "The head was exchanged after the page was loaded: reload the page.";
    if (chosen.head === ruleOfPage.head) use(chosen);
  } catch (problem) {
    if (!controller.signal.aborted) element("exchanged").textContent = problem.message;
  }
}

function use(chosen) {
  rule = chosen;
  element("reset").hidden = rule.of_head || !ruleOfPage.of_head;
  showRule();
  showResults();
}

/** Show the value of the slider; it means nothing for a rule with another goal than a risk. */
function showTarget(isChosen) {
  const percent = `${Number(target.value).toFixed(1)}%`;
  element("target-value").textContent = isChosen ? percent : "–";
  target.setAttribute("aria-valuetext", isChosen ? percent : "not chosen");
}

if (rule !== null) showRule();
if (target !== null) {
  showTarget(rule.target !== null);
  target.addEventListener("input", () => {
    showTarget(true);
    choose();
  });
  element("reset").addEventListener("click", () => {
    choosing?.abort();
    target.value = target.defaultValue;
    showTarget(ruleOfPage.target !== null);
    use(ruleOfPage);
    target.focus();
  });
}

// --- Download.

/** Cells of a row in the file, with the decisions that the page shows. */
function cellsOf(row) {
  const { accepted_column, set_column, entity_column } = results.start;
  const cells = [...row.cells];
  const made = row.error === null ? decisions(row) : [];
  if (accepted_column !== null && ruleOfResults() !== null) cells[accepted_column] = made[0] ? "True" : "False";
  if (entity_column !== null && row.error === null && !made.includes(null)) {
    cells[entity_column] = JSON.stringify(row.entities.map((entity, number) => ({ ...entity, accepted: made[number] })));
  }
  if (set_column !== null && losesSets()) cells[set_column] = "";
  return cells;
}

function csv() {
  const { columns, accepted_column } = results.start;
  const omitted = ruleOfResults() === null ? accepted_column : null;
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const line = (cells) => cells.filter((_, number) => number !== omitted).map(quoted).join(",") + "\r\n";
  return [columns, ...results.rows.map(cellsOf)].map(line).join("");
}

element("download").addEventListener("click", () => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
