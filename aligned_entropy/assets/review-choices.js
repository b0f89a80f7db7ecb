// Classes of the text on the page: the suggestion, buttons with digits, a search among many, and words with their tags.

const DIGITS = 9;
const MATCHES = 50; // shown classes of a search

const element = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function plain(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

export class Choices {
  /**
   * @param kind `one` label for a text, `many`, or one for each of its `words`.
   * @param labels names of the classes.
   * @param actions `decide` stores a label of the text; `mayDecide` is false while that is not possible;
   *   `keep` is told of labels or tags in the making.
   */
  constructor(kind, labels, { decide, mayDecide, keep }) {
    Object.assign(this, { kind, labels, decide, mayDecide, keep, chosen: [], word: 0, offered: [], active: 0, matches: [] });
    element("accept").addEventListener("click", () => this.confirm());
    const filter = element("filter");
    if (!filter) return;
    filter.addEventListener("input", () => this.search());
    filter.addEventListener("focus", () => this.search());
    filter.addEventListener("blur", () => this.closeSearch());
    filter.addEventListener("keydown", (event) => this.pressInSearch(event));
    element("matches").addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus
    element("matches").addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take(option.dataset.name);
    });
  }

  /** Show the classes of a text; `draft` are labels or tags from before a reload, if there are some. */
  show(item, draft = null) {
    this.item = item;
    this.chosen = [...(draft ?? [item.suggestion].flat())];
    this.word = Math.max(this.chosen.findIndex((tag) => tag !== this.outside), 0);
    const likely = Object.keys(item.probabilities);
    const all = this.labels.length <= DIGITS ? this.labels : likely.length ? likely : this.labels;
    this.offered = this.kind === "words" ? this.labels : [...new Set([...(this.labels.length <= DIGITS ? [] : this.chosen), ...all])];
    this.offered = this.offered.slice(0, Math.max(DIGITS, this.kind === "many" ? this.chosen.length : 0));
    this.draw();
  }

  /** Tag of most words, which the page shows with less emphasis. */
  get outside() {
    return this.labels.find((name) => name.toUpperCase() === "O") ?? null;
  }

  draw() {
    const focused = document.activeElement?.dataset?.name;
    element("classes").replaceChildren(...this.offered.map((name, number) => make("li", {}, this.button(name, number))));
    if (focused !== undefined) [...document.querySelectorAll("#classes button")].find((one) => one.dataset.name === focused)?.focus();
    const text = { one: () => this.item.suggestion, many: () => this.chosen.join(", ") || "no label", words: () => "these tags" };
    const verb = this.kind === "one" ? "Take" : "Store";
    element("accept").replaceChildren(`${verb} “${text[this.kind]()}” `, make("kbd", { textContent: "Enter" }));
    if (this.kind === "words") {
      element("accept").replaceChildren("Store these tags ", make("kbd", { textContent: "Enter" }));
      this.drawWords();
    }
  }

  button(name, number) {
    const made = make("button", { type: "button" });
    made.dataset.name = name;
    if (number < DIGITS) made.append(make("kbd", { textContent: number + 1 }));
    else made.append(make("span"));
    const title = make("span", { className: "name", textContent: name, dir: "auto" });
    made.append(title);
    const probability = this.item.probabilities[name];
    const facts = make("span", { className: "number" });
    if (this.item.label_set?.includes(name)) facts.append(make("span", { className: "tag", textContent: "in the set" }), " ");
    if (probability !== undefined) {
      facts.append(`${(100 * probability).toFixed(probability < 0.1 ? 1 : 0)}%`);
      made.append(facts, make("meter", { value: probability, ariaHidden: "true" }));
    } else made.append(facts);
    if (number < DIGITS) made.setAttribute("aria-keyshortcuts", number + 1);
    if (this.kind === "one") made.classList.toggle("suggested", name === this.item.suggestion);
    else made.setAttribute("aria-pressed", this.kind === "many" ? this.chosen.includes(name) : this.chosen[this.word] === name);
    made.addEventListener("click", () => this.take(name));
    return made;
  }

  drawWords() {
    const before = element("words").contains(document.activeElement);
    element("words").replaceChildren(...this.item.words.map((word, number) => {
      const tag = this.chosen[number];
      const made = make("button", { type: "button", dir: "auto" }, word, make("small", { textContent: tag === this.outside ? "" : tag }));
      made.classList.toggle("tagged", tag !== this.outside);
      made.setAttribute("aria-pressed", number === this.word);
      made.setAttribute("aria-label", `${word}: ${tag}`);
      made.addEventListener("click", () => this.mark(number));
      return made;
    }));
    const marked = element("words").children[this.word];
    marked?.scrollIntoView({ block: "nearest" });
    if (before) marked?.focus();
  }

  /** Mark another word for the next tag. */
  mark(number) {
    this.word = Math.min(Math.max(number, 0), this.item.words.length - 1);
    this.draw();
  }

  /** Take a class: as the label, as one of the labels, or as the tag of the marked word. */
  take(name) {
    if (!this.mayDecide()) return;
    this.closeSearch(true);
    if (this.kind === "one") {
      this.decide(name);
    } else if (this.kind === "many") {
      const has = this.chosen.includes(name);
      this.chosen = has ? this.chosen.filter((other) => other !== name) : [...this.chosen, name];
      this.chosen = this.labels.filter((other) => this.chosen.includes(other));
      if (!this.offered.includes(name)) this.offered.push(name);
      this.keep(this.chosen);
      this.draw();
    } else {
      this.chosen[this.word] = name;
      this.keep(this.chosen);
      this.mark(this.word + 1);
    }
  }

  /** Store the suggestion, or the labels as they are now. */
  confirm() {
    if (this.mayDecide()) this.decide(this.kind === "one" ? this.item.suggestion : this.chosen);
  }

  /** Handle a key outside of fields; true if it has a meaning here. */
  press(event) {
    const { key, target } = event;
    const onControl = target.closest("button, a, input, summary") !== null;
    if (this.kind === "words" && (key === "ArrowLeft" || key === "ArrowRight")) this.mark(this.word + (key === "ArrowRight" ? 1 : -1));
    else if (event.repeat) return false;
    else if (key === "Enter" && !onControl) this.confirm();
    else if (/^[1-9]$/.test(key) && this.offered[key - 1] !== undefined) this.take(this.offered[key - 1]);
    else if (key === "/" && element("filter")) element("filter").focus();
    else return false;
    return true;
  }

  search() {
    const words = plain(element("filter").value).split(/\s+/).filter(Boolean);
    const rank = (name) => (plain(name).startsWith(words[0] ?? "") ? 0 : 1);
    const fits = this.labels.filter((name) => words.every((word) => plain(name).includes(word)));
    this.matches = fits.sort((one, other) => rank(one) - rank(other)).slice(0, MATCHES);
    this.active = words.length ? 0 : -1; // Enter takes nothing before something is searched for or chosen
    this.drawMatches();
  }

  drawMatches() {
    const options = this.matches.map((name, number) => {
      const probability = this.item.probabilities[name];
      const made = make("li", { id: `match-${number}`, role: "option", dir: "auto", textContent: name });
      made.dataset.name = name;
      made.setAttribute("aria-selected", number === this.active);
      if (probability !== undefined) made.append(make("span", { className: "soft", textContent: ` ${(100 * probability).toFixed(1)}%` }));
      return made;
    });
    if (!options.length) options.push(make("li", { className: "none", textContent: "No class has this name." }));
    element("matches").replaceChildren(...options);
    element("matches").hidden = false;
    element("filter").setAttribute("aria-expanded", "true");
    if (this.matches[this.active]) element("filter").setAttribute("aria-activedescendant", `match-${this.active}`);
    else element("filter").removeAttribute("aria-activedescendant");
    element("matches").children[this.active]?.scrollIntoView({ block: "nearest" });
  }

  closeSearch(clears = false) {
    const filter = element("filter");
    if (!filter) return;
    element("matches").hidden = true;
    filter.setAttribute("aria-expanded", "false");
    filter.removeAttribute("aria-activedescendant");
    if (!clears) return;
    filter.value = "";
    if (document.activeElement === filter) element("task").focus({ preventScroll: true });
  }

  pressInSearch(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.active = Math.min(Math.max(this.active + step, 0), Math.max(this.matches.length - 1, 0));
      this.drawMatches();
    } else if (event.key === "Enter") {
      if (this.matches[this.active] && !event.repeat) this.take(this.matches[this.active]);
    } else if (event.key === "Escape") this.closeSearch(true);
    else return;
    event.preventDefault();
  }
}
