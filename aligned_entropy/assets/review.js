// Labeling of texts, one at a time. What is shown as done is on the disk of the server.

import { send } from "./page.js";
import { Choices } from "./review-choices.js";

const WAIT = 400; // milliseconds in which a text that was just shown takes no label: a double click belongs to the last one
const AGAIN = 3000; // milliseconds until a label that could not be sent is sent again
const RENEWAL = 60000; // milliseconds until the texts on the page are taken again, so that nobody else is shown them
const EMPTY = 5000; // milliseconds between two looks at an empty queue
const REMEMBERED = 100; // labels and skips that can be undone

const element = (id) => document.getElementById(id);
const kind = element("review").dataset.kind;
const labels = JSON.parse(element("review").dataset.labels);

/** State of this tab, which survives a reload: visitor, what can be undone, text on the page, labels or tags in the making, and label that is not stored yet. */
const tab = Object.assign({ visitor: newId(), history: [], current: null, draft: null, pending: null }, read());
let items = []; // the text on the page, and the next one
let shown; // text on the screen; null if the page says that there is none
let shownAt = 0;
let isBusy = false;
let changes = 0; // a view of the queue from before the latest change is dropped
let timer;

const choices = new Choices(kind, labels, { decide, mayDecide, keep });

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"); // crypto.randomUUID needs https
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem("alien-review"));
  } catch {
    return null;
  }
}

function save() {
  sessionStorage.setItem("alien-review", JSON.stringify(tab));
}

/** Keep labels or tags in the making for a reload. */
function keep(chosen) {
  tab.draft = { prediction: items[0].id, chosen };
  save();
}

function mayDecide() {
  return !isBusy && tab.pending === null && items.length > 0 && performance.now() - shownAt >= WAIT;
}

function tell(problem) {
  element("problem").textContent = problem;
  element("problem").hidden = !problem;
}

function setBusy(value) {
  isBusy = value;
  const waits = value || tab.pending !== null;
  element("task").setAttribute("aria-busy", waits);
  for (const button of document.querySelectorAll("#task button")) button.toggleAttribute("data-waits", waits);
  for (const id of ["undo", "undo-last"]) element(id).disabled = waits || tab.history.length === 0;
}

function showCounts({ waiting, labeled, skipped }) {
  element("counts").textContent = `${labeled} labeled, ${waiting} waiting${skipped ? `, ${skipped} skipped` : ""}`;
  element("bar").max = Math.max(labeled + waiting, 1);
  element("bar").value = labeled;
}

function percent(probability) {
  if (probability > 0 && probability < 0.001) return "less than 0.1%";
  return `${(100 * probability).toFixed(probability < 0.01 ? 1 : 0)}%`;
}

/** Reason why a text is on the page, and how likely its prediction is to be wrong. */
function reason(item) {
  const wrong = item.error_probability;
  const unlikely = wrong === null ? `Uncertainty: ${item.uncertainty.toFixed(3)}` : `The suggestion is wrong with a probability of ${percent(wrong)}`;
  const drawn = { true: "accepted by the threshold, drawn at random", false: "deferred by the threshold", null: "drawn at random" };
  return `${unlikely} (${drawn[item.accepted]}).`;
}

/** Show the first text, and move the focus to it, unless somebody is typing. */
function show() {
  const item = items[0];
  shown = item ?? null;
  tab.current = item?.id ?? null;
  save();
  element("task").hidden = !item;
  element("empty").hidden = Boolean(item);
  delete element("task").dataset.ready;
  if (item) {
    element("texts").replaceChildren(...item.texts.map((text, number) => {
      const part = document.createElement("div");
      part.className = "text";
      part.dir = "auto";
      part.textContent = text;
      part.setAttribute("role", "group");
      part.setAttribute("aria-label", item.texts.length > 1 ? `Text ${number + 1} of a pair` : "Text");
      return part;
    }));
    element("texts").hidden = kind === "words";
    element("reason").textContent = reason(item);
    choices.show(item, tab.draft?.prediction === item.id ? tab.draft.chosen : null);
    for (const part of document.querySelectorAll(".text")) if (part.scrollHeight > part.clientHeight) part.tabIndex = 0;
    shownAt = performance.now();
    setTimeout(() => { if (items[0] === item) element("task").dataset.ready = item.id; }, WAIT);
  }
  setBusy(false);
  if (!document.activeElement?.matches("#reviewer")) element(item ? "task" : "empty").focus({ preventScroll: true });
  if (item) scrollTo({ top: 0 });
}

/** Take texts from the queue. The text on the page stays; after a reload it is the same as before. */
async function refresh() {
  clearTimeout(timer);
  const asked = changes;
  try {
    const queue = await send("/review/next", { visitor: tab.visitor });
    if (asked !== changes) return;
    showCounts(queue.counts);
    const first = items[0] ?? queue.items.find((item) => item.id === tab.current) ?? queue.items[0];
    items = first ? [first, ...queue.items.filter((item) => item.id !== first.id)].slice(0, 2) : [];
    if (tab.pending === null) tell("");
    if ((items[0] ?? null) !== shown) show();
  } catch (problem) {
    if (asked !== changes) return;
    tell(problem.message);
    timer = setTimeout(refresh, AGAIN);
    return;
  }
  timer = setTimeout(refreshIfVisible, items.length ? RENEWAL : EMPTY);
}

function refreshIfVisible() {
  if (document.visibilityState === "visible" && !isBusy) refresh();
}

/** Store the label of the text on the page, or skip it for null. */
function decide(label) {
  if (!mayDecide()) return;
  const reviewer = element("reviewer").value.trim();
  tab.pending = { prediction: items[0].id, label, reviewer };
  save();
  deliver();
}

/** Send the label that is not stored yet, until the server has stored or refused it. */
async function deliver() {
  const { prediction, label, reviewer } = tab.pending;
  setBusy(true);
  clearTimeout(timer);
  changes += 1;
  try {
    const { visitor } = tab;
    const queue = label === null
      ? await send("/review/skip", { visitor, prediction })
      : await send("/review/label", { visitor, prediction, label, reviewer });
    tab.history = [...tab.history, { prediction, number: queue.number }].slice(-REMEMBERED);
    showCounts(queue.counts);
    tell("");
  } catch (problem) {
    if (problem.status === 0 || problem.status >= 500 || problem.status === 429 || problem.status === 408) {
      const action = label === null ? "The skip" : `The label “${[label].flat().join(", ")}”`;
      tell(`${problem.message} ${action} is not stored yet; it is sent again every ${AGAIN / 1000} seconds.`);
      timer = setTimeout(deliver, AGAIN);
      return;
    }
    if (problem.status === 401) return; // the label is sent after the login
    tab.pending = null;
    save();
    tell(problem.message);
    setBusy(false);
    if (problem.status === 422) return; // the text stays, for another label
    next(prediction, true);
    return;
  }
  tab.pending = null;
  next(prediction);
}

async function next(done, keepsProblem = false) {
  const problem = element("problem").textContent;
  items = items.filter((item) => item.id !== done);
  if (items.length) show();
  else save();
  await refresh();
  if (keepsProblem) tell(problem);
}

/** Take back the last label or skip of this tab, and show its text again. */
async function undo() {
  const last = tab.history.at(-1);
  if (!last || isBusy || tab.pending !== null) return;
  setBusy(true);
  changes += 1;
  try {
    const queue = await send("/review/undo", { visitor: tab.visitor, ...last });
    tab.history.pop();
    items = [queue.items[0], ...items.filter((item) => item.id !== last.prediction)].slice(0, 2);
    showCounts(queue.counts);
    tell("");
    show();
  } catch (problem) {
    if (problem.status === 404) tab.history.pop();
    save();
    tell(problem.message);
    setBusy(false);
    return;
  }
  refresh();
}

document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !element("keys").checked) return;
  if (target.matches("input:not([type=checkbox]), textarea")) return;
  if (key.toLowerCase() === "u" && !event.repeat) undo();
  else if (element("task").hidden) return;
  else if (key.toLowerCase() === "s" && !event.repeat) decide(null);
  else if (!choices.press(event)) return;
  event.preventDefault();
});
element("skip").addEventListener("click", () => decide(null));
for (const id of ["undo", "undo-last"]) element(id).addEventListener("click", undo);
document.addEventListener("visibilitychange", refreshIfVisible);

element("reviewer").value = localStorage.getItem("alien-reviewer") ?? "";
element("reviewer").addEventListener("input", () => localStorage.setItem("alien-reviewer", element("reviewer").value.trim()));
element("reviewer").addEventListener("keydown", ({ key, isComposing }) => {
  if (key === "Enter" && !isComposing) element(items.length ? "task" : "empty").focus();
});
element("keys").checked = localStorage.getItem("alien-keys") !== "off";
element("keys").addEventListener("change", () => localStorage.setItem("alien-keys", element("keys").checked ? "on" : "off"));

save();
await refresh();
if (tab.pending !== null) deliver();
