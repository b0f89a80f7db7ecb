"""`UncertainClassifier`: a Hugging Face classifier that also says how likely it is to be wrong."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..backbones import EXTRAS, MULTI_LABEL, LabelWordBackbone
from ..backbones.capture import base_model
from ..backbones.loading import load_model, load_tokenizer
from ..data import LabeledTexts, LabeledTokens, checked_names, labeled_texts, load_data, plain_texts
from ..errors import DataError, NotApplicableError, UnsupportedModelError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.evaluation import evaluate
from ..evaluation.fitted_scores import FittedScore, default_scores, fit_scores
from ..evaluation.groups import Groups
from ..features.arrays import Features
from ..head.fit import FitConfig, FitResult, fit_head
from ..head.modules import in_float32
from ..predictions.texts import Predictions
from ..saved.format import read_config
from ..saved.hub import resolve_head
from ..scores import HEAD, FittedHead, arrays_of
from ..selective import SelectionUnits
from ..tasks import Task, TextClassification, task_by_name, task_of_model
from .heads import check_class
from .thresholds import Progress, WithThreshold


class UncertainClassifier(WithThreshold):
    """A text classifier with an uncertainty head. The classifier's weights and answers are never changed.

    A fitted head belongs to the classification module and the adapters that were in use when it was made. Where others
    are in use by now, whatever needs the head raises ``HeadMismatchError``; an untrained head follows the model.

    Args:
        backbone: the classifier, see :meth:`from_pretrained`.
        head: a fitted head with what belongs to it; the untrained one when left out.

    Attributes:
        task: what the classifier answers.
        config_class: of how its head is fitted.
        backbone: the classifier.
        saved: the head in use with what is saved beside it.
    """

    task: ClassVar[Task] = TextClassification()
    config_class: ClassVar[Any] = FitConfig

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        head: str | Path | None = None,
        task: str | None = None,
        labels: Mapping[str, str | Sequence[str]] | None = None,
        template: str | None = None,
        examples: Sequence[tuple[str, str]] = (),
        chat: bool = False,
        max_length: int | None = None,
        device: str | None = None,
        dtype: Any = None,
        classification_module: str | None = None,
    ) -> UncertainClassifier:
        """Load a trained classifier of texts or words, PEFT adapters included.

        Args:
            name: a path or hub id.
            head: path or hub id of a head that was fitted for it.
            task: ``text-classification``, ``multi-label-classification`` or ``token-classification``; what the model
                was trained for by default.
            labels: of a causal language model that answers by label words: its classes, each with its word or words,
                ``{"negative": "bad", "positive": "good"}``; with ``template``. A head brings along those that it was
                fitted with.
            template: its prompt, with ``{text}`` in it.
            examples: texts with their labels, shown in every prompt.
            chat: the prompt is what a user says in a chat.
            max_length: tokens a text at most; what the head was fitted with, else the model's limit up to 512.
            device: ``cuda`` if there is one and ``cpu`` otherwise by default.
            dtype: the checkpoint's own on a GPU and float32 on a CPU by default.
            classification_module: dotted path of the module whose output is the logits, if it is not found by name.

        Returns:
            The class for the task: :class:`UncertainTokenClassifier` for one that labels words,
            :class:`UncertainMultiLabelClassifier` for one that gives a text any number of labels.

        Raises:
            UnsupportedModelError: the model is no trained classifier, or of another task, or its classification module
                was not found.
            HeadMismatchError: the head was fitted for another model, or the model has changed.
        """
        folder = None if head is None else resolve_head(head)
        known = {} if folder is None else read_config(folder)["backbone"]
        asked = {"labels": labels, "template": template, "examples": examples or None, "chat": chat or None}
        prompt = _prompt({what: value for what, value in asked.items() if value is not None}) or known.get("prompt")
        if prompt is not None:
            for what, value in (("task", task), ("classification_module", classification_module)):
                if value is not None:
                    raise DataError(f"{what}={value!r} has no place where label words are the answer: leave it out.")
            options = {"max_length": max_length or known.get("max_length"), **prompt}
            answering = UncertainClassifier(
                LabelWordBackbone.from_pretrained(name, device=device, dtype=dtype, **options)
            )
            return answering if folder is None else answering.load_head(folder)
        chosen = task_of_model(name) if task is None else task_by_name(task)
        kind, backbone_class = cls._for(chosen), chosen.backbone()
        model = load_model(name, backbone_class.auto_class, device=device, dtype=dtype)
        check_class(known, model)
        if task is not None:  # a model that was saved without its problem type, an adapter without its configuration
            base_model(model).config.problem_type = MULTI_LABEL if backbone_class.multi_label else None
        backbone = backbone_class(
            model,
            load_tokenizer(name),
            name=str(name),
            max_length=max_length or known.get("max_length"),
            classification_module=classification_module or known.get("classification_module"),
        )
        classifier = kind(backbone)
        return classifier if folder is None else classifier.load_head(folder)

    @classmethod
    def _for(cls, task: Task) -> type[UncertainClassifier]:
        """Kind of classifier for a task: this class, or a kind of it if this is the general one."""
        from . import CLASSIFIERS

        kind = CLASSIFIERS[task.name]
        if cls.task.name == task.name:
            return cls
        if cls.task.name != UncertainClassifier.task.name:
            raise UnsupportedModelError(
                f"a {cls.__name__} is for {cls.task}, but this model is for {task}: use {kind.__name__}."
            )
        return kind

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return self.backbone.label_names

    def predict(self, texts: Any, progress: Progress = lambda done: None) -> Any:
        """Predictions with their uncertainty: :class:`aligned_entropy.Predictions`.

        Args:
            texts: strings; one string is a list of one.
            progress: called with the number of texts that have been done.

        Raises:
            DataError: something among them is not a string.
            HeadMismatchError: the head was fitted for another adapter or classification module than is in use.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise DataError(f"text {row} is a {type(text).__name__}, not a string: {text!r:.80}")
        hidden, logits = self.backbone.extract(texts, progress)
        return self.predict_features(Features(hidden, logits))

    def predict_features(self, features: Features) -> Any:
        """The same from features that are at hand."""
        head = self._head_in_use()
        uncertainty, calibrated = [], []
        with torch.inference_mode(), in_float32(head.device):
            for start in range(0, len(features), 4096):
                part = features[slice(start, start + 4096)]
                hidden, logits = (torch.tensor(rows, device=head.device) for rows in (part.hidden, part.logits))
                if head.error_model is not None:
                    calibrated.append(head.error_probability(hidden, logits).cpu())
                same = head.is_calibrated and bool(calibrated)
                uncertainty.append(calibrated[-1] if same else head(hidden, logits).cpu())
            probabilities = torch.tensor(features.logits).softmax(-1).numpy()
        empty, rule = torch.zeros(0), self.saved.rule
        said = Predictions(
            features.predictions,
            self.label_names,
            probabilities,
            torch.cat([*uncertainty, empty]).numpy(),
            None if head.error_model is None else torch.cat([*calibrated, empty]).numpy(),
        )
        return said if rule is None else replace(said, optional_accepted=rule.accepts(said.uncertainty, said.labels))

    def fit(
        self,
        data: Any,
        *,
        reference: Any = None,
        config: FitConfig | None = None,
        progress: Progress = lambda done: None,
        **columns: Any,
    ) -> FitResult:
        """Fit the head on labeled texts that the classifier was not trained on.

        Args:
            data: anything that :func:`aligned_entropy.data.load_data` takes, or ``LabeledTexts``.
            reference: the classifier's training set, likewise; optional, see :func:`aligned_entropy.fit_head`.
            config: how; ``FitConfig()`` by default.
            progress: called with the number of texts whose features are ready.
            columns: ``text_column``, ``label_column``, ``label_map``, see :func:`aligned_entropy.data.labeled_texts`.

        Raises:
            CalibrationError: no head can be fitted on these texts; the message says why.
            DataError: the data could not be read, or its labels are not the model's.
        """
        calibration = self.features(data, progress, **columns)
        known = None if reference is None else self.features(reference, progress, **columns)
        return self.fit_features(calibration, reference=known, config=config)

    def fit_features(
        self, calibration: Features, *, reference: Features | None = None, config: FitConfig | None = None
    ) -> FitResult:
        """:meth:`fit` on features that are at hand."""
        if config is not None and not isinstance(config, FitConfig):
            raise NotApplicableError(f"a {type(config).__name__} is not for {self.task}: use FitConfig.")
        result = fit_head(
            self.backbone.copy_classification_module(),
            calibration.hidden,
            calibration.labels,
            logits=calibration.logits,
            reference=None if reference is None else (reference.hidden, reference.labels),
            clusters=calibration.clusters,
            config=config,
        )
        held_out = result.held_out.double().numpy()
        wholes, answers = self._group_maps(calibration, held_out), self.selection_units(calibration, held_out)
        self._keep(result, calibration, calibration, held_out, wholes, answers)
        return result

    def selection_units(self, answers: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """What is accepted or deferred, given the answers and what is said of them: of a text its answer."""
        labels = np.asarray(self.label_names)[answers.predictions]
        return SelectionUnits(uncertainty.astype(np.float32), answers.errors, labels)

    def single_predictions(self, features: Features) -> Features:
        """Labeled features with one row for every answer: what scores are fitted on; a text has one."""
        return features

    def groups(self, answers: Features) -> dict[str, Groups]:
        """What single labeled answers make up, by its name; nothing where a text has one."""
        return {}

    def _group_maps(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, CalibrationMaps]:
        """Calibration of what answers make up, by its name; a text has one answer alone."""
        return {}

    def evaluate(
        self,
        data: Any,
        *,
        scores: Sequence[str] | None = None,
        train: Any = None,
        calibration: Any = None,
        ood: Any = None,
        resamples: int = 1000,
        progress: Progress = lambda done: None,
        **columns: Any,
    ) -> Any:
        """Measure the head on labeled texts, next to other scores: an :class:`~aligned_entropy.Evaluation`.

        Args:
            data: texts that neither the classifier nor the head was fitted on, as for :meth:`fit`.
            scores: names of :data:`aligned_entropy.scores.SCORES`; by default softmax response, entropy, margin and
                temperature scaling. Dropout passes and token states are extracted where one of them asks for it.
            train: the classifier's training set, for scores that are fitted on it.
            calibration: the head's calibration set, for scores and calibration maps that are fitted on it; what the
                head has brought along serves the default scores.
            ood: texts of another kind than those that the classifier is for, with or without labels: how well do scores
                tell them apart? Not for words, nor for many labels.
            resamples: bootstrap samples of every interval.
            progress: called with the number of texts whose features are ready.
            columns: as for :meth:`fit`.

        Raises:
            HeadMismatchError: the head was fitted for another adapter or classification module than is in use.
            NotApplicableError: ``ood`` for a task that it is not for.
        """
        extras = arrays_of(scores or ())
        features = self.features(data, progress, extras=extras, **columns)
        held_out = None if calibration is None else self.features(calibration, progress, extras=extras, **columns)
        known = None if train is None else self.features(train, progress, **columns)
        other = None if ood is None else self.plain_features(ood, progress, extras=extras)
        options: dict[str, Any] = {"scores": scores, "train": known, "calibration": held_out, "ood": other}
        return self.evaluate_features(features, resamples=resamples, **options)

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[str] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> Any:
        """:meth:`evaluate` on features that are at hand."""
        fitted_scores, skipped = self._fitted_scores(scores, train, calibration)
        return evaluate(features, fitted_scores, skipped=skipped, resamples=resamples, ood=ood)

    def _fitted_scores(
        self, scores: Sequence[str] | None, train: Features | None, calibration: Features | None
    ) -> tuple[dict[str, FittedScore], dict[str, str]]:
        """Fitted scores by name, the head among them, and why others are not."""
        arrays_of(scores or ())  # every name is known
        skipped: dict[str, str] = {}
        head = self._head_in_use()
        fitted = head.error_model is not None
        if scores is None and calibration is None and self.saved.baselines:
            fitted_scores = dict(self.saved.baselines)
        else:
            names = [name for name in scores or default_scores(calibration) if not (fitted and name == HEAD)]
            fitted_scores, skipped = fit_scores(names, self.backbone.copy_classification_module(), train, calibration)
        if fitted or scores is None:
            fitted_scores[HEAD] = FittedScore(FittedHead(head), self.saved.maps)
        return fitted_scores, skipped

    def features(
        self,
        data: Any,
        progress: Progress = lambda done: None,
        *,
        extras: Collection[str] = (),
        label_map: Mapping[str, str] | None = None,
        **columns: Any,
    ) -> Features:
        """Features of labeled texts, from the store on disk where they are there already.

        Args:
            data: as for :meth:`fit`.
            progress: called with the number of texts whose features are ready.
            extras: arrays beyond hidden vectors and logits: ``passes`` (20 forward passes with dropout), ``states``
                (the tokens' last hidden states). What the model does not have is left out, with the reason.
            label_map: as for :meth:`fit`.
            columns: as for :meth:`fit`.
        """
        data = self.read_labeled(data, label_map=label_map, **columns)
        return self._extracted(data.texts, progress, extras).with_labels(data.labels)

    def plain_features(
        self,
        data: Any,
        progress: Progress = lambda done: None,
        *,
        extras: Collection[str] = (),
        text_column: str | None = None,
    ) -> Features:
        """Features of texts without labels; arguments as for :meth:`features`."""
        if self.task.name != UncertainClassifier.task.name:
            raise NotApplicableError(f"out-of-distribution texts are told apart by one answer a text, not {self.task}.")
        return self._extracted(plain_texts(load_data(data), text_column), progress, extras)

    def _extracted(self, texts: Sequence[str], progress: Progress, extras: Collection[str]) -> Features:
        features = self.backbone.features(texts, progress)
        for name in extras:
            try:
                values = EXTRAS[name](self.backbone, texts, progress=progress)
                features = replace(features, **{name: values})
            except NotApplicableError as error:
                features = replace(features, absent={**features.absent, name: str(error)})
        return features

    def read_labeled(self, data: Any, **columns: Any) -> LabeledTexts | LabeledTokens:
        """Labeled texts with the labels of the model; arguments and errors as for :meth:`fit`."""
        if isinstance(data, (LabeledTexts, LabeledTokens)):
            return checked_names(data, self.label_names)
        return labeled_texts(load_data(data), self.label_names, **columns)


def _prompt(asked: dict[str, Any]) -> dict[str, Any] | None:
    """What is asked of a language model, if anything is."""
    missing = [what for what in ("labels", "template") if asked and what not in asked]
    if missing:
        raise DataError(
            f"{', '.join(asked)} without {missing[0]}: a language model that answers by label words needs labels and a "
            "template."
        )
    return asked or None
