"""Measurement of a cell: fit its score, measure it on the test set, and return the result as JSON values."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbones import EXTRAS
from ..classifier import UncertainClassifier, UncertainMultiLabelClassifier
from ..data import LabeledTexts, LabeledTokens
from ..errors import CalibrationError, DataError, NotApplicableError
from ..evaluation.fitted_scores import ScoreValues, fit_score, measure_scores
from ..evaluation.grouped import group_values
from ..evaluation.groups import ScoreKey
from ..features.arrays import Features
from ..head.fit_config import MultiLabelConfig
from ..metrics import Sample, reliability, roc_auc
from ..scores import HEAD, SCORES
from ..scores.aligned import Aligned
from ..stats import finite, paired_auc, share_of_rows
from .cells import FORMAT, Cell
from .runs import DataSpec, ModelSpec, split_texts, train_run

SAMPLED_ROWS = 2000  # texts of the calibration set and of the test set, for scores that need dropout passes
RESAMPLES = 1000  # bootstrap samples of an interval
COMPARED_BASELINES = ("entropy", "softmax response")  # fixed before any result was known
CURVE_POINTS = 100  # stored points of a risk–coverage curve

Float = NDArray[np.float64]
Part = Literal["train", "calibration", "test"]


def run_cell(cell: Cell, runs: Path, failure: Exception | None = None) -> dict[str, Any]:
    """Fit and measure the score of a cell.

    Args:
        cell: cell to compute.
        runs: folder of trained classifiers.
        failure: error of the training of a classifier that the cell needs; nothing is computed then.

    Returns:
        The result as JSON values. If the score does not apply, ``skipped`` holds the reason instead of measures; after
        a failure, ``error`` does, and the next run of the grid computes the cell again.
    """
    facts: dict[str, Any] = {"format": FORMAT, "cell": cell.facts(), "versions": versions()}
    try:
        if failure is not None:
            raise failure
        return facts | _measure(cell, runs)
    except (NotApplicableError, CalibrationError) as error:
        return facts | {"skipped": str(error)}
    except Exception as error:  # one failed cell must not stop the grid, whatever a library raises
        return facts | {"error": f"{type(error).__name__}: {error}"}


def versions() -> dict[str, str]:
    """Versions of the packages that a result may depend on."""
    return {name: version(name) for name in ("aligned-entropy", "torch", "transformers", "scikit-learn", "numpy")}


@dataclass(frozen=True)
class _Fit:
    """Score of a cell after its fit, with its values on the single predictions of the test set.

    Attributes:
        values: values of the score on the test set.
        calibration: single predictions of the calibration set.
        test: single predictions of the test set.
        validation: ROC-AUC of the held-out values on the calibration set.
        chosen: name of the candidate that the fit of a head chose; None for other scores.
        seconds: duration of the fit.
        groups: values of groups that the head computes itself, by score key; they replace aggregated values.
    """

    values: ScoreValues
    calibration: Features
    test: Features
    validation: float
    chosen: str | None
    seconds: float
    groups: dict[str, ScoreValues] = field(default_factory=dict)


@dataclass(frozen=True)
class _TestValues:
    """Values of a score and of the compared baselines on the test set, with the errors that they have to find.

    Attributes:
        score: values of the score.
        baselines: uncertainty ``[N]`` by name of the baseline.
        errors: ``[N]``, 1 where a single prediction or a group is wrong.
        clusters: cluster id of each row, ``[N]``; None if rows are independent.
    """

    score: ScoreValues
    baselines: dict[str, Float]
    errors: Float
    clusters: NDArray[np.int64] | None


def _measure(cell: Cell, runs: Path) -> dict[str, Any]:
    key = cell.score_key
    is_grouped = key.aggregation is not None
    fit = _fit_once(replace(cell, study="scores", score=key.name), runs) if is_grouped else _fit(cell, runs)
    baselines = {name: SCORES[name]().score(fit.test) for name in COMPARED_BASELINES}
    start = time.perf_counter()
    test = _TestValues(fit.values, baselines, fit.test.errors, fit.test.clusters)
    if is_grouped:
        test = _grouped(cell, fit, test, _classifier(cell, runs))
    errors, uncertainty = test.errors, test.score.uncertainty
    measures = measure_scores({cell.score: test.score}, errors, RESAMPLES, cell.seed, test.clusters)[cell.score]
    sample = Sample.from_arrays(errors, uncertainty)
    points = np.unique(np.linspace(1, sample.size, CURVE_POINTS).round().astype(int))
    return {
        "examples": {"calibration": len(fit.calibration), "test": len(errors)},
        "error_rate": {"calibration": float(fit.calibration.errors.mean()), "test": float(errors.mean())},
        "accuracy": share_of_rows(1 - errors, test.clusters).to_dict(),
        "measures": {measure: interval.to_dict() for measure, interval in measures.items()},
        "validation": {"roc_auc": finite(fit.validation)},
        "against": {name: _gain(test, baseline) for name, baseline in test.baselines.items()},
        "risk_coverage": [(points / sample.size).round(5).tolist(), sample.risks[points - 1].round(5).tolist()],
        "reliability": _reliability(test.score, errors),
        "chosen": fit.chosen,
        "seconds": {"fit": round(fit.seconds, 3), "all": round(fit.seconds + time.perf_counter() - start, 3)},
    }


def _grouped(cell: Cell, fit: _Fit, test: _TestValues, classifier: UncertainClassifier) -> _TestValues:
    """Aggregate values of single predictions to the groups that the study of a cell is about.

    Raises:
        NotApplicableError: the task has no such groups, or the aggregation needs probabilities.
    """
    name, aggregation = cell.score_key.name, str(cell.score_key.aggregation)
    calibration, groups = (classifier.groups(rows).get(cell.study) for rows in (fit.calibration, fit.test))
    if calibration is None or groups is None or not len(groups):
        raise NotApplicableError(f"single predictions of {classifier.task} form no {cell.study}: choose another study.")
    values = group_values({name: test.score}, groups, calibration, [aggregation])
    if cell.score not in values:
        raise NotApplicableError(f"{name} is not a probability, which aggregation {aggregation!r} needs.")
    baselines = {key: groups.aggregate(baseline, aggregation) for key, baseline in test.baselines.items()}
    return _TestValues(fit.groups.get(cell.score, values[cell.score]), baselines, groups.errors, None)


def _fit(cell: Cell, runs: Path) -> _Fit:
    classifier = _classifier(cell, runs)
    score = cell.make_score(classifier.backbone.copy_classification_module())
    train = _features(cell, runs, "train", (), score.reads_views) if "train" in score.uses else None
    calibration, test = (
        _features(cell, runs, part, score.needs, score.reads_views) for part in ("calibration", "test")
    )
    if cell.size is not None:
        calibration = _subset(calibration, cell.size, cell.seed)
    start = time.perf_counter()
    # Only this task fits its head on texts, not on single predictions, so fit_score cannot fit it.
    if isinstance(classifier, UncertainMultiLabelClassifier) and isinstance(score, Aligned):
        return _fit_multi_label_head(classifier, score, calibration, test)
    calibration_rows, test_rows = classifier.single_predictions(calibration), classifier.single_predictions(test)
    train_rows = None if train is None else classifier.single_predictions(train)
    fitted_score = fit_score(score, train_rows, calibration_rows)
    seconds = time.perf_counter() - start
    values, chosen = fitted_score.values(test_rows), getattr(score, "chosen", None)
    return _Fit(values, calibration_rows, test_rows, fitted_score.validation, chosen, seconds)


_fit_once = lru_cache(maxsize=1)(_fit)  # cells of one score with different aggregations follow one another


def _fit_multi_label_head(
    classifier: UncertainMultiLabelClassifier, score: Aligned, calibration: Features, test: Features
) -> _Fit:
    """Fit a multi-label head on texts.

    Raises:
        NotApplicableError: the score is another head than the default one.
    """
    if score.name != HEAD:
        raise NotApplicableError(f"{score.name} is for models with one label per text.")
    start = time.perf_counter()
    with_head = UncertainMultiLabelClassifier(classifier.backbone)
    result = with_head.fit_features(calibration, config=MultiLabelConfig(seed=score.seed, views=score.config().views))
    seconds = time.perf_counter() - start
    calibration_rows, test_rows = with_head.single_predictions(calibration), with_head.single_predictions(test)
    label_uncertainty, text_uncertainty = with_head.label_and_text_uncertainty(test)
    held_out = result.held_out.double().numpy().reshape(-1)
    values = ScoreValues(label_uncertainty.astype(np.float64).reshape(-1), True, with_head.saved.maps, held_out)
    text_values = ScoreValues(text_uncertainty.astype(np.float64), True, with_head.saved.group_maps["texts"])
    groups = {str(ScoreKey(HEAD, "product")): text_values}
    validation, chosen = roc_auc(calibration_rows.errors, held_out), result.summary.chosen.name
    return _Fit(values, calibration_rows, test_rows, validation, chosen, seconds, groups)


def _gain(test: _TestValues, baseline: Float) -> dict[str, float | None]:
    """ROC-AUC gain of the score over a baseline, with its standard error, under the names of stored results."""
    gain, standard_error = paired_auc(test.errors, test.score.uncertainty, baseline, test.clusters)
    return {"roc_auc": finite(gain), "deviation": finite(standard_error)}


def _reliability(values: ScoreValues, errors: Float) -> dict[str, list[list[float]]]:
    """Reliability curves of the calibration maps and, if the score is a probability, of the score itself."""
    probabilities = {} if values.maps is None else values.maps.probabilities(values.uncertainty)
    if values.is_probability:
        probabilities["raw"] = values.uncertainty
    curves = {name: reliability(errors, mapped) for name, mapped in probabilities.items()}
    return {name: [array.round(5).tolist() for array in curve] for name, curve in curves.items()}


def _subset(features: Features, size: int, seed: int) -> Features:
    """Random subset of a calibration set.

    Raises:
        NotApplicableError: rows are words, which are labeled by the sentence, or there are too few texts.
    """
    if features.clusters is not None:
        raise NotApplicableError("label efficiency is measured for texts only: words are labeled by the sentence.")
    if size >= len(features):
        raise NotApplicableError(f"the calibration set has {len(features)} texts, not more than {size}.")
    return features[np.sort(np.random.default_rng(seed).permutation(len(features))[:size])]


def _classifier(cell: Cell, runs: Path) -> UncertainClassifier:
    return _load(cell.model, cell.data, cell.seed, runs)


def _features(cell: Cell, runs: Path, part: Part, needs: tuple[str, ...], views: bool) -> Features:
    """Features of one of the three sets of a cell; of a sample of the set if dropout passes are needed.

    Args:
        cell: cell to compute.
        runs: folder of trained classifiers.
        part: name of the set.
        needs: arrays that the score reads in addition to the logits.
        views: True for the inputs of views as well.
    """
    classifier = _classifier(cell, runs)
    texts = _texts(cell, part, classifier.label_names)
    if "passes" in needs and len(texts) > SAMPLED_ROWS:
        texts = texts.select(np.sort(np.random.default_rng(0).permutation(len(texts))[:SAMPLED_ROWS]))
    features = classifier.features(texts, extras=[name for name in needs if name in EXTRAS], views=views)
    if "members" in needs and cell.members:
        members = [_load(cell.model, cell.data, seed, runs) for seed in cell.members]
        logits = np.stack([member.features(texts).logits for member in members], axis=1)
        features = replace(features, members=logits)
    elif "members" in needs:
        features = replace(features, absent={"members": "this grid has no second classifier of the same training set."})
    return features


def _texts(cell: Cell, part: Part, label_names: list[str]) -> LabeledTexts | LabeledTokens:
    """Labeled texts of one of the three sets of a cell."""
    domain = {"train": None, "calibration": cell.calibration, "test": cell.test}[part]
    splits = split_texts(domain or cell.data, cell.seed, label_names)
    texts: LabeledTexts | LabeledTokens
    if part != "calibration":
        texts = splits[part]
    elif domain is None or domain == cell.data:
        texts = splits["validation"]
    else:  # the classifier was not trained on this domain, so its training split can be used, too
        texts = splits["train"] + splits["validation"]
    return texts


@lru_cache(maxsize=4)
def _load(model: ModelSpec, data: DataSpec, seed: int, runs: Path) -> UncertainClassifier:
    name = train_run(model, data, seed, runs)
    if model.mode == "prompt" and data.prompt is None:
        raise DataError(
            f"data set {data.name!r} has no prompt, and model {model.name!r} in mode 'prompt' needs one: add prompt to "
            "the data set."
        )
    prompt = data.prompt or {} if model.mode == "prompt" else {}
    return UncertainClassifier.from_pretrained(
        name, max_length=model.max_length, dtype=getattr(torch, model.dtype), **prompt
    )
