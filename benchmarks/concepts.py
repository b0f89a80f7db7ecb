"""Figures of the concepts in docs/, drawn from the predictions of one classifier and its head.

The texts are those of sixteen topics of 20 Newsgroups, from all of its splits in random order. A logistic regression
on TF-IDF is trained on 3,000 of them, a head is fitted on its outputs for 1,000 others, and 6,000 more are new to
both. The texts of four further topics, which the classifier does not have, show a limit.

    python benchmarks/concepts.py [FOLDER]        # docs/assets by default; a minute on one core

Every number that the pages on concepts state about this classifier is printed.
"""

import sys
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from aligned_entropy import Goal, Predictions, UncertainClassifier, choose_threshold, labeled_texts, load_data
from aligned_entropy.metrics import errors_found, risk_coverage
from aligned_entropy.selective.choose import SelectionUnits

UNKNOWN = ("misc.forsale", "rec.autos", "sci.med", "sci.space")  # topics that the classifier does not have
TRAIN, HELD_OUT, NEW = 3000, 1000, 6000  # texts for the training, for the head, and new to both
SIZES = (100, 200, 400, 800, 1600)  # labeled texts that a threshold is chosen on
DRAWS = 100  # random sets of each size
BLUE, ORANGE, GREEN, GRAY = "#0072B2", "#D55E00", "#007A5A", "#6B7280"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 380, 64, 24, 44, 56


@dataclass
class Chart:
    """SVG drawing with linear axes that begin at zero."""

    title: str
    x_label: str
    y_label: str
    x_end: float = 1.0
    y_end: float = 1.0
    x_ticks: tuple[float, ...] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    y_ticks: tuple[float, ...] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    percent: tuple[bool, bool] = (True, True)
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, up = x / self.x_end, y / self.y_end
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def line(self, xs, ys, color: str, dash: str = "", width: float = 2.5) -> None:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, xs, ys))
        style = f'stroke="{color}" stroke-width="{width}" stroke-dasharray="{dash}"'
        self.parts.append(f'<polyline points="{points}" fill="none" stroke-linejoin="round" {style}/>')

    def dots(self, xs, ys, color: str) -> None:
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{color}"/>' for x, y in map(self.at, xs, ys)]

    def bar(self, start: float, end: float, height: float, color: str) -> None:
        (left, top), (right, bottom) = self.at(start, height), self.at(end, 0)
        place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
        self.parts.append(f'<rect {place} fill="{color}"/>')

    def text(self, x: float, y: float, words: str, color: str = GRAY, anchor: str = "start") -> None:
        across, down = self.at(x, y)
        place = f'x="{across:.1f}" y="{down:.1f}" fill="{color}" text-anchor="{anchor}"'
        self.parts.append(f"<text {place}>{escape(words)}</text>")

    def save(self, path: Path) -> None:
        def tick(value: float, percent: bool) -> str:
            return f"{100 * value:.0f}%" if percent else f"{value:,.0f}"

        axes = []
        for y in self.y_ticks:
            across, down = self.at(0, y)
            axes.append(f'<path d="M{LEFT} {down:.1f}H{WIDTH - RIGHT}" stroke="#E5E7EB"/>')
            axes.append(
                f'<text x="{across - 8:.1f}" y="{down + 4:.1f}" text-anchor="end">{tick(y, self.percent[1])}</text>'
            )
        for x in self.x_ticks:
            across, down = self.at(x, 0)
            axes.append(
                f'<text x="{across:.1f}" y="{down + 20:.1f}" text-anchor="middle">{tick(x, self.percent[0])}</text>'
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            ' font-family="system-ui, sans-serif" font-size="13" fill="#4B5563">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#FFFFFF"/>',
            f'<text x="16" y="24" font-size="15" font-weight="600" fill="#111827">{escape(self.title)}</text>',
            *axes,
            f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">{escape(self.x_label)}</text>',
            f'<text transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_label)}</text>",
            *self.parts,
            "</svg>",
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def shuffled() -> list[tuple[str, str]]:
    """Texts with their topics from all splits, each text once, in random order."""
    splits = [labeled_texts(load_data(f"20newsgroups:{split}")) for split in ("train", "validation", "test")]
    rows = {
        text: part.label_names[label] for part in splits for text, label in zip(part.texts, part.labels, strict=True)
    }
    order = np.random.default_rng(0).permutation(len(rows))
    pairs = list(rows.items())
    return [pairs[row] for row in order]


def outputs(model: Pipeline, rows) -> dict[str, object]:
    """Outputs of the model for texts, as a head reads them."""
    texts = [text for text, _ in rows]
    return {"text": texts, "probabilities": model.predict_proba(texts), "label": [topic for _, topic in rows]}


def draw_risk_coverage(units: SelectionUnits, softmax, classifier: UncertainClassifier, folder: Path) -> None:
    """Risk–coverage curves, with a threshold that was certified on 800 of the texts."""
    labeled, rest = units[np.arange(800)], units[np.arange(800, len(units))]
    rule = choose_threshold(labeled, Goal(risk=0.1), classifier.saved.pilot)
    accepted = rule.accepts(rest.uncertainty, rest.labels)
    coverage, risk = accepted.mean(), rest.errors[accepted].mean()
    print(rule)
    print(f"other {len(rest):,} texts: {100 * coverage:.1f}% accepted, {100 * risk:.1f}% of them wrong")
    chart = Chart(
        "Accept fewer predictions, and fewer of them are wrong",
        "coverage: share of the predictions that is accepted",
        "risk: share of wrong ones among them",
        y_end=0.15,
        y_ticks=(0, 0.05, 0.1, 0.15),
    )
    for name, values, color in (("softmax", softmax[800:], ORANGE), ("head", rest.uncertainty, BLUE)):
        coverages, risks = risk_coverage(rest.errors, values)
        shown = (coverages > 0.05) & (np.arange(len(risks)) % 10 == 0)
        chart.line(coverages[shown], risks[shown], color, dash="6 4" if name == "softmax" else "")
        found = errors_found(rest.errors, values, share=0.2)
        print(f"{name}: {100 * found:.0f}% of the errors are among the most uncertain 20% of the texts")
    chart.line([0, 1], [0.1, 0.1], GRAY, "2 4", 1.5)
    chart.line([coverage, coverage], [0, 0.107], GRAY, "2 4", 1.5)
    chart.dots([coverage], [risk], BLUE)
    chart.text(0.02, 0.103, "target: 10%")
    words = f"threshold: {100 * coverage:.0f}% accepted, {100 * risk:.1f}% of them wrong"
    chart.text(coverage, 0.11, words, BLUE, "end" if coverage > 0.5 else "start")
    chart.text(0.06, 0.138, "– – the model's largest probability (softmax)", ORANGE)
    chart.text(0.06, 0.128, "—— the head", BLUE)
    chart.save(folder / "risk-coverage.svg")


def draw_reliability(errors, softmax, error_probability, folder: Path) -> None:
    """Predicted and observed error rates in ten groups of texts of the same size, before and after."""
    chart = Chart("When the head says 30%, about 30% are wrong", "predicted error rate", "observed error rate")
    chart.line([0, 1], [0, 1], GRAY, "2 4", 1.5)
    for name, values, color in (
        ("one minus the model's largest probability", softmax, ORANGE),
        ("error probability of the head", error_probability, BLUE),
    ):
        groups = np.array_split(np.argsort(values, kind="stable"), 10)
        predicted, observed = ([part[group].mean() for group in groups] for part in (values, errors))
        chart.line(predicted, observed, color)
        chart.dots(predicted, observed, color)
        print(f"{name}: mean {100 * np.mean(values):.1f}%, observed {100 * np.mean(errors):.1f}% errors")
        print("  " + " ".join(f"{100 * p:.0f}/{100 * o:.0f}" for p, o in zip(predicted, observed, strict=True)))
    chart.text(0.03, 0.93, "before: one minus the model's largest probability", ORANGE)
    chart.text(0.03, 0.86, "after: error probability of the head", BLUE)
    chart.text(0.52, 0.58, "perfectly calibrated", anchor="end")
    chart.save(folder / "reliability.svg")


def draw_certified_coverage(units: SelectionUnits, classifier: UncertainClassifier, folder: Path) -> None:
    """Mean certified coverage by the number of labeled texts, over random sets of them."""
    rng = np.random.default_rng(0)
    chart = Chart(
        "More labels certify more",
        "labeled texts that the threshold is chosen on",
        "predictions accepted",
        x_end=SIZES[-1] * 1.05,
        x_ticks=(0, 400, 800, 1200, 1600),
        percent=(False, True),
    )
    all_broken = 0
    for target, color in ((0.1, BLUE), (0.05, GREEN)):
        means = []
        for size in SIZES:
            coverages, broken = [], 0
            for _ in range(DRAWS):
                order = rng.permutation(len(units))
                rule = choose_threshold(units[order[:size]], Goal(risk=target), classifier.saved.pilot)
                rest = units[order[size:]]
                accepted = rule.accepts(rest.uncertainty, rest.labels)
                coverages.append(accepted.mean())
                broken += accepted.any() and rest.errors[accepted].mean() > target
            means.append(np.mean(coverages))
            all_broken += broken
            print(
                f"risk {target}, {size} labels: {100 * means[-1]:.0f}% accepted, above the risk in {broken} of {DRAWS}"
            )
        coverage, risks = risk_coverage(units.errors, units.uncertainty)
        best = coverage[risks <= target].max(initial=0)
        print(f"risk {target}: at most {100 * best:.0f}% can be accepted")
        chart.line([0, SIZES[-1]], [best, best], color, "2 4", 1.5)
        chart.line(SIZES, means, color)
        chart.dots(SIZES, means, color)
        chart.text(SIZES[-1], best + 0.02, f"limit for {100 * target:.0f}% errors", color, "end")
    print(f"all: above the risk in {all_broken} of {2 * len(SIZES) * DRAWS:,}")
    chart.save(folder / "certified-coverage.svg")


def draw_unknown_topics(known, errors, unknown, folder: Path) -> None:
    """Error probabilities of texts of known topics and of topics that the model does not have."""
    edges = np.linspace(0, 1, 11)
    shares = {
        name: np.histogram(values, edges)[0] / len(values) for name, values in (("known", known), ("unknown", unknown))
    }
    top = np.ceil(10 * max(map(np.max, shares.values()))) / 10
    chart = Chart(
        "Texts of unknown topics: every prediction is wrong",
        "error probability that the head gives",
        "share of the texts",
        y_end=top,
        y_ticks=tuple(np.arange(0, top + 0.05, 0.1 if top < 0.6 else 0.2)),
    )
    for start, first, second in zip(edges, shares["known"], shares["unknown"], strict=False):
        chart.bar(start + 0.01, start + 0.048, first, BLUE)
        chart.bar(start + 0.052, start + 0.09, second, ORANGE)
    chart.text(0.3, 0.9 * top, f"known topics: {100 * errors.mean():.0f}% of the predictions are wrong", BLUE)
    chart.text(0.3, 0.82 * top, "unknown topics: 100% of the predictions are wrong", ORANGE)
    chart.save(folder / "unknown-topics.svg")
    print(f"known topics: mean error probability {100 * known.mean():.0f}%, {100 * errors.mean():.0f}% wrong")
    print(
        f"unknown topics: mean {100 * unknown.mean():.0f}%, "
        f"below 10% for {100 * (unknown < 0.1).mean():.0f}% of the texts"
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = shuffled()
    known = [row for row in rows if row[1] not in UNKNOWN]
    train, held_out, new = (known[start:end] for start, end in pairwise(np.cumsum([0, TRAIN, HELD_OUT, NEW])))
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, min_df=2), LogisticRegression(C=10))
    model.fit(*zip(*train, strict=True))
    classifier = UncertainClassifier.from_outputs(list(model.classes_))
    print(classifier.fit(outputs(model, held_out)).summary)

    def predict(part) -> Predictions:
        return classifier.predict({name: values for name, values in outputs(model, part).items() if name != "label"})

    predictions = predict(new)
    errors = (predictions.labels != np.array([topic for _, topic in new])).astype(float)
    softmax = 1 - predictions.probabilities.max(1)
    units = SelectionUnits(predictions.uncertainty, errors, predictions.labels)
    draw_risk_coverage(units, softmax, classifier, folder)
    draw_reliability(errors, softmax, predictions.error_probability, folder)
    draw_certified_coverage(units, classifier, folder)
    unknown = predict([row for row in rows if row[1] in UNKNOWN])
    draw_unknown_topics(predictions.error_probability, errors, unknown.error_probability, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "assets"))
