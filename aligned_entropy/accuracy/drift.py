"""Test for drift of the uncertainty that may be looked at after every prediction."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

Float = NDArray[np.float64]

BLOCKS, CELLS = 64, 64  # the log-odds of the uncertainty have 4096 cells, in 64 blocks
LOG_ODDS = 16.0  # beyond it, below and above zero, uncertainties are ties
HIGHEST = 1e12  # the test is stopped here: more evidence changes no decision
SHARE_AT_FIRST = 0.5  # capital that is bet from the first prediction on; the rest is for changes that begin later
SCALE = 100.0  # number of predictions after which half of the rest is bet

# Bets on p-values: sizes of the first two shifted Legendre polynomials, and powers of p and of 1 - p.
LINEAR = (-0.55, -0.25, -0.1, 0.1, 0.25, 0.55)
QUADRATIC = (-0.44, -0.25, -0.1, 0.1, 0.25, 0.6)
POWERS = (0.5, 0.75)
STEPS = 4096  # bets are constant on this many intervals of p-values


def _bets() -> Float:
    """Payoffs of K bets on each interval of p-values, ``[STEPS, K]``; each bet is a density, so that its mean is 1."""
    p = np.linspace(0, 1, STEPS + 1)
    distributions = [p + size * math.sqrt(3) * (p**2 - p) for size in LINEAR]
    distributions += [p + size * math.sqrt(5) * (2 * p**3 - 3 * p**2 + p) for size in QUADRATIC]
    distributions += [p**power for power in POWERS] + [1 - (1 - p) ** power for power in POWERS]
    return STEPS * np.diff(np.array(distributions)).T


BETS = _bets()


def unspent(predictions: int) -> float:
    """Share of the capital that is not staked after some number of predictions, for changes that begin later."""
    if not predictions:
        return 1.0
    return (1 - SHARE_AT_FIRST) / (1 + math.log1p((predictions - 1) / SCALE))


class Ranks:
    """Ranks of uncertainties among all that came before them, with random ties, in bounded memory.

    The *conformal p-value* of a value is the share of the values so far, itself included, that are lower; equal values
    count with a random weight. If all values are exchangeable, the p-values are independent and uniform on [0, 1].
    Values are rounded to 4096 cells of their log-odds.

    Source: Vovk, Nouretdinov and Gammerman, Testing exchangeability on-line, ICML 2003.

    Args:
        reference: values of the labeled units, ``[M]``; for several streams ``[S, M]``.
        rng: generator for the ties.
    """

    def __init__(self, reference: ArrayLike, rng: np.random.Generator) -> None:
        values = np.atleast_2d(np.asarray(reference, dtype=np.float64))
        self._rng, self._streams = rng, np.arange(len(values))
        counts = np.zeros((len(values), BLOCKS * CELLS), dtype=np.int64)
        np.add.at(counts, (self._streams[:, None], _cell(values)), 1)
        self._cells = counts.reshape(-1, BLOCKS, CELLS)
        self._blocks = self._cells.sum(2)
        self._total = values.shape[1]

    def add(self, values: Float) -> Float:
        """Add the next value of every stream ``[S]``; returns their p-values ``[S]``."""
        block, cell = np.divmod(_cell(values), CELLS)
        self._blocks[self._streams, block] += 1
        self._cells[self._streams, block, cell] += 1
        self._total += 1
        row = self._cells[self._streams, block]
        lower = np.where(np.arange(BLOCKS) < block[:, None], self._blocks, 0).sum(1)
        lower += np.where(np.arange(CELLS) < cell[:, None], row, 0).sum(1)
        ties = row[self._streams, cell]
        return np.asarray((lower + self._rng.random(len(ties)) * ties) / self._total)


def _cell(values: Float) -> NDArray[np.int64]:
    """Cell of the log-odds of values in [0, 1]."""
    with np.errstate(divide="ignore"):
        log_odds = np.log(values) - np.log1p(-values)
    scaled = (np.clip(log_odds, -LOG_ODDS, LOG_ODDS) + LOG_ODDS) * (BLOCKS * CELLS / (2 * LOG_ODDS))
    cells: NDArray[np.int64] = np.minimum(scaled.astype(np.int64), BLOCKS * CELLS - 1)
    return cells


class Wealth:
    """Capital of a gambler who bets against uniform p-values, and what it has been at most.

    Each of K bets has the same share of the capital. The first six favor p-values on one side, so they gain when the
    uncertainty falls or rises; the next six favor the middle or both ends, and the last four an excess of the lowest or
    the highest p-values. Half of the capital is staked at the first prediction, the rest in portions at all later ones,
    and every portion stays in the game. A change that begins after t predictions is therefore met with fresh capital,
    of which about 1 / (t log² t) is staked at each of them. If the p-values are independent and uniform, the capital is
    a martingale that begins at 1. The probability that it ever reaches 1/α is then at most α (Ville). The game ends at
    ``HIGHEST``.

    Sources: conformal test martingales by Vovk et al., Retrain or not retrain, COPA 2021; the mixture over the time of
    the change is Shiryaev's, see Vovk, Testing randomness online, Statistical Science 2021.

    Args:
        streams: number of streams.
    """

    def __init__(self, streams: int = 1) -> None:
        self.predictions = 0
        self._stakes = np.zeros((streams, BETS.shape[1]))
        self.highest: Float = np.ones(streams)

    def add(self, p_values: Float) -> Float:
        """Bet on the next p-value of every stream ``[S]``; returns the capital ``[S]``."""
        portion = unspent(self.predictions) - unspent(self.predictions + 1)
        self.predictions += 1
        open_games = self.highest < HIGHEST
        grown = (self._stakes + portion) * BETS[np.minimum((p_values * STEPS).astype(np.int64), STEPS - 1)]
        self._stakes = np.where(open_games[:, None], grown, self._stakes)
        capital: Float = self._stakes.mean(1) + unspent(self.predictions)
        self.highest = np.where(open_games, np.maximum(self.highest, capital), self.highest)
        return capital


class DriftTest:
    """Test for drift of the uncertainty since the labeled units, at every prediction.

    Each uncertainty is ranked among those of the labeled units and of all predictions before it, see :class:`Ranks`,
    and the ranks are bet on, see :class:`Wealth`. If the labeled units and the predictions are exchangeable, for
    example independent draws from one population, the evidence ever reaches 1/α with a probability of at most α,
    however often it is looked at. Without labeled units, the test finds changes since the first prediction.

    Predictions that depend on each other, such as the entities of a text or the same text sent many times, are not
    exchangeable with labeled units; pass one of them only.

    Args:
        reference: uncertainty of the labeled units, ``[M]``, in [0, 1]; NaN is left out.
        seed: seed of the random ties.

    Attributes:
        labeled: number of labeled units that the predictions are compared with.

    Raises:
        ArgumentError: a value is outside of [0, 1].
    """

    def __init__(self, reference: ArrayLike = (), seed: int | None = None) -> None:
        values = np.asarray(reference, dtype=np.float64).reshape(-1)
        values = values[~np.isnan(values)]
        _check(values)
        self.labeled = len(values)
        self._ranks, self._wealth = Ranks(values, np.random.default_rng(seed)), Wealth()

    def __repr__(self) -> str:
        return f"DriftTest(labeled={self.labeled}, predictions={self.predictions}, e_value={self.e_value:.4g})"

    @property
    def e_value(self) -> float:
        """Highest evidence against "no drift" so far, from 1 to about 1e12; 1/α or more is reached with probability α.

        It does not fall when a drift ends.
        """
        return float(self._wealth.highest[0])

    @property
    def predictions(self) -> int:
        """Number of predictions so far."""
        return self._wealth.predictions

    def add(self, uncertainty: float) -> None:
        """Add the uncertainty of the next prediction.

        Raises:
            ArgumentError: the uncertainty is not in [0, 1].
        """
        value = np.array([uncertainty], dtype=np.float64)
        _check(value)
        self._wealth.add(self._ranks.add(value))


def _check(values: Float) -> None:
    outside = values[~((values >= 0) & (values <= 1))]
    if len(outside):
        raise ArgumentError(f"an uncertainty is {outside[0]:g}: pass uncertainties of a head, from 0 to 1.")
