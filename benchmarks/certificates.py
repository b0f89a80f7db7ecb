"""Measure the certified share of predictions and how often its guarantee is broken, on populations with known risk.

    python benchmarks/certificates.py [--draws 2000] [--pilot 1000] [--grid CONFIG]

The first table compares sequences of tests without a pilot and with one with a clairvoyant, who
accepts the highest share whose true risk is at most the target, and with the risk control of MAPIE on the same scores,
if it is installed: its default, and split fixed-sequence testing that learns on the same pilot. The second table holds
populations and pilots that are as bad as possible for the guarantee. Shares are means over draws, in percent; *broken*
is the share of the draws in which the true risk of the chosen threshold is above the target. It must not exceed 5%.

With ``--grid``, such as ``benchmarks/configs/text_classification.yaml``, the populations of the first table are the
test texts of the grid's MiniLM classifiers, one for each data set, in the order of the default head with its reference,
read from the stored results. Draws are rows with replacement.
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from aligned_entropy.bench.grid import Grid
from aligned_entropy.selective import ALL_CLASSES, Goal, SelectionUnits, choose_threshold

RISKS, SIZES, DELTA = (0.01, 0.02, 0.05, 0.1), (300, 750, 2000), 0.05
CLASSIFIERS = ((0.1, 0.8), (0.2, 0.83), (0.25, 0.9))  # error rate, ROC-AUC
GRID = 20_000  # predictions of a simulated population
MAPIE_PILOTS = 8  # pilots that the draws for MAPIE share, because it learns slowly


@dataclass(frozen=True)
class Population:
    """Equally probable predictions, from the lowest uncertainty to the highest.

    Attributes:
        uncertainty: uncertainty of each, ``[J]``.
        risk: probability that each is wrong, ``[J]``.
    """

    uncertainty: NDArray[np.float32]
    risk: NDArray[np.float64]

    def draw(self, rng: np.random.Generator, count: int) -> SelectionUnits:
        rows = rng.integers(0, len(self.risk), count)
        errors = rng.random(count) < self.risk[rows]
        return SelectionUnits(self.uncertainty[rows], errors.astype(np.float64), np.full(count, ""))

    def accepted(self, threshold: float) -> int:
        return int(np.searchsorted(self.uncertainty, np.float32(threshold), side="right"))

    def share(self, threshold: float) -> float:
        return self.accepted(threshold) / len(self.risk)

    def true_risk(self, threshold: float) -> float:
        accepted = self.accepted(threshold)
        return float(self.risk[:accepted].mean()) if accepted else 0.0

    def clairvoyant_share(self, target: float) -> float:
        ends = np.append(self.uncertainty[1:] != self.uncertainty[:-1], True)
        risks = np.cumsum(self.risk) / np.arange(1, len(self.risk) + 1)
        return float((np.flatnonzero(ends & (risks <= target)) + 1).max(initial=0)) / len(self.risk)


def classifier(error_rate: float, auc: float) -> Population:
    """Calibrated uncertainty whose log-odds are normal, with one variance, for errors and for correct predictions."""
    distance = np.sqrt(2) * norm.ppf(auc)
    fine = np.linspace(-8, 8 + distance, 200_000)
    share = error_rate * norm.cdf(fine - distance) + (1 - error_rate) * norm.cdf(fine)
    values = np.interp((np.arange(GRID) + 0.5) / GRID, share, fine)
    wrong, right = error_rate * norm.pdf(values - distance), (1 - error_rate) * norm.pdf(values)
    return Population((wrong / (wrong + right)).astype(np.float32), wrong / (wrong + right))


def curve(risk: Callable[[NDArray[np.float64]], NDArray[np.float64]], atoms: int = GRID) -> Population:
    """Risk as a function of the share of more certain predictions, with ``atoms`` distinct uncertainties."""
    shares = (np.arange(GRID) + 0.5) / GRID
    level = np.floor(shares * atoms) / atoms
    return Population(level.astype(np.float32), np.clip(risk(level if atoms < GRID else shares), 0, 1))


def test_texts(config: str) -> Iterator[tuple[str, Population]]:
    """Test texts of the classifiers of a grid, in the order of the default head with reference.

    A stored result has a hundred points of the risk-coverage curve; the texts between two of them get their mean risk.
    """
    measured = {}
    for result in Grid.read(Path(config)).stored_results():
        cell = result["cell"]
        is_head = cell["score"] == "aligned entropy + reference" and cell["model"]["name"] == "minilm"
        if is_head and "risk_coverage" in result:  # a set with fewer than ten errors has no result
            measured.setdefault(cell["data"]["name"], result)
    for name, result in measured.items():
        texts = result["examples"]["test"]
        coverage, risk = np.array(result["risk_coverage"])
        accepted = (coverage * texts).round().astype(int)
        between, errors = np.diff(accepted, prepend=0), np.diff(accepted * risk, prepend=0.0)
        shares = (np.arange(texts) + 0.5) / texts
        risks = np.repeat(np.clip(errors / between, 0, 1), between)
        yield f"{name}, {texts:,} texts", Population(shares.astype(np.float32), risks)


def adversaries(target: float) -> dict[str, Population]:
    """Populations whose risk is near the target, falls, waves or jumps where the tests are."""
    wave = 12 * np.pi
    return {
        "risk just above the target": curve(lambda q: np.full(q.shape, 1.001 * target)),
        "most certain are wrong": curve(lambda q: np.where(q < 0.3, 1.5 * target, 0.75 * target)),
        "waves around the target": curve(
            lambda q: target * (1.0005 + 0.02 * np.sin(wave * q) + 0.02 * wave * q * np.cos(wave * q))
        ),
        "ties at 8 values": curve(lambda q: target * (0.4 + 1.7 * q), atoms=8),
        "ties at 100 values, falling": curve(lambda q: target * (1.6 - 1.1 * q), atoms=100),
        "sudden errors": curve(lambda q: np.where(q < 0.5, 0.9 * target, 0.8)),
    }


def pilots(population: Population) -> dict[str, Population]:
    """Populations that a pilot may come from: the true one, and misleading ones."""
    return {
        "true": population,
        "reversed": replace(population, risk=population.risk[::-1]),
        "constant": replace(population, uncertainty=np.zeros_like(population.uncertainty)),
        "without errors": replace(population, risk=np.zeros_like(population.risk)),
        "twice as many errors": replace(population, risk=np.minimum(2 * population.risk, 1)),
    }


def simulate(
    population: Population, pilot: Population | None, size: int, target: float, options: argparse.Namespace
) -> tuple[float, float]:
    """Mean certified share, and share of the draws that break the guarantee, both in percent."""
    rng = np.random.default_rng([size, round(1e4 * target)])
    shares, broken = [], []
    for _ in range(options.draws):
        labeled = population.draw(rng, size)
        pilot_units = None if pilot is None else pilot.draw(rng, options.pilot)
        value = choose_threshold(labeled, Goal(risk=target, delta=DELTA), pilot_units).thresholds[ALL_CLASSES].value
        shares.append(population.share(value))
        broken.append(population.true_risk(value) > target * (1 + 1e-9))
    return 100 * float(np.mean(shares)), 100 * float(np.mean(broken))


def mapie_share(population: Population, size: int, target: float, method: str, options: argparse.Namespace) -> float:
    """Mean share that MAPIE's risk control accepts, in percent; its 100 thresholds are quantiles of the pilot."""
    from mapie.risk_control import BinaryClassificationController

    rng, shares = np.random.default_rng(0), []
    for _ in range(MAPIE_PILOTS):
        pilot = population.draw(rng, options.pilot)
        control = BinaryClassificationController(
            lambda u: np.stack([u, 1 - u], axis=1),
            "precision",
            1 - target,
            confidence_level=1 - DELTA,
            list_predict_params=np.unique(1 - np.quantile(pilot.uncertainty, np.linspace(0.01, 1, 100))),
            fwer_method=method,
        )
        if method == "split_fixed_sequence":
            control.learn_fixed_sequence_order(pilot.uncertainty, (pilot.errors == 0).astype(int), binary=True)
        for _ in range(max(1, min(options.draws, 200) // MAPIE_PILOTS)):
            labeled = population.draw(rng, size)
            control.calibrate(labeled.uncertainty, (labeled.errors == 0).astype(int))
            least = control.best_predict_param
            shares.append(0.0 if least is None else population.share(1 - float(least)))
    return 100 * float(np.mean(shares))


def comparison(populations: Iterable[tuple[str, Population]], options: argparse.Namespace) -> Iterator[list[str]]:
    columns: dict[tuple[float, int], list[list[float]]] = defaultdict(list)
    for name, population in populations:
        for target, size in product(RISKS, SIZES):
            before, broken_before = simulate(population, None, size, target, options)
            after, broken_after = simulate(population, population, size, target, options)
            shares = [before, after, 100 * population.clairvoyant_share(target)]
            methods = ("bonferroni_holm", "split_fixed_sequence")
            shares += [
                mapie_share(population, size, target, method, options) if options.mapie else np.nan
                for method in methods
            ]
            columns[target, size].append([*shares, broken_before, broken_after])
            yield cells(name, target, size, columns[target, size][-1])
    for (target, size), values in columns.items() if options.grid else ():
        yield cells("mean", target, size, np.mean(values, axis=0).tolist())


def cells(name: str, target: float, size: int, values: list[float]) -> list[str]:
    """Cells of a row; shares that were not measured are dashes."""
    before, after, *others = ("–" if np.isnan(value) else f"{value:.1f}" for value in values)
    return [name, f"{target:.0%}", f"{size:,}", before, f"**{after}**", *others]


def guarantee(options: argparse.Namespace) -> Iterator[list[str]]:
    cases = [(name, target, pilot) for target in (0.05, 0.1) for name in adversaries(target) for pilot in ("true",)]
    cases += [("classifier", 0.05, pilot) for pilot in pilots(classifier(*CLASSIFIERS[1]))]
    cases += [("sudden errors", 0.05, pilot) for pilot in pilots(classifier(*CLASSIFIERS[1])) if pilot != "true"]
    for name, target, pilot in cases:
        population = classifier(*CLASSIFIERS[1]) if name == "classifier" else adversaries(target)[name]
        results = [simulate(population, pilots(population)[pilot], size, target, options) for size in SIZES[:2]]
        yield [
            name,
            pilot,
            f"{target:.0%}",
            *(f"{share:.1f}" for share, _ in results),
            *(f"{b:.1f}" for _, b in results),
        ]


def print_table(header: list[str], rows: Iterator[list[str]]) -> None:
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="draws of every row")
    parser.add_argument("--pilot", type=int, default=1000, help="number of pilot predictions")
    parser.add_argument("--grid", help="YAML file of a grid whose test texts are the populations")
    parser.add_argument("--table", choices=["both", "shares", "guarantee"], default="both")
    options = parser.parse_args()
    if options.grid and options.table != "shares":
        parser.error("--grid needs --table shares: the populations of the second table are simulated.")
    warnings.filterwarnings("ignore")
    try:
        import mapie.risk_control  # noqa: F401

        options.mapie = True
    except ImportError:
        options.mapie = False
        print("MAPIE is not installed, so its columns are empty: pip install mapie, in an environment of its own.\n")
    simulated = ((f"{rate:.0%} errors, ROC-AUC {auc}", classifier(rate, auc)) for rate, auc in CLASSIFIERS)
    populations = test_texts(options.grid) if options.grid else simulated
    if options.table != "guarantee":
        header = ["population", "risk", "labeled", "without pilot", "with pilot", "clairvoyant"]
        header += ["MAPIE", "MAPIE, split", "broken without", "broken with"]
        print_table(header, comparison(populations, options))
    if options.table == "both":
        print()
    if options.table != "shares":
        header = [
            "population",
            "pilot",
            "risk",
            *(f"{kind} with {n}" for kind in ("share", "broken") for n in SIZES[:2]),
        ]
        print_table(header, guarantee(options))


if __name__ == "__main__":
    main()
