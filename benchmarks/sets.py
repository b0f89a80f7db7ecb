"""Measure over many draws how often prediction sets contain the right class, and how large they are.

    python benchmarks/sets.py [--draws 2000] [--texts 1000] [--alpha .1]
    python benchmarks/sets.py --model MODEL --head HEAD --data 20newsgroups:test [--rows 4000]

Each population is a pool of predictions with known classes: simulated ones, or those of a classifier for labeled texts
that neither the classifier nor the head was fitted on. Labeled predictions are drawn from it with replacement, so
that the coverage of their sets is known without error.

Prints one table, with means over the draws: the share of
predictions whose set has the right class, this share for the worst true class, the number of classes in a set, and the
share of sets with one class.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aligned_entropy.selective import (
    Goal,
    Rule,
    SelectionUnits,
    SetGoal,
    choose_sets,
    choose_threshold,
    class_probabilities,
    set_scores,
)

POOL = 5_000
SIZED = 500  # predictions of the pool whose sets are counted


@dataclass(frozen=True)
class Pool:
    """Predictions of a population: logits [N, C], predicted and true classes [N], error probability [N]."""

    logits: NDArray[np.float64]
    classes: NDArray[np.int64]
    labels: NDArray[np.int64]
    error: NDArray[np.float64]


def calibrated(rng: np.random.Generator) -> Pool:
    """Ten classes; the softmax is the true distribution, and the error probability is exact."""
    logits = 4 * rng.standard_normal((POOL, 10))
    return _pool(rng, logits, logits)


def overconfident(rng: np.random.Generator) -> Pool:
    """Ten classes; logits three times too large, and an error probability that believes them."""
    logits = 3 * rng.standard_normal((POOL, 10))
    return _pool(rng, 3 * logits, logits)


def misleading(rng: np.random.Generator) -> Pool:
    """Ten classes; wrong predictions have the lowest error probability, and the true class the lowest softmax."""
    pool = calibrated(rng)
    is_wrong, logits = pool.labels != pool.classes, pool.logits.copy()
    logits[is_wrong, pool.labels[is_wrong]] = logits.min() - 1
    return Pool(logits, pool.classes, pool.labels, np.where(is_wrong, 0.1, 0.9) * rng.random(POOL))


def ties(rng: np.random.Generator) -> Pool:
    """Four classes; logits and error probability are rounded, so that many scores are equal."""
    logits = np.round(1.5 * rng.standard_normal((POOL, 4)))
    pool = _pool(rng, logits, logits)
    return Pool(logits, pool.classes, pool.labels, np.round(pool.error, 1))


def two_classes(rng: np.random.Generator) -> Pool:
    """Two classes."""
    logits = 2 * rng.standard_normal((POOL, 2))
    return _pool(rng, logits, logits)


def noise(rng: np.random.Generator) -> Pool:
    """Ten classes; the error probability is noise, and every choice of a threshold follows chance alone."""
    labels = rng.integers(0, 10, POOL)
    classes = np.where(rng.random(POOL) < 0.2, rng.integers(0, 10, POOL), labels)
    logits = rng.standard_normal((POOL, 10))
    logits[np.arange(POOL), classes] += 6
    return Pool(logits, classes, labels, rng.random(POOL))


def many_classes(rng: np.random.Generator) -> Pool:
    """Sixty classes of unequal frequency, a third of them hard; the softmax ignores both."""
    share = np.linspace(1, 4, 60)
    labels = rng.choice(60, POOL, p=share / share.sum())
    logits = rng.standard_normal((POOL, 60))
    logits[np.arange(POOL), labels] += np.where(labels % 3 == 0, 2.0, 5.0)
    return _with_labels(logits, labels)


POPULATIONS: tuple[Callable[[np.random.Generator], Pool], ...] = (
    calibrated, overconfident, misleading, noise, ties, two_classes,
)  # fmt: skip
# Goals of the rule that defers: coverage alone, or a goal that reads the errors of the labeled predictions.
GOALS = {
    "coverage": Goal(coverage=0.7), "risk": Goal(risk=0.15), "risk, sgr": Goal(risk=0.15, method="sgr"),
    "costs": Goal(error_cost=5, deferral_cost=1),
}  # fmt: skip


def _pool(rng: np.random.Generator, logits: NDArray[np.float64], true_logits: NDArray[np.float64]) -> Pool:
    gumbel = rng.gumbel(size=true_logits.shape)
    return _with_labels(logits, np.argmax(true_logits + gumbel, axis=1))


def _with_labels(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Pool:
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    return Pool(logits, logits.argmax(1), labels, 1 - softmax.max(1))


@dataclass(frozen=True)
class Case:
    """Way to choose sets.

    Attributes:
        goal: goal of the sets.
        texts: number of labeled predictions.
        words: description of the predictions that have a set.
        rule: fixed rule that defers; a goal to choose the rule on the same labeled predictions; None for no rule.
    """

    goal: SetGoal
    texts: int
    words: str = "all"
    rule: Rule | Goal | None = None


def measure(pool: Pool, case: Case, draws: int) -> list[str]:
    """Draw labeled predictions, choose sets and measure these on the pool: the cells of a row."""
    rng, goal, rows = np.random.default_rng(1), case.goal, np.arange(len(pool.labels))
    scores = set_scores(class_probabilities(pool.logits, pool.classes, pool.error), pool.classes, goal.method)
    true_scores, names = scores[rows, pool.labels], [str(index) for index in range(scores.shape[1])]
    units = _units(pool)
    fixed = ~case.rule.accepts(units.uncertainty, units.labels) if isinstance(case.rule, Rule) else None
    covered, by_class, by_cluster, sizes = [], [], [], []
    for _ in range(draws):
        drawn, deferred = rng.integers(0, len(rows), case.texts), fixed
        if isinstance(case.rule, Goal):
            rule = choose_threshold(units[drawn], case.rule)
            deferred = ~rule.accepts(units.uncertainty, units.labels)
            if not deferred.any():
                continue  # nothing has a set
        of_drawn = None if deferred is None else deferred[drawn]
        sets = choose_sets(scores[drawn], pool.labels[drawn], names, goal, of_drawn)
        parts = [[int(label) for label in row.classes or names] for row in sets.thresholds]
        limits = np.empty(len(names))
        for row, part in zip(sets.thresholds, parts, strict=True):
            limits[part] = row.value
        group = rows if deferred is None else np.flatnonzero(deferred)
        labels, member = pool.labels[group], true_scores[group] <= limits[pool.labels[group]]
        covered.append(member.mean())
        counts = np.bincount(labels, minlength=len(names))
        right = np.bincount(labels[member], minlength=len(names))
        by_class.append(np.where(counts > 0, right / np.maximum(counts, 1), np.nan))
        by_cluster.append(np.mean([right[part].sum() / counts[part].sum() for part in parts if counts[part].sum()]))
        size = (scores[group[:SIZED]] <= limits).sum(1)
        sizes.append((size.mean(), (size == 1).mean()))
    per_class, errors = _means(np.array(by_class))
    worst = int(np.nanargmin(per_class))
    target, error = {
        "all": _means(np.array(covered)),
        "class": (per_class[worst], errors[worst]),
        "cluster": _means(np.array(by_cluster)),
    }[goal.guarantee]
    size, single = np.mean(sizes, axis=0)
    return [
        goal.method, goal.guarantee, case.words, str(case.texts), str(len(covered)), f"{np.mean(covered):.4f}",
        f"{_means(np.array(covered))[1]:.4f}", f"{per_class[worst]:.3f}", f"{size:.2f}", f"{single:.1%}",
        "yes" if target >= 1 - goal.alpha - 3 * error else "no",
    ]  # fmt: skip


def _means(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means over the draws, with their standard errors."""
    counts = np.maximum((~np.isnan(values)).sum(0), 1)
    return np.nanmean(values, 0), np.nanstd(values, 0) / np.sqrt(counts)


def _units(pool: Pool) -> SelectionUnits:
    errors = (pool.labels != pool.classes).astype(np.float64)
    return SelectionUnits(pool.error.astype(np.float32), errors, pool.classes.astype(str))


def cases(pool: Pool, options: argparse.Namespace) -> list[Case]:
    """Cases for a population of few classes."""
    alpha, texts = options.alpha, options.texts
    fixed = choose_threshold(_units(pool), Goal(coverage=0.6))
    listed = []
    for method in ("lac", "aps"):
        listed.append(Case(SetGoal(alpha, method), texts))
        listed.append(Case(SetGoal(alpha, method), texts, "deferred by a fixed rule", fixed))
        listed.append(Case(SetGoal(alpha, method, "class"), texts))
    for number in (texts // 10, texts):
        listed += [
            Case(SetGoal(alpha), number, f"deferred, same texts: {words}", goal) for words, goal in GOALS.items()
        ]
    return listed


def predicted(options: argparse.Namespace) -> Pool:
    """Predictions of a classifier for a random part of labeled texts."""
    from aligned_entropy import UncertainClassifier, labeled_texts, load_data

    classifier = UncertainClassifier.from_pretrained(options.model, head=options.head)
    texts = labeled_texts(load_data(options.data), classifier.label_names)
    rows = np.random.default_rng(0).permutation(len(texts))[: options.rows]
    features = classifier.features(texts.select(np.sort(rows)))
    predictions = classifier.predict_features(features)
    error = np.asarray(predictions.single_error_probabilities, dtype=np.float64)
    return Pool(features.logits.astype(np.float64), features.predictions, features.labels, error)


def cases_of_classifier(options: argparse.Namespace) -> list[Case]:
    """Cases for the predictions of a classifier: all, and those that rules for a risk and a coverage defer."""
    return [
        Case(SetGoal(options.alpha, method, guarantee), options.texts, words, goal)
        for words, goal in (
            ("all", None),
            ("deferred, same texts: risk", Goal(risk=0.1)),
            ("deferred, same texts: coverage", Goal(coverage=0.7)),
        )
        for guarantee in ("all", "class", "cluster")
        for method in ("lac", "aps")
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument(
        "--texts", type=int, default=1000, help="number of labeled texts; twice as many for many classes"
    )
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--model", help="classifier to take predictions of, instead of simulated ones")
    parser.add_argument("--head", help="fitted head of the classifier")
    parser.add_argument("--data", default="20newsgroups:test", help="labeled texts for the classifier")
    parser.add_argument("--rows", type=int, default=4000, help="highest number of labeled texts for the classifier")
    options = parser.parse_args()
    heads = ["population", "method", "guarantee", "predictions with a set", "labeled", "draws"]
    heads += ["coverage", "± s.e.", "worst class", "size", "one class", "1 − alpha reached"]
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|")
    if options.model:
        pool = predicted(options)
        for case in cases_of_classifier(options):
            print(f"| {' | '.join([options.data, *measure(pool, case, options.draws)])} |", flush=True)
        return
    for population in (*POPULATIONS, many_classes):
        pool = population(np.random.default_rng(0))
        listed = cases(pool, options)
        if population is many_classes:
            listed = [
                Case(SetGoal(options.alpha, method, guarantee), 2 * options.texts)
                for method in ("lac", "aps")
                for guarantee in ("all", "class", "cluster")
            ]
        for case in listed:
            cells = measure(pool, case, options.draws)
            print(f"| {' | '.join([population.__name__.replace('_', ' '), *cells])} |", flush=True)


if __name__ == "__main__":
    main()
