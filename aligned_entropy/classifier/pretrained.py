"""Models with a head: loading, saving, features of texts, and outputs that carry the uncertainty."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from ..backbones import EXTRAS, BaseBackbone, are_training_texts, text_hashes
from ..backbones.templates import Examples
from ..data import LabeledTexts, LabeledTokens, checked_names, load_data, plain_texts
from ..data.columns import check_arguments
from ..display.progress import Progress, no_report
from ..display.wording import type_name
from ..errors import ArgumentTypeError, NotApplicableError, NotFittedError, UnsupportedModelError
from ..evaluation.label_warnings import warn_of_labels
from ..features.arrays import Features
from ..features.texts import Text, are_pairs
from ..head.head import AlignedEntropyHead
from ..saved.format import SavedHead, read_config, save_head
from ..saved.hub import push_head, resolve_head
from ..tasks import Task, TextClassification, task_by_name, task_of_model
from .attachment import Attachment
from .loading import load_prompted, load_trained, prompt_settings
from .slot import HeadSlot


class ModelWithHead:
    """A model with an uncertainty head; the base of all classifiers.

    Args:
        backbone: backbone of the model, see :meth:`from_pretrained`.
        head: fitted head with everything that is saved beside it; an untrained head by default.

    Attributes:
        task: kind of prediction.
        head_class: class of the head.
        backbone: backbone of the model.

    Raises:
        ArgumentTypeError: the argument is no backbone, but for example a model.
        UnsupportedModelError: the backbone is for another task.
    """

    task: ClassVar[Task] = TextClassification()
    head_class: ClassVar[type[AlignedEntropyHead]] = AlignedEntropyHead

    def __init__(self, backbone: BaseBackbone, head: SavedHead | None = None) -> None:
        needed = self.task.backbone()
        if not isinstance(backbone, BaseBackbone):
            remedy = "use UncertainClassifier.from_pretrained(name), or pass Backbone(model, tokenizer)."
            raise ArgumentTypeError(f"{type(self).__name__} takes a backbone, not {type_name(backbone)}: {remedy}")
        if (backbone.every_token, backbone.multi_label) != (needed.every_token, needed.multi_label):
            raise UnsupportedModelError(
                f"{type(self).__name__} is for {self.task} and needs a {needed.__name__}, not {type_name(backbone)}: "
                "UncertainClassifier.from_pretrained chooses the right class."
            )
        self.backbone = backbone
        self._slot = HeadSlot(backbone, self.head_class, head)

    def __copy__(self) -> Self:
        """Copy the classifier with a slot of its own, so that a head placed in one does not change the other."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin._slot = copy.copy(self._slot)
        return twin

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        head: str | Path | None = None,
        task: str | None = None,
        labels: Mapping[str, str | Sequence[str]] | None = None,
        template: str | None = None,
        examples: Examples = (),
        chat: bool = False,
        max_length: int | None = None,
        device: str | None = None,
        dtype: Any = None,
        classification_module: str | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """Load a trained classifier, with or without PEFT adapters, or a language model that predicts label words.

        Args:
            name: path or hub id of a model of transformers or SetFit.
            head: path or hub id of a head that was fitted for the model.
            task: ``text-classification``, ``multi-label-classification`` or ``token-classification``; by default the
                task that the model was trained for.
            labels: label word or words of every class of a causal language model, such as ``{"negative": "bad",
                "positive": "good"}``; needs ``template``. A saved head contains the prompt that it was fitted with.
            template: prompt with ``{text}`` in it, and ``{text_pair}`` if it is for pairs of texts.
            examples: texts, or pairs of texts, with their labels that are shown in every prompt.
            chat: True to give the prompt to the model as a user's turn in a chat.
            max_length: maximum number of tokens of an input; by default that of the head, otherwise the model's limit,
                but at most 512, or 2048 for a prompt.
            device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
            dtype: precision; that of the checkpoint on a GPU and float32 on a CPU by default.
            classification_module: dotted path of the module whose output is the logits, if it is not found by name.
            trust_remote_code: True to run code that is saved with the model, or in a pickle; never recorded in a head.

        Returns:
            The classifier of the task: ``UncertainTokenClassifier`` for token classification,
            ``UncertainMultiLabelClassifier`` for multi-label classification, ``UncertainClassifier`` otherwise.

        Raises:
            UnsupportedModelError: the model is no trained classifier, has another task or no classification module.
            HeadMismatchError: the head was fitted for another model, or the model has changed.
            MissingExtraError: the model needs an optional dependency.
            ArgumentError: there is no task of this name.
            DataError: the prompt is incomplete or has a wrong form, or is combined with a task.
        """
        folder = None if head is None else resolve_head(head)
        facts = {} if folder is None else read_config(folder)["backbone"]
        prompt = prompt_settings(labels, template, examples, chat) or facts.get("prompt")
        options: dict[str, Any] = {
            "classification_module": classification_module, "max_length": max_length, "device": device, "dtype": dtype,
            "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        if prompt is not None:
            classifier = cls._for(TextClassification())(load_prompted(name, prompt, facts, task=task, **options))
        else:
            trust = trust_remote_code
            chosen = task_of_model(name, trust_remote_code=trust) if task is None else task_by_name(task)
            classifier = cls._for(chosen)(load_trained(name, chosen, facts, is_explicit=task is not None, **options))
        return classifier if folder is None else classifier.load_head(folder)

    @classmethod
    def _for(cls, task: Task) -> type[Self]:
        """Class of the classifier for a task: this class, or a subclass if this is the general class."""
        from . import CLASSIFIERS

        kind: Any = CLASSIFIERS[task.name]
        if cls.task.name == task.name:
            return cls
        if cls.task.name != TextClassification.name:
            raise UnsupportedModelError(
                f"a {cls.__name__} is for {cls.task}, but this model is for {task}: use {kind.__name__}."
            )
        return kind  # type: ignore[no-any-return]

    @property
    def saved(self) -> SavedHead:
        """Head in use with everything that is saved beside it."""
        return self._slot.saved

    @saved.setter
    def saved(self, saved: SavedHead) -> None:
        self._slot.saved = saved

    @property
    def head(self) -> AlignedEntropyHead:
        """Head in use."""
        return self.saved.head

    @property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the logits."""
        return self.backbone.label_names

    def load_head(self, folder: str | Path) -> Self:
        """Use a saved head, and return the classifier.

        Args:
            folder: path or hub id of the head.

        Raises:
            HeadMismatchError: the head is damaged, or was fitted for another model.
        """
        self._slot.load(folder)
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the fitted head: ``config.json``, ``head.safetensors`` and a model card.

        Raises:
            NotFittedError: the head is untrained.
            DataError: the folder holds a model, whose files would be overwritten.
        """
        if self.head.error_model is None:
            raise NotFittedError("an untrained head cannot be saved: call fit() first.")
        save_head(self.saved, folder)

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
        """Upload the fitted head to a model repository of the Hugging Face Hub, and return the repository's address.

        Raises:
            NotFittedError: the head is untrained.
            DataError: the repository holds a model.
            huggingface_hub.errors.HfHubHTTPError: the hub refused the upload, for example without a token.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_head(folder, repo_id, private=private, token=token)

    def attach(self) -> Self:
        """Add the uncertainty to every output of ``backbone.model`` until :meth:`detach`, and return the classifier.

        An output gets the attribute ``uncertainty`` and, after a fit, ``error_probability``: ``[N]``, ``[N, T]`` for
        the tokens of token classification, ``[N, L]`` for multi-label classification. Both are attributes and not keys
        of the output, so that code that iterates over its items (such as ``Trainer.predict``) is not affected. The
        logits do not change. Concurrent calls are supported. A call with ``return_dict=False`` raises
        ``ArgumentError``, since a tuple has no attributes. The classifier is kept alive while it is attached.

        A call raises ``HeadMismatchError`` if another adapter or classification module is active than at the fit.
        It does not notice weights that were changed in place; :meth:`predict` does.

        Raises:
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
            NotApplicableError: the model is a language model that predicts label words.
        """
        head = self._slot.head()
        self.backbone.capture.set_listener(Attachment(self._slot), views=bool(head.views))
        return self

    def detach(self) -> None:
        """Undo :meth:`attach`; outputs no longer carry the uncertainty."""
        self.backbone.capture.remove_listener()

    def read_labeled(self, data: Any, **columns: Any) -> LabeledTexts | LabeledTokens:
        """Read labeled data with the labels of the model; arguments and errors as for ``fit``."""
        if isinstance(data, self.task.labeled_class):
            check_arguments(columns, data)
            return checked_names(data, self.label_names, dimensions=self.task.label_dimensions)
        check_arguments(columns)
        return self.task.read(load_data(data), self.label_names, **columns)

    def features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        views: bool | None = None,
        **columns: Any,
    ) -> Features:
        """Features of labeled data, from the store on disk if they were computed before; warns of suspicious labels.

        Args:
            data: labeled data in any form that ``fit`` reads.
            progress: function that takes the number of texts finished since its last call, as ``tqdm.update`` does.
            extras: names of further arrays: ``passes`` (20 forward passes with dropout), ``states`` (last hidden states
                of the tokens), ``content_free``. An array that the model cannot give is left out, with the reason.
            views: True for the inputs of views, too, where the model gives them; by default unless a head has no views.
            columns: column names and label map: ``text_column``, ``text_pair_column``, ``label_column``, ``label_map``.
        """
        labeled = self.read_labeled(data, **columns)
        features = self._extract(labeled.texts, progress, extras, views)
        trained = are_training_texts(self.backbone.name, labeled.texts)
        features = replace(features, trained=trained).with_labels(self._true_labels(features, labeled))
        warn_of_labels(features, self.label_names, text_hashes(labeled.texts))
        return features

    def _true_labels(self, features: Features, labeled: Any) -> Any:
        """True classes of labeled data, in the form of the predicted ones."""
        return labeled.labels

    def plain_features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        text_column: str | None = None,
        text_pair_column: str | None = None,
        views: bool | None = None,
    ) -> Features:
        """Features of texts without labels, for text classification; arguments as for :meth:`features`.

        Raises:
            NotApplicableError: the classifier is for another task.
        """
        if not self.task.one_label:
            raise NotApplicableError(f"out-of-distribution texts are for {TextClassification.name}, not {self.task}.")
        return self._extract(plain_texts(load_data(data), text_column, text_pair_column), progress, extras, views)

    def _needs_views(self, views: bool | None) -> bool:
        """True if features need the inputs of views: by default unless a fitted head has no views."""
        return bool(self.head.views) or self.head.error_model is None if views is None else views

    def _extract(
        self, texts: Sequence[Text], progress: Progress, extras: Collection[str], views: bool | None = None
    ) -> Features:
        views = self._needs_views(views)
        features = replace(self.backbone.features(texts, progress, views=views), pairs=are_pairs(texts))
        for name in extras:
            try:
                array: dict[str, Any] = {name: EXTRAS[name](self.backbone, texts, progress=progress)}
                features = replace(features, **array)
            except NotApplicableError as error:
                features = replace(features, absent={**features.absent, name: str(error)})
        return features
