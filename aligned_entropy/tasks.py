"""Tasks and inputs: the kinds of prediction that a classifier makes, and the forms in which it takes a text.

A task is everything that depends on the kind of prediction and belongs to no single layer: the backbone, the reader of
labeled data, the columns of a predicted row. An input is the form of a text before tokenization. The two are
independent: a language model with a prompt makes the same kind of prediction as a trained sequence classifier.

To add a task, write a subclass of :class:`Task` and add it to :data:`TASKS`, a kind of predictions in
:mod:`aligned_entropy.predictions` and a kind of classifier in :mod:`aligned_entropy.classifier`.

Heavy modules are imported when a method needs them, so that the command line can list the tasks without them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import ArgumentError, DataError, NotApplicableError

if TYPE_CHECKING:
    from .backbones import Backbone, LabelWordBackbone
    from .data import LabeledTexts, LabeledTokens, Table
    from .data.tagged_words import TaggedWords
    from .saved.format import SavedHead


class Input(StrEnum):
    """Form in which a classifier takes a text."""

    TEXT = "text"
    """A string, or a list of words for token classification."""
    PROMPT = "prompt"
    """A string that a template puts into the prompt of a language model, which predicts label words."""


class Task(ABC):
    """Kind of prediction.

    Attributes:
        name: name in ``from_pretrained(task=…)`` and ``--task``.
        prediction_column: name of the column with the prediction in the output of ``alien predict``.
        message_field: name of the field with the prediction in a message of the server.
        label_dimensions: number of dimensions of the labels of a set: 2 if a text can have several.
        one_label: True if a prediction, or a true label in feedback, is one label and not a list.
        per_word: True if words are labeled; a threshold then selects entities instead of texts.
    """

    name: ClassVar[str]
    prediction_column: ClassVar[str]
    message_field: ClassVar[str]
    label_dimensions: ClassVar[int] = 1
    one_label: ClassVar[bool] = False
    per_word: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def backbone(self, form: Input = Input.TEXT) -> type[Backbone] | type[LabelWordBackbone]:
        """Class of the backbone for a form of input.

        Raises:
            NotApplicableError: the task does not support this form of input.
        """

    @abstractmethod
    def read(self, data: Any, label_names: Sequence[str] | None = None, **columns: Any) -> LabeledTexts | LabeledTokens:
        """Read labeled data of this task; arguments and errors as for :func:`aligned_entropy.data.labeled_texts`."""

    @abstractmethod
    def describes(self, data: Any, text_column: str | None = None, label_column: str | None = None) -> bool:
        """True if the columns of a data set hold labels of this task."""

    @abstractmethod
    def describes_model(self, trained_as: Collection[str]) -> bool:
        """True if a model was trained for this task, by the names in its configuration (architecture, problem type)."""

    @property
    def labeled_class(self) -> type[LabeledTexts] | type[LabeledTokens]:
        """Class of labeled data that :meth:`read` returns."""
        from .data import LabeledTexts

        return LabeledTexts

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Usual names of the columns with texts, pairs of texts or word lists."""
        from .data.usual_columns import PAIR_COLUMNS, TEXT_COLUMNS, TOKEN_COLUMNS

        return (*TEXT_COLUMNS, *(TOKEN_COLUMNS if self.per_word else [name for pair in PAIR_COLUMNS for name in pair]))

    def find_text_columns(
        self, table: Table, column: str | None = None, pair_column: str | None = None
    ) -> tuple[str, ...]:
        """Find the column with the texts to predict, or two; see :func:`.data.columns.find_input_columns`."""
        from .data.columns import find_input_columns

        return find_input_columns(table, column, pair_column, self.per_word)

    def is_wrong(self, predicted: Any, label: str | Sequence[str], words: TaggedWords | None = None) -> bool | None:
        """True if a prediction for a text differs from its true label, False if not, None if this cannot be known.

        Args:
            predicted: predicted label, labels or entities, as in the message of the server.
            label: true label, list of true labels, or tags of the words.
            words: for tags the words and their text; None if they are not known.
        """
        return bool(predicted != label)

    def prediction_columns(self, saved: SavedHead, label_names: Sequence[str] = ()) -> list[str]:
        """Names of the columns of a predicted row, in order.

        Args:
            saved: head; ``error_probability`` is left out for an unfitted head, ``accepted`` without a threshold,
                ``label_set`` without sets.
            label_names: class names to add a probability column for; none by default.
        """
        names = [self.prediction_column, "uncertainty"]
        names += [] if saved.head.error_model is None else ["error_probability"]
        names += [] if saved.rule is None else ["accepted"]
        names += [] if saved.sets is None else ["label_set"]
        return names + [f"probability_{name}" for name in label_names]

    def labels_only(self, prediction: object) -> object:
        """Labels in a value of the prediction column, without numbers, to compare the predictions of two models."""
        return prediction


class TextClassification(Task):
    """Classification of texts with one label each."""

    name = "text-classification"
    prediction_column = "predicted_label"
    message_field = "label"
    one_label = True

    def backbone(self, form: Input = Input.TEXT) -> type[Backbone] | type[LabelWordBackbone]:
        """Class of the backbone for a form of input."""
        from .backbones import Backbone, LabelWordBackbone

        return LabelWordBackbone if form is Input.PROMPT else Backbone

    def read(self, data: Any, label_names: Sequence[str] | None = None, **columns: Any) -> LabeledTexts:
        """Read texts with one label each."""
        from .data import labeled_texts

        return labeled_texts(data, label_names, **columns)

    def describes(self, data: Any, text_column: str | None = None, label_column: str | None = None) -> bool:
        """True for any data set; :func:`task_of_dataset` checks the other tasks first."""
        return True

    def describes_model(self, trained_as: Collection[str]) -> bool:
        """True for any model; :func:`task_of_model` checks the other tasks first."""
        return True


class MultiLabelClassification(Task):
    """Multi-label classification: a yes or no for every label of every text."""

    name = "multi-label-classification"
    prediction_column = "predicted_labels"
    message_field = "labels"
    label_dimensions = 2

    def backbone(self, form: Input = Input.TEXT) -> type[Backbone]:
        """Class of the backbone for a form of input."""
        from .backbones import MultiLabelBackbone

        return _without_prompt(self, form, MultiLabelBackbone)

    def read(self, data: Any, label_names: Sequence[str] | None = None, **columns: Any) -> LabeledTexts:
        """Read texts with a list of labels each."""
        from .data import multilabel_texts

        return multilabel_texts(data, label_names, **columns)

    def describes(self, data: Any, text_column: str | None = None, label_column: str | None = None) -> bool:
        """True if the label column holds lists."""
        from .data import has_label_lists

        return has_label_lists(data, label_column)

    def describes_model(self, trained_as: Collection[str]) -> bool:
        """True if the problem type of the model is multi-label classification."""
        from .backbones import MULTI_LABEL

        return MULTI_LABEL in trained_as

    def is_wrong(self, predicted: Any, label: str | Sequence[str], words: TaggedWords | None = None) -> bool | None:
        """True if the predicted labels are not the true ones, in any order."""
        return set(predicted) != set(label)


class TokenClassification(Task):
    """Token classification: one tag for each word; words make up entities and sentences."""

    name = "token-classification"
    prediction_column = "entities"
    message_field = "entities"
    per_word = True

    def backbone(self, form: Input = Input.TEXT) -> type[Backbone]:
        """Class of the backbone for a form of input."""
        from .backbones import TokenBackbone

        return _without_prompt(self, form, TokenBackbone)

    def read(self, data: Any, label_names: Sequence[str] | None = None, **columns: Any) -> LabeledTokens:
        """Read sentences with a tag for each word; a column with the second texts of pairs is refused."""
        from .data import labeled_tokens
        from .data.columns import check_single

        check_single([columns.get("text_column") or "text", *filter(None, [columns.pop("text_pair_column", None)])])
        return labeled_tokens(data, label_names, **columns)

    def describes(self, data: Any, text_column: str | None = None, label_column: str | None = None) -> bool:
        """True if there are a column of word lists and a column of tag lists."""
        from .data import has_token_labels

        return has_token_labels(data, text_column, label_column)

    def describes_model(self, trained_as: Collection[str]) -> bool:
        """True if the architecture, or the task type of the adapter, is token classification."""
        return any(name == "TOKEN_CLS" or name.endswith("ForTokenClassification") for name in trained_as)

    def is_wrong(self, predicted: Any, label: str | Sequence[str], words: TaggedWords | None = None) -> bool | None:
        """True if the type, the beginning or the end of an entity is wrong, or if one is missing or too much."""
        return None if words is None else words.differ(predicted, label)

    @property
    def labeled_class(self) -> type[LabeledTokens]:
        """Class of labeled data that :meth:`read` returns."""
        from .data import LabeledTokens

        return LabeledTokens

    def prediction_columns(self, saved: SavedHead, label_names: Sequence[str] = ()) -> list[str]:
        """Names of the columns of a predicted row; ``accepted`` is a field of the entities.

        Raises:
            DataError: ``label_names`` are given, but a text has no single distribution over the tags.
        """
        if label_names:
            raise DataError(
                "--probabilities adds a column for every class of a text, but token classification predicts a tag for "
                "every word: leave it out."
            )
        names = [self.prediction_column, "uncertainty"]
        return [*names, "error_probability"] if "sentences" in saved.group_maps else names

    def labels_only(self, prediction: object) -> object:
        """Type, start and end of each entity in a value of the prediction column; other values stay unchanged."""
        if isinstance(prediction, list):
            return [(entity["entity_group"], entity["start"], entity["end"]) for entity in prediction]
        return prediction


# The order of the search for the task of a model or a data set: the most general task, which fits any, comes last.
_TASKS = (TokenClassification(), MultiLabelClassification(), TextClassification())
TASKS: Mapping[str, Task] = {task.name: task for task in reversed(_TASKS)}


def task_by_name(name: str) -> Task:
    """Look up a task by its name.

    Raises:
        ArgumentError: no task has this name.
    """
    if name not in TASKS:
        raise ArgumentError(f"no task {name!r}; there are {', '.join(TASKS)}.")
    return TASKS[name]


def task_of_model(model: str | Path, *, trust_remote_code: bool = False) -> Task:
    """Task that a checkpoint (path or hub id) was trained for, by its configuration or that of its adapter."""
    from .backbones.loading import trained_as

    names = trained_as(model, trust_remote_code=trust_remote_code)
    return next(task for task in _TASKS if task.describes_model(names))


def task_of_dataset(data: Any, text_column: str | None = None, label_column: str | None = None) -> Task:
    """Task that a data set is labeled for, by the type of its columns.

    Args:
        data: table with texts and labels.
        text_column: column with the texts or words; found by its usual names by default.
        label_column: column with the labels or tags; found by its usual names by default.
    """
    return next(task for task in _TASKS if task.describes(data, text_column, label_column))


def _without_prompt(task: Task, form: Input, backbone: type[Backbone]) -> type[Backbone]:
    if form is Input.PROMPT:
        raise NotApplicableError(f"a prompt with label words is for {TextClassification.name}, not for {task}.")
    return backbone
