"""Fit of views, and their signals for the calibration texts without leakage between the folds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .calibration_set import CalibrationSet, checked_tensor
from .class_models import ClassModel, NgramModel, Solution, VectorModel
from .reference_features import TRAINING_ROWS, sample_rows
from .views import VIEWS, LayersView, TokensView, View, log_probabilities

FOLDS = 5  # folds of the training texts, which choose penalties and factors
SIGNIFICANCE_LEVEL = 0.01
ROWS_PER_CHUNK = 4096  # rows of a memory map that are converted to float32 at once


@dataclass(frozen=True)
class ViewFeatures:
    """A view, and the signal that it gives to the calibration texts.

    Attributes:
        view: view that the head carries.
        values: signals of the calibration texts for every test fold, ``[K, N, 1]``, or ``[K, N, L, 1]`` for L labels a
            text, as in :class:`~aligned_entropy.head.reference_features.ReferenceFeatures`.
        correct: True where the view alone predicts the class of the calibration text, ``[N]``, or the label ``[N, L]``,
            out of fold.
    """

    view: View
    values: Tensor
    correct: Tensor


def fit_views(
    inputs: Mapping[str, Any],
    data: CalibrationSet,
    training_inputs: Mapping[str, Any],
    training_labels: Tensor | None,
    seed: int,
    training_clusters: Any = None,
    finish: Callable[[], object] = lambda: None,
) -> list[ViewFeatures]:
    """Fit the views whose inputs are given, on the training texts if these have them, else on the calibration labels.

    Args:
        inputs: inputs of views of the calibration texts, by name.
        data: calibration set.
        training_inputs: inputs of views of the training texts, by name.
        training_labels: labels of the training texts; None without a training set.
        seed: seed of folds and samples.
        training_clusters: cluster of each training text, ``[R]``, whose texts stay in one fold; None if the texts are
            independent.
        finish: function that is called after the fit of each class model.
    """
    views = []
    for name in VIEWS:
        if name not in inputs:
            continue
        values = checked_tensor(name, inputs[name])
        if training_labels is None or name not in training_inputs:
            views.append(_calibration_set_view(name, values, data, finish))
        else:
            training_set = checked_tensor(name, training_inputs[name]), training_labels
            views.append(_training_set_view(name, values, data, training_set, training_clusters, seed, finish))
    return views


def _calibration_set_view(
    name: str, values: Tensor, data: CalibrationSet, finish: Callable[[], object]
) -> ViewFeatures:
    """Fit a view on the calibration labels; the signal of a text comes from texts of other folds."""
    classes, per_label, solutions = data.logits.shape[1], data.labels.dim() == 2, []
    log_q = torch.zeros(data.folds, *data.logits.shape)
    for model in _class_models(name, values, data.labels, classes, data.fold):
        penalty, scale, shift = model.choose()
        for j, k in itertools.combinations_with_replacement(range(data.folds), 2):
            held_out = model.solve({j, k}, penalty)
            for test_fold, row_fold in {(j, k), (k, j)}:
                rows = model.rows(row_fold)
                logits = scale * model.outputs(held_out, rows) + shift
                log_q[test_fold, rows] += log_probabilities(logits, per_label=per_label)
        solutions.append(model.solve((), penalty).scaled(scale, shift))
        finish()
    log_q /= len(solutions)
    values_by_fold = torch.stack([View.against(rows, data.predicted) for rows in log_q])
    predicted = log_q[data.fold, torch.arange(len(values))].argmax(-1)
    return ViewFeatures(_view(model, solutions), values_by_fold, predicted == data.labels)


def _training_set_view(
    name: str,
    values: Tensor,
    data: CalibrationSet,
    training_set: tuple[Tensor, Tensor],
    clusters: Any,
    seed: int,
    finish: Callable[[], object],
) -> ViewFeatures:
    """Fit a view on the classifier's training texts, which the calibration set does not contain."""
    rows = sample_rows(torch.arange(len(training_set[1])), TRAINING_ROWS, seed)
    inputs, labels = (part[rows] for part in training_set)
    units = torch.arange(len(rows))
    if clusters is not None:
        distinct, number = checked_tensor("clusters", clusters)[rows].unique(return_inverse=True)
        units = number if len(distinct) >= FOLDS else units
    fold = (torch.randperm(int(units.max()) + 1, generator=torch.Generator().manual_seed(seed)) % FOLDS)[units]
    view = fit_view(name, inputs, labels, data.logits.shape[1], fold, finish)
    log_q = torch.cat([view.log_probabilities(part) for part in values.split(ROWS_PER_CHUNK)])
    signal = View.against(log_q, data.predicted).expand(data.folds, -1, -1)
    return ViewFeatures(view, signal, log_q.argmax(-1) == data.labels)


def fit_view(
    name: str,
    values: Tensor,
    labels: Tensor,
    classes: int,
    fold: Tensor,
    finish: Callable[[], object] = lambda: None,
) -> View:
    """Fit the class models of a view on labeled rows; the folds choose penalties and factors.

    Args:
        name: name of the input.
        values: inputs of R rows.
        labels: classes of the rows, ``[R]``, or labels of multi-label rows, ``[R, C]``.
        classes: number of classes C.
        fold: fold of each row, ``[R]``.
        finish: function that is called after the fit of each class model.
    """
    solutions = []
    for model in _class_models(name, values, labels, classes, fold):
        penalty, scale, shift = model.choose()
        solutions.append(model.solve((), penalty).scaled(scale, shift))
        finish()
    return _view(model, solutions)


def accuracy_hint(views: Sequence[ViewFeatures], data: CalibrationSet) -> str:
    """Describe views that alone are more accurate than the model, by a one-sided sign test; empty if there is none.

    The labels of a text depend on each other, and so do the words of a sentence. Therefore a multi-label text, or a
    cluster, counts once in the test: for the view if this is right on more of its labels or words than the model, for
    the model if it is right on fewer.
    """
    from scipy.stats import binomtest

    model_correct, better = data.errors == 0, []
    for features in views:
        gains = (features.correct.long() - model_correct.long()).reshape(len(data.errors), -1).sum(1)
        if data.clusters is not None:
            distinct, number = torch.from_numpy(data.clusters).unique(return_inverse=True)
            gains = gains.new_zeros(len(distinct)).index_add(0, number, gains)
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        is_higher = int(gains.sum()) > 0  # many small gains and a few large losses would pass the test alone
        if is_higher and binomtest(wins, wins + losses, alternative="greater").pvalue < SIGNIFICANCE_LEVEL:
            better.append(f"of the {features.view.name} is right on {features.correct.double().mean():.1%}")
    if not better:
        return ""
    unit = "calibration texts" if data.clusters is None else "calibration rows"
    unit = unit if data.errors.dim() == 1 else f"label predictions for the {unit}"
    return (
        f"The model is right on {model_correct.double().mean():.1%} of the {unit}, but a linear class model "
        f"{' and one '.join(better)} of them: train the model, or train it otherwise (all layers, more or fewer "
        "epochs), or replace it."
    )


def _class_models(name: str, values: Tensor, labels: Tensor, classes: int, fold: Tensor) -> Iterator[ClassModel]:
    """Make the class models of a view one after another, since those of a layer take memory."""
    if name == TokensView.name:
        yield NgramModel(values, labels, classes, fold)
    else:
        yield from (VectorModel(values[:, layer], labels, classes, fold) for layer in range(values.shape[1]))


def _view(model: ClassModel, solutions: list[Solution]) -> View:
    """Make a view of the solutions of its class models, the last of which is given."""
    weights, biases = (torch.stack(parts) for parts in zip(*solutions, strict=True))
    if isinstance(model, NgramModel):
        table = torch.cat([weights[0], model.frequency.float().unsqueeze(1)], 1)
        return TokensView({"table": _stored(table), "biases": biases[0]})
    return LayersView({"weights": _stored(weights), "biases": biases})


def _stored(weights: Tensor) -> Tensor:
    """Weights in half precision, or unchanged where its range is too small, as for a component that hardly varies."""
    halves = weights.half()
    return halves if halves.isfinite().all() else weights
