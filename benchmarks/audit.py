"""Measure how many labels an audit needs, against random sampling, and how often its intervals hold.

    python benchmarks/audit.py --simulate [--draws 2000] [--rows 3000]
    python benchmarks/audit.py [--only sst2 20newsgroups] [--draws 2000] [--runs FOLDER]

The first command simulates heads of every quality: calibrated, overconfident, with error probabilities that are too low
or too high, with one value for all, unrelated to the errors, reversed, sure of many wrong predictions, and with errors
exactly where none is expected. It prints for each number of labels how often the interval held, for the worst error
rate, and its width as a multiple of that of random sampling (Wilson's interval with the correction for finite
populations). If ppi-python is installed, the coverage of its normal interval for the same labels is in the table, too.

The second command takes the classifiers of deployed.py and every score of the package. A score becomes an error
probability by its Platt map, which is fitted on the calibration set; that of the head is its own. The table has the
labels that give a half-width of two points, against random sampling, the number of labels drawn at random that 300
labels of the audit are worth, and the coverage with 50 and 300 labels. Scores that need dropout passes, hidden states
of all layers, other models or another prompt are left out, and so is the head with a reference, which needs all
training texts. Density scores are fitted on 2,000 training texts, drawn at random.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from deployed import DEPLOYMENTS, Case, cases
from numpy.typing import NDArray

from aligned_entropy.accuracy.audit import LEAST_ROWS, AuditSample, select_for_audit
from aligned_entropy.accuracy.audit_interval import audited_error_rate
from aligned_entropy.accuracy.audited import random_labels
from aligned_entropy.bench.runs import split_texts
from aligned_entropy.errors import CalibrationError, NotApplicableError
from aligned_entropy.evaluation.fitted_scores import fit_score
from aligned_entropy.evaluation.grouped import group_values
from aligned_entropy.features.arrays import Features
from aligned_entropy.scores import HEAD, SCORES, make_score
from aligned_entropy.stats import Interval

Array = NDArray[np.float64]
BUDGETS, HALF_WIDTH = (50, 100, 200, 300), 0.02
RATES = (0.003, 0.01, 0.03, 0.1, 0.25, 0.5)
POPULATIONS = 2
TRAINING_TEXTS = 2000
WIDTH_DRAWS = 40  # draws whose widths are averaged
LEFT_OUT = ("MC dropout", "deep ensemble", "contextual calibration", "attention probe", "aligned entropy + reference")


@dataclass(frozen=True)
class Population:
    """Predictions with known errors: error probability [N] by a head, and errors [N]."""

    q: Array
    errors: Array

    def audits(self, budget: int, draws: int) -> Iterator[Interval]:
        for sample in self.samples(budget, draws):
            yield audited_error_rate(self.q, sample, self.errors[sample.rows], np.ones(len(self.q), dtype=np.bool_))

    def samples(self, budget: int, draws: int) -> Iterator[AuditSample]:
        """Samples of one division into cells, whose drawing is repeated."""
        first = select_for_audit(self.q, budget)
        if budget * LEAST_ROWS > len(self.q):
            yield from (select_for_audit(self.q, budget, seed=seed) for seed in range(draws))
            return
        order = np.argsort(first.cell, kind="stable")
        starts = np.searchsorted(first.cell[order], np.arange(budget + 1))
        ends, rng = np.cumsum(first.inclusion[order]), np.random.default_rng(budget)
        for _ in range(draws):
            place = np.searchsorted(ends, np.arange(budget) + rng.random(budget))
            rows = order[np.clip(place, starts[:-1], starts[1:] - 1)]
            yield AuditSample(np.sort(rows), first.inclusion, first.cell)

    def half_width(self, budget: int, draws: int = WIDTH_DRAWS) -> float:
        return float(np.mean([interval.high - interval.low for interval in self.audits(budget, draws)])) / 2

    def coverage(self, budget: int, draws: int) -> float:
        """Share of draws whose interval holds the error rate of these rows, in percent."""
        rate = self.errors.mean()
        return 100 * float(np.mean([holds(interval, rate) for interval in self.audits(budget, draws)]))

    def labels_needed(self) -> int:
        """Labels with which the mean half-width is two points."""
        few, enough, labels = 2, len(self.q), self.random_labels_needed
        while enough - few > max(1, few // 100):
            width = self.half_width(labels)
            few, enough = (labels, enough) if width > HALF_WIDTH else (few, labels)
            guess = round(labels * (width / HALF_WIDTH) ** 2 * (1.01 if width > HALF_WIDTH else 0.99))
            labels = guess if few < guess < enough else (few + enough) // 2
        return enough

    @property
    def random_labels_needed(self) -> int:
        return random_labels(float(self.errors.mean()), HALF_WIDTH, len(self.q))


def holds(interval: Interval, rate: float) -> bool:
    return interval.low - 1e-9 <= rate <= interval.high + 1e-9


def random_half_width(rate: float, budget: int, rows: int) -> float:
    """Half-width of Wilson's interval for labels drawn at random, see ``random_labels``."""
    size = budget * (rows - 1) / (rows - budget)
    return float(1.96 / (1 + 1.96**2 / size) * np.sqrt(rate * (1 - rate) / size + (1.96 / (2 * size)) ** 2))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def heads(rate: float, rng: np.random.Generator, rows: int) -> dict[str, Population]:
    """Heads of every quality, for predictions of which a share ``rate`` is wrong."""
    from scipy.optimize import brentq

    z = 1.5 * rng.standard_normal(rows)
    shift = brentq(lambda shift: float(sigmoid(z + shift).mean()) - rate, -30, 30)
    logits, chance = z + shift, rng.random(rows)
    true = sigmoid(logits)
    errors = (chance < true).astype(np.float64)
    count = max(round(rate * rows), 1)
    adversary, half = np.zeros(rows), (chance < true / 2).astype(np.float64)
    adversary[np.argsort(true)[:count]] = 1
    half[np.argsort(true)[: max(count // 2, 1)]] = 1
    sure = np.where(true > np.quantile(true, 1 - rate), 0.99, 0.01)
    return {
        "calibrated": Population(true, errors),
        "overconfident": Population(sigmoid(2.5 * logits), errors),
        "too low": Population(sigmoid(logits - 2), errors),
        "too high": Population(sigmoid(logits + 2), errors),
        "too flat": Population(sigmoid(0.3 * logits), errors),
        "one value": Population(np.full(rows, 0.3), errors),
        "always 0": Population(np.full(rows, 1e-6), errors),
        "unrelated": Population(rng.permutation(true), errors),
        "reversed": Population(sigmoid(-logits), errors),
        "sure, mostly wrong": Population(sure, errors),
        "sure at random": Population(np.where(rng.random(rows) < 0.1, 0.995, 0.005), errors),
        "errors where none is expected": Population(true, adversary),
        "half of the errors there": Population(true, half),
    }


def ppi_coverage(population: Population, budget: int, draws: int) -> float:
    """Coverage of the interval of ppi-python for the same labels, in percent; NaN if it is not installed."""
    try:
        from ppi_py import ppi_mean_ci
    except ImportError:
        return float("nan")
    q, errors, hits = population.q, population.errors, []
    for sample in population.samples(budget, draws):
        weights = 1 / sample.inclusion_of_rows
        interval = ppi_mean_ci(
            errors[sample.rows], q[sample.rows], q, alpha=0.05, lam=1, w=weights / weights.sum() * len(weights)
        )
        low, high = (float(np.squeeze(bound)) for bound in interval)
        hits.append(holds(Interval(0.0, low, high), errors.mean()))
    return 100 * float(np.mean(hits))


def simulate(options: argparse.Namespace) -> Iterator[list[str]]:
    names = list(heads(0.1, np.random.default_rng(0), options.rows))
    for name in names:
        for budget in BUDGETS:
            coverage, width, ppi = [], [], []
            for rate in RATES:
                for seed in range(POPULATIONS):
                    population = heads(rate, np.random.default_rng([seed, round(1000 * rate)]), options.rows)[name]
                    coverage.append(population.coverage(budget, options.draws))
                    if rate >= 0.1:
                        plain = random_half_width(float(population.errors.mean()), budget, options.rows)
                        width.append(population.half_width(budget) / plain)
                    ppi.append(ppi_coverage(population, budget, min(options.draws, 500)))
            cells = [f"{min(coverage):.1f}", f"{np.mean(coverage):.1f}", f"{np.mean(width):.2f}"]
            yield [name, str(budget), *cells, "–" if np.isnan(ppi).any() else f"{min(ppi):.1f}"]


def weights(case: Case) -> Iterator[tuple[str, Population]]:
    """Every score of the package as the error probability of the texts of a case, and the head as it is deployed."""
    classifier, calibration, test, training = case.classifier, case.calibration, case.test, training_of(case)
    groups, others = (classifier.groups(part).get("sentences") for part in (test, calibration))
    errors = test.errors if groups is None else groups.errors
    if groups is None:
        q = np.asarray(classifier.predict_features(case.test).error_probability, dtype=np.float64)
        yield f"**{HEAD}, deployed**", Population(q, errors)
    module = classifier.backbone.copy_classification_module()
    for name in SCORES:
        if name.startswith(LEFT_OUT):
            continue
        try:
            values = fit_score(make_score(name, module, 0), training, calibration).values(test)
        except (NotApplicableError, CalibrationError) as error:
            print(f"({case.name}: {name} is left out: {error})", file=sys.stderr, flush=True)
            continue
        if groups is not None:
            (values,) = group_values({name: values}, groups, others, ["max"]).values()
        if values.maps is not None:
            yield name, Population(values.maps.probabilities(values.uncertainty)["platt"], errors)


def training_of(case: Case) -> Features:
    """Features of some training texts, for density scores."""
    data = next(data for _, data in DEPLOYMENTS if case.name.split(" ")[0] == data.name)
    names = None if case.classifier.task.per_word else case.classifier.label_names
    texts = split_texts(data, 0, names)["train"]
    rows = np.sort(np.random.default_rng(0).permutation(len(texts))[:TRAINING_TEXTS])
    return case.classifier.features(texts.select(rows))


def measure(options: argparse.Namespace) -> Iterator[list[str]]:
    for data in options.only or [data.name for _, data in DEPLOYMENTS]:
        try:
            case = next(cases(options.runs, [data]))  # the texts of the same data set
        except CalibrationError as error:
            print(f"({data} is left out: {error})", file=sys.stderr, flush=True)
            continue
        for name, population in weights(case):
            rate = float(population.errors.mean())
            plain, needed = population.random_labels_needed, population.labels_needed()
            budgets = [budget for budget in BUDGETS if name.startswith("**") or budget in (50, 300)]
            coverage = {budget: population.coverage(budget, options.draws) for budget in budgets}
            worth = random_labels(rate, population.half_width(300), len(population.q))
            classes = len(case.classifier.label_names)
            facts = [case.name, str(classes), f"{len(population.q):,}", f"{100 * rate:.1f}", name]
            labels = [str(plain), str(needed), f"{needed / plain:.2f}", str(worth)]
            yield facts + labels + [f"{coverage[50]:.1f}", f"{coverage[300]:.1f}", f"{min(coverage.values()):.1f}"]


def print_table(header: list[str], rows: Iterator[list[str]]) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="simulated heads in place of classifiers")
    parser.add_argument("--draws", type=int, default=2000, help="draws of every coverage")
    parser.add_argument("--rows", type=int, default=3000, help="rows of a simulated population")
    parser.add_argument("--runs", type=Path, default=Path(__file__).parent / "runs", help="folder of classifiers")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="data sets of the classifiers")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.simulate:
        header = ["head", "labels", "coverage, worst", "coverage, mean", "width", "ppi-python, worst"]
        print_table(header, simulate(options))
    else:
        header = ["data", "classes", "texts", "errors, %", "score", "labels at random", "labels", "ratio"]
        print_table([*header, "300 are worth", "coverage 50", "coverage 300", "lowest coverage"], measure(options))


if __name__ == "__main__":
    main()
