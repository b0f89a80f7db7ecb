"""Cells of a grid: one score of one classifier, with the name and the key of its stored result."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from ..errors import ArgumentError
from ..evaluation.groups import ScoreKey
from ..head.fit_config import FitConfig
from ..scores import SCORES, Score, plugin_scores
from ..scores.aligned import Aligned
from .runs import DataSpec, ModelSpec, folder_name
from .studies import GROUPED_STUDIES, STUDIES, build_of

FORMAT = 1  # format of a stored result; results of another format are computed again
# Settings of a fit whose name in keys differs from the attribute. Another name would change the keys, so that no stored
# result would be found.
STORED_NAMES = {"gain_prior": "belief", "is_calibrated": "calibrated"}


@dataclass(frozen=True)
class Cell:
    """One cell of a grid: a score to fit and measure on the predictions of one classifier.

    Attributes:
        study: name in :data:`aligned_entropy.bench.studies.STUDIES`.
        score: name of a score in the study.
        model: model that the classifier was trained from.
        data: data set that the classifier was trained on.
        seed: seed of the training, of the splits if the data are split again, of the fit and of the bootstrap.
        members: seeds of the other classifiers of the ensemble, for scores that need an ensemble.
        size: number of labeled texts in the calibration set; None for all.
        calibration: data set of the calibration texts (its training and validation splits); None for the validation
            split of ``data``.
        test: data set of the test texts; None for ``data``.
    """

    study: str
    score: str
    model: ModelSpec
    data: DataSpec
    seed: int
    members: tuple[int, ...] = ()
    size: int | None = None
    calibration: DataSpec | None = None
    test: DataSpec | None = None

    @property
    def key(self) -> str:
        """SHA-256 of the cell and of the settings of the fit, if a head is fitted; a changed preset changes it.

        For a score of another distribution the version takes the place of the settings.
        """
        score = self.make_score(None)
        settings: dict[str, Any] | str | None = None
        if isinstance(score, Aligned):
            settings = _stored_settings(score.config())
        elif self.score not in STUDIES[self.study]:
            settings = plugin_scores(SCORES)[self.score_key.name].distribution
        return hashlib.sha256(json.dumps([FORMAT, self.facts(), settings], sort_keys=True).encode()).hexdigest()

    def make_score(self, module: nn.Module | None) -> Score:
        """Make the score of the cell from a classification module.

        Raises:
            ArgumentError: it is a score of another distribution that is not installed or cannot be used.
        """
        build = build_of(self.study, self.score)
        if build is None:
            raise ArgumentError(f"study {self.study!r} has no score {self.score!r}: install its distribution.")
        return build(module, self.seed)

    def facts(self) -> dict[str, Any]:
        """Return all fields of the cell as JSON values."""
        names = ("model", "data", "calibration", "test")
        return asdict(self) | {name: spec.facts() for name in names if (spec := getattr(self, name))}

    @property
    def score_key(self) -> ScoreKey:
        """Score and aggregation of the cell; the aggregation is None in a study of single predictions."""
        return ScoreKey.parse(self.score) if self.study in GROUPED_STUDIES else ScoreKey(self.score)

    @property
    def name(self) -> str:
        """Study, model, data set with seed and score; cells that only differ in other settings share it."""
        words = [self.score, *(spec.name for spec in (self.calibration, self.test) if spec is not None)]
        words += [] if self.size is None else [str(self.size)]
        slug = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
        return "/".join((self.study, folder_name(self.model.name), folder_name(self.data.name, self.seed), slug))


def _stored_settings(config: FitConfig) -> dict[str, Any]:
    """Settings of a fit under the names that the keys of stored results were computed with."""
    settings = {STORED_NAMES.get(name, name): value for name, value in asdict(config).items()}
    if not config.views:
        del settings["views"]  # keys of older results were made without it
    prior = settings["belief"]
    return settings | {"belief": {"mean": prior["mean"], "deviation": prior["standard_deviation"]}}
