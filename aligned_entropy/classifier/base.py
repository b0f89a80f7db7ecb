"""`UncertainClassifier`: a Hugging Face classifier that also says how likely it is to be wrong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..backbones import TASKS, Backbone, LabelWordBackbone, task_of
from ..backbones.capture import base_model
from ..backbones.loading import load_model, load_tokenizer
from ..data import LabeledTexts, TaggedTexts, labeled_texts, load_data
from ..entities import Wholes
from ..errors import DataError, HeadMismatchError, NotApplicableError, NotFittedError
from ..evaluation import HEAD, SIMPLE, Contender, FittedHead, default_scores, evaluate, fit_scores
from ..features import Features
from ..fit import FitConfig, FitResult, fit_head
from ..head import AlignedEntropyHead
from ..hub import SavedHead, check_probe, load_head, plain_probe, push_head, read_config, resolve_head, save_head
from ..maps import Maps
from ..predictions import Predictions
from ..scores import arrays_of

Progress = Callable[[int], object]


class UncertainClassifier:
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

    task: ClassVar[str] = "text-classification"
    config_class: ClassVar[Any] = FitConfig

    def __init__(self, backbone: Backbone, head: SavedHead | None = None) -> None:
        self.backbone = backbone
        self._untrained = None if head else SavedHead(self._new_head())
        self._place(head or self._untrained)

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
            The class for the task: :class:`UncertainTagger` for one that labels words,
            :class:`UncertainMultiLabelClassifier` for one that gives a text any number of labels.

        Raises:
            UnsupportedModelError: the model is no trained classifier, or of another task, or its classification module
                was not found.
            HeadMismatchError: the head was fitted for another model, or the model has changed.
        """
        folder = None if head is None else resolve_head(head)
        known = {} if folder is None else read_config(folder)["backbone"]
        prompt = known.get("prompt")
        if labels is not None or template is not None:
            prompt = {"labels": labels, "template": template, "examples": examples, "chat": chat}
        if prompt is not None:
            missing = [what for what in ("labels", "template") if prompt[what] is None]
            if missing:
                raise DataError(f"a language model that answers by label words needs {missing[0]} too.")
            options = {"max_length": max_length or known.get("max_length"), **prompt}
            answering = cls(LabelWordBackbone.from_pretrained(name, device=device, dtype=dtype, **options))
            return answering if folder is None else answering.load_head(folder)
        task = task or task_of(name)
        if task not in TASKS:
            raise ValueError(f"no task {task!r}; there are {', '.join(TASKS)}.")
        kinds: list[type[UncertainClassifier]] = [UncertainClassifier, *UncertainClassifier.__subclasses__()]
        own = next(kind for kind in kinds if kind.task == task)
        model = load_model(name, TASKS[task].auto_class, device=device, dtype=dtype)
        _check_class(known, model)
        backbone = TASKS[task](
            model,
            load_tokenizer(name),
            name=str(name),
            max_length=max_length or known.get("max_length"),
            classification_module=classification_module or known.get("classification_module"),
        )
        return own(backbone) if folder is None else own(backbone).load_head(folder)

    @property
    def head(self) -> AlignedEntropyHead:
        """The head in use."""
        return self.saved.head

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return self.backbone.label_names

    def load_head(self, folder: str | Path) -> UncertainClassifier:
        """Use a saved head, after checking that this model is the one it was fitted for; returns itself.

        Raises:
            HeadMismatchError: it is not.
        """
        folder = resolve_head(folder)
        known = read_config(folder)["backbone"]
        _check_class(known, self.backbone.model)
        if known.get("prompt") != self.backbone.facts.get("prompt"):
            raise HeadMismatchError(
                f"the head in {folder} was fitted for the prompt {known.get('prompt')}, and this is "
                f"{self.backbone.facts.get('prompt')}: use the same labels, template and examples, or fit another head."
            )
        saved = load_head(folder, self.backbone.classifier)
        if saved.probe:
            hidden, logits = self._run_probe(saved.probe["input_ids"])
            check_probe(saved, hidden, logits, self.backbone.name or "this model")
        self._place(saved)
        return self

    def _new_head(self) -> AlignedEntropyHead:
        """An untrained one."""
        return AlignedEntropyHead(self.backbone.classifier)

    def _place(self, saved: Any) -> None:
        saved.head.to(self.backbone.device).eval()
        self.saved: SavedHead = saved
        self._made_for, self._copied = self.backbone.in_use, self.backbone.classifier

    def _head_in_use(self, weights: bool = True) -> AlignedEntropyHead:
        """The head, where the model is still what it was made for; an untrained one is made anew.

        Args:
            weights: those of the classification module are looked at too.
        """
        in_use = self.backbone.in_use
        if self.saved is self._untrained:
            if weights or in_use != self._made_for:
                self.head.classifier, self._made_for = self.backbone.classifier, in_use
        elif in_use != self._made_for or (weights and _moved(self._copied, self.backbone.classifier)):
            raise HeadMismatchError(
                f"the classification module {self.backbone.capture.name!r} or the adapters that "
                f"{self.backbone.name or 'this model'} uses are no longer those that the head was made for: make a new "
                "UncertainClassifier, with a head of its own, or put back what was in use."
            )
        return self.head

    def predict(self, texts: Any, progress: Progress = lambda done: None) -> Any:
        """Answers with their uncertainty: :class:`aligned_entropy.Predictions`.

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
        device, head = self.backbone.device, self._head_in_use()
        uncertainty, calibrated = [], []
        with torch.inference_mode():
            for start in range(0, len(features), 4096):
                part = features[slice(start, start + 4096)]
                hidden, logits = torch.tensor(part.hidden, device=device), torch.tensor(part.logits, device=device)
                if head.error_model is not None:
                    calibrated.append(head.error_probability(hidden, logits).cpu())
                same = head.calibrated and bool(calibrated)
                uncertainty.append(calibrated[-1] if same else head(hidden, logits).cpu())
            probabilities = torch.tensor(features.logits).softmax(-1).numpy()
        empty = torch.zeros(0)
        return Predictions(
            features.predictions,
            self.label_names,
            probabilities,
            torch.cat([*uncertainty, empty]).numpy(),
            None if head.error_model is None else torch.cat([*calibrated, empty]).numpy(),
        )

    def fit(
        self,
        data: Any,
        *,
        reference: Any = None,
        config: FitConfig | None = None,
        progress: Progress = lambda done: None,
        **columns: Any,
    ) -> FitResult:
        """Fit the head on labelled texts that the classifier was not trained on.

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
        result = fit_head(
            self.backbone.classifier,
            calibration.hidden,
            calibration.labels,
            logits=calibration.logits,
            reference=None if reference is None else (reference.hidden, reference.labels),
            groups=calibration.groups,
            config=config,
        )
        facts = result.summary.facts()
        rivals, _ = fit_scores(SIMPLE, None, None, calibration)
        maps = Maps.fit(result.held_out.double().numpy(), calibration.errors, unit=True)
        wholes = self._maps_of_wholes(calibration, result.held_out.double().numpy())
        self._place(SavedHead(result.head, rivals, maps, self.backbone.facts, facts, self._probe(), wholes))
        return result

    def answers(self, features: Features) -> Features:
        """Labelled features with one row for every answer: what scores are fitted on; a text has one."""
        return features

    def wholes(self, answers: Features) -> dict[str, Wholes]:
        """What single labelled answers make up, by its name; nothing where a text has one."""
        return {}

    def _maps_of_wholes(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, Maps]:
        """Calibration of what answers make up, by its name; a text has one answer alone."""
        return {}

    def evaluate(
        self,
        data: Any,
        *,
        scores: Sequence[str] | None = None,
        train: Any = None,
        calibration: Any = None,
        resamples: int = 1000,
        progress: Progress = lambda done: None,
        **columns: Any,
    ) -> Any:
        """Measure the head on labelled texts, next to other scores: an :class:`aligned_entropy.evaluation.Evaluation`.

        Args:
            data: texts that neither the classifier nor the head was fitted on, as for :meth:`fit`.
            scores: names of :data:`aligned_entropy.scores.SCORES`; by default softmax response, entropy, margin and
                temperature scaling. Dropout passes and token states are extracted where one of them asks for it.
            train: the classifier's training set, for scores that are fitted on it.
            calibration: the head's calibration set, for scores and calibration maps that are fitted on it; what the
                head has brought along serves the default scores.
            resamples: bootstrap samples of every interval.
            progress: called with the number of texts whose features are ready.
            columns: as for :meth:`fit`.

        Raises:
            HeadMismatchError: the head was fitted for another adapter or classification module than is in use.
        """
        extras = arrays_of(scores or ())
        features = self.features(data, progress, extras=extras, **columns)
        held_out = None if calibration is None else self.features(calibration, progress, extras=extras, **columns)
        known = None if train is None else self.features(train, progress, **columns)
        return self.evaluate_features(features, scores=scores, train=known, calibration=held_out, resamples=resamples)

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[str] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        resamples: int = 1000,
    ) -> Any:
        """:meth:`evaluate` on features that are at hand."""
        contenders, skipped = self._contenders(scores, train, calibration)
        return evaluate(features, contenders, skipped=skipped, resamples=resamples)

    def _contenders(
        self, scores: Sequence[str] | None, train: Features | None, calibration: Features | None
    ) -> tuple[dict[str, Contender], dict[str, str]]:
        """Fitted scores by name, the head among them, and why others are not."""
        arrays_of(scores or ())  # every name is known
        skipped: dict[str, str] = {}
        head = self._head_in_use()
        fitted = head.error_model is not None
        if scores is None and calibration is None and self.saved.rivals:
            contenders = dict(self.saved.rivals)
        else:
            names = [name for name in scores or default_scores(calibration) if not (fitted and name == HEAD)]
            contenders, skipped = fit_scores(names, self.backbone.classifier, train, calibration)
        if fitted or scores is None:
            contenders[HEAD] = Contender(FittedHead(head), self.saved.maps)
        return contenders, skipped

    def features(
        self,
        data: Any,
        progress: Progress = lambda done: None,
        *,
        extras: Collection[str] = (),
        label_map: Mapping[str, str] | None = None,
        **columns: Any,
    ) -> Features:
        """Features of labelled texts, from the store on disk where they are there already.

        Args:
            data: as for :meth:`fit`.
            progress: called with the number of texts whose features are ready.
            extras: arrays beyond hidden vectors and logits: ``passes`` (20 forward passes with dropout), ``states``
                (the tokens' last hidden states). What the model does not have is left out, with the reason.
            label_map: as for :meth:`fit`.
            columns: as for :meth:`fit`.
        """
        data = self.labelled(data, label_map=label_map, **columns)
        features = self.backbone.features(data.texts, progress).with_labels(data.labels)
        for name in extras:
            try:
                values = getattr(self.backbone, name)(data.texts, progress=progress)
                features = replace(features, **{name: values})
            except NotApplicableError as error:
                features = replace(features, absent={**features.absent, name: str(error)})
        return features

    def labelled(self, data: Any, **columns: Any) -> LabeledTexts | TaggedTexts:
        """Labelled texts with the labels of the model; arguments and errors as for :meth:`fit`."""
        return data if isinstance(data, LabeledTexts) else labeled_texts(load_data(data), self.label_names, **columns)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the fitted head: ``config.json``, ``head.safetensors`` and a model card.

        Raises:
            NotFittedError: there is nothing to save yet.
        """
        if self.head.error_model is None:
            raise NotFittedError("the head is untrained, there is nothing to save: call fit() first.")
        save_head(self.saved, folder)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the fitted head to a model repository of the Hugging Face Hub; returns its address.

        Raises:
            NotFittedError: there is nothing to upload yet.
            huggingface_hub.errors.HfHubHTTPError: the hub refused; no token, no right to write there.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_head(folder, repo_id, private=private, token=token)

    def attach(self) -> UncertainClassifier:
        """From now on ``model(**inputs)`` carries ``.uncertainty`` ``[N]`` too, and ``.error_probability`` after a fit.

        A model that labels words has them for every token ``[N, T]``, one with many labels for each ``[N, L]``.

        Both are plain attributes of the output, no keys of it: ``Trainer.predict`` and whatever else walks over the
        output's items sees what it always saw. Right under concurrent callers. ``return_dict=False`` is refused
        while attached, since a tuple has no place for it. The logits are those of the model by itself. It stays
        attached, and alive, until :meth:`detach`. Returns itself.

        A call raises ``HeadMismatchError`` when the active adapter or classification module has changed since the head
        was fitted; weights that were changed in place are not looked at here, but the next :meth:`predict` does.
        """
        self._head_in_use()
        self.backbone.capture.listen(self._annotate)
        return self

    def detach(self) -> None:
        """The model's output is as it was before :meth:`attach`."""
        self.backbone.capture.ignore()

    def _annotate(self, output: Any) -> None:
        head = self._head_in_use(weights=False)
        with torch.no_grad():
            answers = output.hidden.shape[:-1]  # texts, or texts and tokens
            hidden, logits = output.hidden.flatten(0, -2), output.logits.detach().flatten(0, -2)
            if head.error_model is not None:
                output.error_probability = head.error_probability(hidden, logits).unflatten(0, answers)
            output.uncertainty = (
                output.error_probability if head.calibrated else head(hidden, logits).unflatten(0, answers)
            )

    def _probe(self) -> dict[str, torch.Tensor]:
        """A few rows of token ids, and what the model says of them."""
        special = set(self.backbone.tokenizer.all_special_ids)
        ordinary = [i for i in range(min(len(self.backbone.tokenizer), self.backbone.vocabulary)) if i not in special]
        input_ids = plain_probe(ordinary)
        hidden, logits = self._run_probe(input_ids)
        return {"input_ids": input_ids, "hidden": hidden, "logits": logits}

    def _run_probe(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.backbone.model.eval()
        hidden, logits = self.backbone.forward(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
        return hidden.cpu(), logits.cpu()


def _check_class(known: dict[str, Any], model: nn.Module) -> None:
    """Raise where a head was fitted for a model of another class; ``known`` is what it records of its model."""
    own = type(base_model(model)).__name__
    if known.get("model class", own) != own:
        raise HeadMismatchError(
            f"the head was fitted for a {known['model class']} ({known.get('name') or 'unnamed'}), this model is a "
            f"{own}: load the model that the head belongs to, or fit a head for this one."
        )


def _moved(then: nn.Module, now: nn.Module) -> bool:
    """Whether weights differ by more than half precision, or merging an adapter and taking it out again, makes them."""
    before, after = then.state_dict(), now.state_dict()
    if {name: value.shape for name, value in before.items()} != {name: value.shape for name, value in after.items()}:
        return True
    moved = [(after[name].cpu() - value.cpu()).norm() > 0.01 * value.norm().cpu() for name, value in before.items()]
    return any(map(bool, moved))
