"""One cell of a grid: a score of one classifier, fitted, measured, as plain data."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..backbones import EXTRAS
from ..classifier import UncertainClassifier, UncertainMultiLabelClassifier
from ..data import LabeledTexts, LabeledTokens
from ..errors import CalibrationError, DataError, NotApplicableError
from ..evaluation.fitted_scores import ScoreValues, fit_score
from ..evaluation.grouped import group_values
from ..evaluation.groups import ScoreKey
from ..features.arrays import Features
from ..head.fit import FitConfig
from ..head.fit_multilabel import MultiLabelConfig
from ..metrics import Sample, reliability, roc_auc
from ..scores import HEAD, SCORES
from ..scores.aligned import Aligned
from ..stats import finite, paired_auc, share_of_rows
from .runs import DataSpec, ModelSpec, folder_name, split_texts, train_run
from .studies import STUDIES, WHOLES

FORMAT = 1  # of a cell's result; another one is computed anew
SAMPLED_ROWS = 2000  # texts of the calibration and of the test set that scores of dropout passes are measured on
RESAMPLES = 1000
STORED_NAMES = {"gain_prior": "belief", "is_calibrated": "calibrated"}  # a key that changed would lose results
COMPARED = ("entropy", "softmax response")  # named beforehand
CURVE = 100  # points of the risk–coverage curve that are kept


@dataclass(frozen=True)
class Cell:
    """What is measured.

    Attributes:
        study: of :data:`aligned_entropy.bench.studies.STUDIES`.
        score: one of its names.
        model: the classifier.
        data: what it was trained on.
        seed: of the training, the split of the data where that is drawn, the fit and the bootstrap.
        members: seeds of the other classifiers of the ensemble, for scores that need one.
        size: labeled texts of the calibration set, all by default.
        calibration: where they come from, where that is another data set (its train and validation splits).
        test: where the test texts come from, where that is another data set.
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
        """SHA-256 of the cell and, where a head is fitted, of its settings: a changed preset is another cell."""
        score = STUDIES[self.study][self.score](None, self.seed)
        settings = _stored_settings(score.config()) if isinstance(score, Aligned) else None
        return hashlib.sha256(json.dumps([FORMAT, self.facts(), settings], sort_keys=True).encode()).hexdigest()

    def facts(self) -> dict[str, Any]:
        """Everything about it, for JSON."""
        specs = {name: spec.facts() for name in ("data", "calibration", "test") if (spec := getattr(self, name))}
        return asdict(self) | specs

    @property
    def aggregated(self) -> tuple[str, str]:
        """The score, and how it is aggregated; nothing where the study is of single answers."""
        if self.study not in WHOLES:
            return self.score, ""
        key = ScoreKey.parse(self.score)
        return key.name, key.aggregation or ""

    @property
    def path(self) -> Path:
        """Of its result, inside the folder of results; ends in eight digits of the key."""
        words = [self.score, *(f"{spec.name}" for spec in (self.calibration, self.test) if spec is not None)]
        words += [] if self.size is None else [str(self.size)]
        slug = re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")
        folder = Path(self.study) / folder_name(self.model.name) / folder_name(self.data.name, self.seed)
        return folder / f"{slug}-{self.key[:8]}.json"


def _stored_settings(config: FitConfig) -> dict[str, Any]:
    """Settings of a fit under the names that keys of stored results were made with."""
    settings = {STORED_NAMES.get(name, name): value for name, value in asdict(config).items()}
    prior = settings["belief"]
    return settings | {"belief": {"mean": prior["mean"], "deviation": prior["standard_deviation"]}}


def run_cell(cell: Cell, runs: Path) -> dict[str, Any]:
    """Fit and measure; what cannot be is a result too, with its reason."""
    facts: dict[str, Any] = {"format": FORMAT, "cell": cell.facts(), "versions": versions()}
    try:
        return facts | _measured(cell, runs)
    except (NotApplicableError, CalibrationError) as error:
        return facts | {"skipped": str(error)}
    except Exception as error:  # whatever a library raises: the other cells go on, the next run tries again
        return facts | {"error": f"{type(error).__name__}: {error}"}


def versions() -> dict[str, str]:
    """Of what a result may depend on."""
    return {name: version(name) for name in ("aligned-entropy", "torch", "transformers", "scikit-learn", "numpy")}


def _measured(cell: Cell, runs: Path) -> dict[str, Any]:
    name, how = cell.aggregated
    fit = _fitted_once(replace(cell, study="scores", score=name), runs) if how else _fitted(cell, runs)
    said, test = fit.values, fit.test
    errors, clusters, rivals = test.errors, test.clusters, {rival: SCORES[rival]().score(test) for rival in COMPARED}
    began = time.perf_counter()
    if how:
        classifier = _classifier(cell, runs)
        known, wholes = (classifier.groups(rows).get(cell.study) for rows in (fit.calibration, test))
        if known is None or wholes is None or not len(wholes):
            raise NotApplicableError(f"answers for {classifier.task} make up no {cell.study}.")
        found = group_values({name: said}, wholes, known, [how])
        if cell.score not in found:
            raise NotApplicableError(f"{name} is no probability, there is no {how} of it.")
        said, errors, clusters = fit.wholes.get(cell.score, found[cell.score]), wholes.errors, None
        rivals = {rival: wholes.aggregate(values, how) for rival, values in rivals.items()}
    values, measures = said.uncertainty, said.measure(errors, RESAMPLES, cell.seed, clusters)
    sample = Sample.from_arrays(errors, values)
    points = np.unique(np.linspace(1, sample.size, CURVE).round().astype(int))
    return {
        "examples": {"calibration": len(fit.calibration), "test": len(errors)},
        "error_rate": {"calibration": float(fit.calibration.errors.mean()), "test": float(errors.mean())},
        "accuracy": share_of_rows(1 - errors, clusters).to_dict(),
        "measures": {measure: interval.to_dict() for measure, interval in measures.items()},
        "validation": {"roc_auc": finite(fit.validation)},
        "against": {rival: _against(errors, values, other, clusters) for rival, other in rivals.items()},
        "risk_coverage": [(points / sample.size).round(5).tolist(), sample.risks[points - 1].round(5).tolist()],
        "reliability": _reliability(said, errors),
        "chosen": fit.chosen,
        "seconds": {"fit": round(fit.seconds, 3), "all": round(fit.seconds + time.perf_counter() - began, 3)},
    }


@dataclass(frozen=True)
class _Fit:
    """A fitted score: what it says of the test answers; wholes that it does not aggregate like others, by name."""

    values: ScoreValues
    calibration: Features
    test: Features
    validation: float
    chosen: str | None
    seconds: float
    wholes: dict[str, ScoreValues] = field(default_factory=dict)


def _fitted(cell: Cell, runs: Path) -> _Fit:
    classifier = _classifier(cell, runs)
    score = STUDIES[cell.study][cell.score](classifier.backbone.copy_classification_module(), cell.seed)
    train = _features(cell, runs, "train", ()) if "train" in score.uses else None
    calibration, test = (_features(cell, runs, which, score.needs) for which in ("calibration", "test"))
    if cell.size is not None:
        calibration = _subset(calibration, cell.size, cell.seed)
    began = time.perf_counter()
    if isinstance(classifier, UncertainMultiLabelClassifier) and isinstance(score, Aligned):
        return _fitted_multi_label(classifier, score, calibration, test)
    known, rows = classifier.single_predictions(calibration), classifier.single_predictions(test)
    fitted_score = fit_score(score, None if train is None else classifier.single_predictions(train), known)
    seconds = time.perf_counter() - began
    chosen = getattr(score, "chosen", None)
    return _Fit(fitted_score.values(rows), known, rows, fitted_score.validation, chosen, seconds)


_fitted_once = lru_cache(maxsize=1)(_fitted)  # the aggregations of a score follow each other


def _fitted_multi_label(
    classifier: UncertainMultiLabelClassifier, score: Aligned, calibration: Features, test: Features
) -> _Fit:
    """The head of this kind of model, which is fitted on texts and not on single answers."""
    if score.name != HEAD:
        raise NotApplicableError(f"{score.name} is for models of one label a text.")
    began = time.perf_counter()
    own = UncertainMultiLabelClassifier(classifier.backbone)
    result = own.fit_features(calibration, config=MultiLabelConfig(seed=score.seed))
    seconds = time.perf_counter() - began
    known, rows, (answers, texts) = (
        own.single_predictions(calibration),
        own.single_predictions(test),
        own.label_and_text_uncertainty(test),
    )
    held_out = result.held_out.double().numpy().reshape(-1)
    values = ScoreValues(answers.astype(np.float64).reshape(-1), True, own.saved.maps, held_out)
    text_values = ScoreValues(texts.astype(np.float64), True, own.saved.group_maps["texts"])
    wholes = {str(ScoreKey(HEAD, "product")): text_values}
    validation = roc_auc(known.errors, held_out)
    return _Fit(values, known, rows, validation, result.summary.chosen.name, seconds, wholes)


def _against(errors: Any, values: Any, other: Any, clusters: Any) -> dict[str, float | None]:
    difference, standard_error = paired_auc(errors, values, other, clusters)
    return {"roc_auc": finite(difference), "deviation": finite(standard_error)}


def _reliability(said: ScoreValues, errors: Any) -> dict[str, list[list[float]]]:
    probabilities = {} if said.maps is None else said.maps.probabilities(said.uncertainty)
    if said.is_probability:
        probabilities["raw"] = said.uncertainty
    curves = {kind: reliability(errors, p) for kind, p in probabilities.items()}
    return {kind: [part.round(5).tolist() for part in curve] for kind, curve in curves.items()}


def _subset(features: Features, size: int, seed: int) -> Features:
    if features.clusters is not None:
        raise NotApplicableError("words are labeled sentence by sentence; this study is of texts.")
    if size >= len(features):
        raise NotApplicableError(f"the calibration set has {len(features)} texts, not more than {size}.")
    return features[np.sort(np.random.default_rng(seed).permutation(len(features))[:size])]


def _classifier(cell: Cell, runs: Path) -> UncertainClassifier:
    return _load(cell.model, cell.data, cell.seed, runs)


def _features(cell: Cell, runs: Path, which: str, needs: tuple[str, ...]) -> Features:
    """Features of one of the cell's three sets; of a sample of it where there have to be dropout passes."""
    classifier = _classifier(cell, runs)
    texts = _texts(cell, which, classifier.label_names)
    if "passes" in needs and len(texts) > SAMPLED_ROWS:
        texts = texts.select(np.sort(np.random.default_rng(0).permutation(len(texts))[:SAMPLED_ROWS]))
    features = classifier.features(texts, extras=[name for name in needs if name in EXTRAS])
    if "members" in needs and cell.members:
        others = [_load(cell.model, cell.data, seed, runs) for seed in cell.members]
        members = np.stack([other.features(texts).logits for other in others], axis=1)
        features = replace(features, members=members)
    elif "members" in needs:
        features = replace(features, absent={"members": "this grid has no second classifier of the same training set."})
    return features


def _texts(cell: Cell, which: str, label_names: list[str]) -> LabeledTexts | LabeledTokens:
    other = cell.calibration if which == "calibration" else cell.test if which == "test" else None
    parts = split_texts(other or cell.data, cell.seed, label_names)
    if which != "calibration":
        return parts["test" if which == "test" else "train"]
    if other is None or other == cell.data:
        return parts["validation"]
    return parts["train"] + parts["validation"]  # of another domain: the classifier has not seen its training split


@lru_cache(maxsize=4)
def _load(model: ModelSpec, data: DataSpec, seed: int, runs: Path) -> UncertainClassifier:
    name = train_run(model, data, seed, runs)
    if model.mode == "prompt" and data.prompt is None:
        raise DataError(f"data set {data.name!r} has no prompt, and model {model.name!r} is asked by one: give it one.")
    prompt = data.prompt or {} if model.mode == "prompt" else {}
    return UncertainClassifier.from_pretrained(name, max_length=model.max_length, **prompt)
