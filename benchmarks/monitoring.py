"""False alarms and delays of the drift test, and coverage of the risk bounds, over many streams.

`python benchmarks/monitoring.py` simulates. `--real` uses heads of deployed.py and their test texts instead, and
`--refit` heads that are fitted on a part of these, so that labeled units and predictions are of one source.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import deployed
import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, ks_2samp, kstwobign

from aligned_entropy.accuracy.drift import Ranks, Wealth
from aligned_entropy.accuracy.risk_bound import (
    STAKES_AGAINST_HIGH_RISK,
    STAKES_AGAINST_LOW_RISK,
    risk_lower_bound,
    risk_upper_bound,
)

Array = NDArray[np.float64]
CHUNK = 500  # streams at a time
ALARM = 1000.0
WINDOW, STEP = 1000, 100  # of the repeated Kolmogorov–Smirnov test
LATE, AFTER = 3000, 3000  # predictions before a late change, and after a change
Change = Callable[[Array, np.random.Generator], Array]

CHANGES: dict[str, Change] = {
    "0.2 sd higher": lambda z, rng: z + 0.2,
    "0.5 sd higher": lambda z, rng: z + 0.5,
    "1 sd higher": lambda z, rng: z + 1.0,
    "0.5 sd lower": lambda z, rng: z - 0.5,
    "spread × 1.5": lambda z, rng: 1.5 * z,
    "one in ten 4 sd higher": lambda z, rng: z + 4 * (rng.random(z.shape) < 0.1),
    "slowly 1 sd higher": lambda z, rng: z + np.linspace(0, 1, z.shape[1]),
}


def uncertainty(z: Array, levels: int | None = None) -> Array:
    """Uncertainties whose log-odds are 2 (z - 1), rounded to a number of levels or not."""
    values = 1 / (1 + np.exp(2 - 2 * z))
    return values if levels is None else np.round(values * (levels - 1)) / (levels - 1)


def evidence(values: Array, labeled: int, rng: np.random.Generator) -> Iterator[Array]:
    """Highest evidence of all streams after each prediction."""
    ranks, wealth = Ranks(values[:, :labeled], rng), Wealth(len(values))
    for column in values[:, labeled:].T:
        wealth.add(ranks.add(column))
        yield wealth.highest


def first_alarm(values: Array, labeled: int, rng: np.random.Generator) -> Array:
    """Number of predictions until the evidence reaches 1,000; infinite if it does not."""
    alarm = np.full(len(values), np.inf)
    for number, highest in enumerate(evidence(values, labeled, rng), 1):
        alarm[(highest >= ALARM) & np.isinf(alarm)] = number
    return alarm


def ks_p_values(values: Array, labeled: int, start: int = 0) -> Array:
    """p-values of the latest 1,000 predictions against the labeled units, at every 100th prediction after ``start``."""
    reference, columns = values[:, :labeled], []
    for end in range(start + STEP, values.shape[1] - labeled + 1, STEP):
        latest = values[:, labeled + max(0, end - WINDOW) : labeled + end]
        both = np.concatenate([reference, latest], axis=1)
        order = both.argsort(axis=1)
        steps = np.where(order < labeled, 1 / labeled, -1 / latest.shape[1]).cumsum(1)
        size = labeled * latest.shape[1] / (labeled + latest.shape[1])
        columns.append(kstwobign.sf(np.abs(steps).max(1) * np.sqrt(size)))
    return np.array(columns).T


def false_alarms(streams: int, rng: np.random.Generator) -> None:
    print(f"\nShare of {streams:,} streams without a change whose evidence ever reached a limit, in %:\n")
    print(
        "| labeled | uncertainty | predictions | 20 (promised: 5) | 100 (1) | 1,000 (.1) |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    for labeled in (0, 200, 900):
        for levels in (None, 5):
            lengths = (1000, 10_000) if labeled == 900 and levels is None else (1000,)
            alarms: dict[int, list[Array]] = {length: [] for length in lengths}
            for _ in range(0, streams, CHUNK):
                values = uncertainty(rng.normal(size=(CHUNK, labeled + max(lengths))), levels)
                for number, highest in enumerate(evidence(values, labeled, rng), 1):
                    if number in alarms:
                        alarms[number].append(highest.copy())
            for length, chunks in alarms.items():
                shares = [100 * np.mean(np.concatenate(chunks) >= limit) for limit in (20, 100, 1000)]
                kind = "continuous" if levels is None else f"{levels} levels"
                print(
                    f"| {labeled} | {kind} | {length:,} | " + " | ".join(f"{share:.2f}" for share in shares) + " |",
                    flush=True,
                )


def ks_limits(labeled: int, streams: int, rng: np.random.Generator) -> dict[int, float]:
    """p-value that one stream in 1,000 without a change falls below within the length of a simulation, by its start."""
    lowest: dict[int, list[Array]] = {0: [], LATE: []}
    for _ in range(0, streams, CHUNK):
        values = uncertainty(rng.normal(size=(CHUNK, labeled + LATE + AFTER)))
        p = ks_p_values(values, labeled)
        lowest[0].append(p[:, : AFTER // STEP].min(1))
        lowest[LATE].append(p.min(1))
    everything = {start: np.concatenate(chunks) for start, chunks in lowest.items()}
    for start, values in everything.items():
        print(
            f"\nOf {streams:,} streams without a change, {100 * np.mean(values < 0.001):.1f}% had a repeated KS p "
            f"below .001 within {start + AFTER:,} predictions ({labeled} labeled, looked at every {STEP})."
        )
    return {start: float(np.quantile(values, 0.001)) for start, values in everything.items()}


def delays(streams: int, rng: np.random.Generator) -> None:
    rows = []
    for labeled in (200, 900):
        limits = ks_limits(labeled, 10 * streams, rng)
        for start in (0, LATE):
            for name, change in CHANGES.items():
                z = rng.normal(size=(streams, labeled + start + AFTER))
                z[:, labeled + start :] = change(z[:, labeled + start :], rng)
                values = uncertainty(z)
                alarm = first_alarm(values, labeled, rng) - start
                p = ks_p_values(values, labeled, start)
                hits = [p < 0.001, p < limits[start]]
                repeated = [np.where(hit.any(1), STEP * (hit.argmax(1) + 1.0), np.inf) for hit in hits]
                cells = [_delay(delay[delay > 0]) for delay in (alarm, *repeated)]
                rows.append(f"| {labeled} | {start:,} | {name} | " + " | ".join(cells) + " |")
    print(f"\nMedian delay in predictions, and share of {streams} streams caught within {AFTER:,}:\n")
    print("| labeled | begins after | change | evidence ≥ 1,000 | KS p < .001 | KS, one false alarm in 1,000 |")
    print("|---:|---:|---|---:|---:|---:|")
    print("\n".join(rows))


def _delay(values: Array) -> str:
    median, caught = float(np.median(values)), 100 * np.isfinite(values).mean()
    return f"{'–' if np.isinf(median) else f'{median:,.0f}'} ({caught:.0f}%)"


def risk_bounds(streams: int, rng: np.random.Generator) -> None:
    print(f"\nShare of {streams:,} streams of 1,000 labels in which a 95% bound of the risk ever failed, in %:\n")
    print("| risk | inclusion | upper | lower |\n|---:|---|---:|---:|")
    for risks, inclusion in [
        ((0.01, 0.01), (1, 1)),
        ((0.1, 0.1), (1, 1)),
        ((0.01, 0.2), (0.05, 1)),
        ((0.05, 0.3), (0.2, 1)),
    ]:
        risk, failed = 0.9 * risks[0] + 0.1 * risks[1], np.zeros(2)
        share = 0.1 * inclusion[1] / (0.9 * inclusion[0] + 0.1 * inclusion[1])
        for _ in range(0, streams, CHUNK):
            kind = (rng.random((CHUNK, 1000)) < share).astype(int)
            e, w = (
                (rng.random(kind.shape) < np.array(risks)[kind]).astype(float),
                inclusion[0] / np.array(inclusion)[kind],
            )
            failed[0] += (_highest(e, w, risk, STAKES_AGAINST_HIGH_RISK) >= 20).sum()
            failed[1] += (_highest(1 - e, w, 1 - risk, STAKES_AGAINST_LOW_RISK) >= 20).sum()
        high, low = 100 * failed / streams
        name = "the same for all" if inclusion[0] == inclusion[1] else f"{inclusion[0]} and {inclusion[1]}"
        print(f"| {risk:.3f} | {name} | {high:.2f} | {low:.2f} |", flush=True)
    print("\nBounds at all times, and Clopper and Pearson's for one time:\n")
    print("| errors | labels | lower | upper | lower, one time | upper, one time |\n|---:|---:|---:|---:|---:|---:|")
    for errors, labels in [(0, 200), (3, 300), (10, 1000), (100, 10_000)]:
        e = (np.arange(labels) < errors).astype(float)
        bounds = [risk_lower_bound(e, np.ones(labels)), risk_upper_bound(e, np.ones(labels))]
        bounds += [
            beta.ppf(0.05, errors, labels - errors + 1) if errors else 0,
            beta.ppf(0.95, errors + 1, labels - errors),
        ]
        print(f"| {errors} | {labels:,} | " + " | ".join(f"{bound:.4f}" for bound in bounds) + " |")


def _highest(errors: Array, weights: Array, risk: float, stakes: Array) -> Array:
    """Highest capital of gamblers against a risk of at least this one, label by label."""
    capital = np.zeros(errors.shape)
    for stake in stakes:
        capital += np.cumprod(1 + stake * weights * (risk - errors) / (1 - risk), axis=1)
    return np.asarray(capital.max(1) / len(stakes))


def real(runs: str, names: list[str], streams: int, rng: np.random.Generator) -> None:
    """Test texts in random order, after 900 others as labeled units or after those of the fit; then shifted texts."""
    print("\nReal uncertainties: 900 labeled test texts, then the other test texts, then texts of another data set:\n")
    print("| data | labeled units | predictions | median evidence | ≥ 1,000, % | shifted texts: median delay |")
    print("|---|---|---:|---:|---:|---:|")
    base: tuple[Array, Array] | None = None
    for case in deployed.cases(runs, names):
        if case.classifier.task.per_word:
            continue
        values = case.classifier.predict_features(case.test).uncertainty.astype(np.float64)
        units = case.classifier.saved.selection_units
        assert units is not None, "the head was fitted"
        if not case.is_shifted:
            base = values, units.uncertainty.astype(np.float64)
        assert base is not None, "the test split of the same data set comes first"
        for kind in ("held out", "out of fold"):
            order = np.array([rng.permutation(base[0]) for _ in range(streams)])
            size = min(900, len(base[0]) // 2)
            labeled = order[:, :size] if kind == "held out" else np.tile(base[1], (streams, 1))
            same = order[:, size:]
            after = (
                np.array([rng.permutation(values)[:2000] for _ in range(streams)]) if case.is_shifted else same[:, :0]
            )
            rows = np.concatenate([labeled, same, after], axis=1)
            at_end = [
                highest.copy() for highest in evidence(rows[:, : -after.shape[1] or None], labeled.shape[1], rng)
            ][-1]
            delay = "–"
            if case.is_shifted:
                alarm = first_alarm(rows, labeled.shape[1], rng) - same.shape[1]
                delay = _delay(alarm[alarm > 0])
            print(
                f"| {case.name} | {labeled.shape[1]} {kind} | {same.shape[1]:,} | {np.median(at_end):.1f} | "
                f"{100 * np.mean(at_end >= ALARM):.1f} | {delay} |",
                flush=True,
            )


def refit(runs: str, names: list[str], streams: int, rng: np.random.Generator) -> None:
    """Fit heads on some test texts, and compare the other ones with the units of the fit, out of fold."""
    print("\nLabeled units of a fit, out of fold, and predictions for other texts of the same split:\n")
    print("| data | labeled units | predictions | median evidence | highest of all orders | KS p |")
    print("|---|---:|---:|---:|---:|---:|")
    for case in deployed.cases(runs, names):
        if case.classifier.task.per_word or case.is_shifted:
            continue
        for _ in range(2):
            order = rng.permutation(len(case.test))
            size = min(900, len(order) // 2)
            case.classifier.fit_features(case.test[order[:size].tolist()])
            units = case.classifier.saved.selection_units
            assert units is not None, "the head was fitted"
            rest = case.classifier.predict_features(case.test[order[size:].tolist()]).uncertainty.astype(np.float64)
            values = np.array([np.concatenate([units.uncertainty, rng.permutation(rest)]) for _ in range(streams)])
            highest = [step.copy() for step in evidence(values, size, rng)][-1]
            print(
                f"| {case.name} | {size} | {len(rest):,} | {np.median(highest):.1f} | {highest.max():.0f} | "
                f"{ks_2samp(units.uncertainty, rest).pvalue:.2f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="streams of real uncertainties")
    parser.add_argument("--refit", action="store_true", help="labeled units of fits on a part of the test texts")
    parser.add_argument("--streams", type=int, default=10_000, help="simulated streams without a change")
    deployed.add_options(parser)
    options, rng = parser.parse_args(), np.random.default_rng(0)
    if options.refit:
        refit(options.runs, options.only, 200, rng)
    elif options.real:
        real(options.runs, options.only, 200, rng)
    else:
        false_alarms(options.streams, rng)
        risk_bounds(options.streams, rng)
        delays(options.streams // 50, rng)


if __name__ == "__main__":
    main()
