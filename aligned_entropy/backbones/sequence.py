"""Sequence classifiers as backbones: one prediction a text, or any number of labels a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import DataError
from ..features.texts import Text, are_pairs, two_lists
from ..head.modules import active_module, module_shape, plain_copy
from ..head.views import MAX_TOKENS
from .base import BaseBackbone
from .batching import Encoded
from .capture import CapturedOutput, HiddenCapture
from .classification_module import with_two_logits
from .label_names import class_names, names_of_one_logit, warn_of_contradiction
from .layers import TYPES
from .loading import load_classifier
from .module_state import module_state
from .output_embedding import differ
from .padding import (
    PADDING_TEXTS,
    USUAL_MAX_LENGTH,
    checked_max_length,
    configured_padding,
    default_max_length,
    lent_padding,
    with_padding,
)
from .wrappers import base_model, vocabulary_size

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class Backbone(BaseBackbone):
    """A sequence classifier with its tokenizer and its classification module.

    Hooks, and a padding token if the configuration names none, are on the model only while a method of this class
    runs it.

    Args:
        model: transformers sequence classifier, or a PEFT model around one. Its weights are never changed.
        tokenizer: tokenizer that the model was trained with; one without a padding token is copied and given one.
        max_length: maximum number of tokens of a text, longer texts are truncated; by default the model's limit, but at
            most 512.
        classification_module: dotted path of the module whose output is the logits, if it is not found by its name.
        name: path or hub id, recorded beside a head.

    Attributes:
        auto_class: class of transformers that loads such models.

    Raises:
        UnsupportedModelError: the model has no usable classification module, names of classes or padding token.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    capture: HiddenCapture

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        classification_module: str | None = None,
        name: str = "",
    ) -> None:
        model.eval()
        inner = base_model(model)
        limit = getattr(inner, "max_seq_length", None) or USUAL_MAX_LENGTH  # of sentence-transformers
        max_length = checked_max_length(max_length, default_max_length(inner.config, tokenizer, limit))
        vocabulary = vocabulary_size(inner)
        configured = configured_padding(inner.config, vocabulary)
        tokenizer, pad_token_id = with_padding(tokenizer, configured, vocabulary)
        capture = HiddenCapture(
            model, classification_module, every_token=self.every_token, multi_label=self.multi_label
        )
        super().__init__(model, tokenizer, capture=capture, max_length=max_length, pad_token_id=pad_token_id, name=name)
        self._lends_padding = configured is None
        self._view_shapes: dict[str, tuple[int, ...]] | None = None
        self._padding_sides: dict[object, str | None] = {}  # by learned prompt
        self.width, self.classes, _ = module_shape(self.copy_classification_module())
        if self.classes == self.config.num_labels:  # if not, a pass will show that the module is wrong
            warn_of_contradiction(self.config, self.label_names)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        device: str | None = None,
        dtype: Any = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> Self:
        """Load a model with its tokenizer.

        Args:
            name: path, hub id or embedded name.
            device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
            dtype: precision; that of the checkpoint on a GPU and float32 on a CPU by default.
            trust_remote_code: True to run Python code that is saved with the model.
            options: further arguments of the constructor.

        Raises:
            UnsupportedModelError: the checkpoint has no classification module, or not its weights.
        """
        loading = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
        model, tokenizer = load_classifier(name, cls.auto_class, **loading)
        return cls(model, tokenizer, name=str(name), **options)

    @property
    def has_one_logit(self) -> bool:
        """True if the model has one logit for two classes, the log-odds of the second."""
        return self.config.num_labels == 1 and not self.multi_label and not self.every_token

    @property
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the logits; a model of one logit may name the class that it is for."""
        return names_of_one_logit(self.config) if self.has_one_logit else class_names(self.config, self.classes)

    @property
    def reads_last_token(self) -> bool:
        """True if the hidden vector is that of the last token, as in decoders."""
        return self.capture.name == "score"

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute hidden vectors ``[N, D]`` and logits ``[N, C]``, both float32, of a tokenized batch."""
        hidden, logits, _ = self._forward(inputs)
        return hidden, logits

    def _forward(self, inputs: dict[str, Tensor], views: bool = False) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Compute hidden vectors, logits and, if requested, inputs of views of a tokenized batch."""
        with torch.inference_mode():
            output = self.run(views=views, **{name: tensor.to(self.device) for name, tensor in inputs.items()})
        return output.hidden.float(), output.class_logits.float(), output.views

    def _outputs(
        self, encoded: Encoded, views: bool = False
    ) -> Iterator[tuple[list[int], Tensor, Tensor, dict[str, Tensor]]]:
        if not views:
            yield from super()._outputs(encoded)
            return
        for rows, inputs in self.encoded_batches(encoded):
            yield rows, *self._forward(inputs, views)

    @property
    def view_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a text's inputs of views, by name; a view that the model does not allow to read is left out.

        A trial text shows the shapes. With a learned prompt there are none.
        """
        if self.learned_prompt is not None:
            return {}
        if self._view_shapes is None:
            _, _, views = self._forward(self.pad(self.tokenize(["a a a a"])), views=True)
            shapes = {name: tuple(views[name].shape[1:]) for name in TYPES if name in views}
            if "tokens" in shapes and not self.every_token:  # a text may be longer than the trial text
                shapes["tokens"] = (min(self.max_length, MAX_TOKENS),)
            self._view_shapes = shapes
        return self._view_shapes

    def run(self, *, views: bool = False, **inputs: Tensor) -> CapturedOutput:
        """Run the model on a batch that is on its device; the output has the hidden vectors, too.

        Args:
            views: True for an output that has the inputs of views as well.
            inputs: inputs of the model.
        """
        padding = lent_padding(self.config, self.pad_token_id) if self._lends_padding else nullcontext()
        with padding, self.capture.watching(views=views):
            output: CapturedOutput = self.model(**inputs, return_dict=True)
        return output

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenize texts or pairs of texts, and report which of them were truncated.

        Tokens are removed from the longer text of a pair first (``longest_first`` in transformers). A text without
        tokens becomes one special token, since models cannot read an empty row.

        Raises:
            DataError: some texts are pairs and others are single texts, or there is no room for pairs.
        """
        if not len(texts):
            return Encoded({"input_ids": []}, np.zeros(0, bool))
        output = self.tokenizer(*two_lists(texts), truncation="longest_first", max_length=self.max_length)
        encoded, truncated = dict(output), self._truncated(texts, output)
        if are_pairs(texts) and max(map(len, encoded["input_ids"])) > self.max_length:
            raise DataError(
                f"max_length={self.max_length} leaves no room for the special tokens of a pair of texts: pass a larger "
                "max_length."
            )
        special = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.pad_token_id)
        empty = {"input_ids": next(token for token in special if token is not None), "attention_mask": 1}
        for row, ids in enumerate(encoded["input_ids"]):
            if not len(ids):
                for name, values in encoded.items():
                    values[row] = [empty.get(name, 0)]
        return Encoded(encoded, truncated)

    def _truncated(self, texts: Sequence[Text], output: BatchEncoding) -> NDArray[np.bool_]:
        """True where the tokenizer truncated a text, ``[N]``."""
        truncated = np.array([len(ids) >= self.max_length for ids in output["input_ids"]])
        full = np.flatnonzero(truncated).tolist()
        if output.encodings is not None and not are_pairs(texts):  # a fast tokenizer keeps the rest of a single text
            truncated[full] = [bool(output.encodings[row].overflowing) for row in full]
        elif full:
            whole = self.tokenizer(*two_lists([texts[row] for row in full]), truncation=False, verbose=False)[
                "input_ids"
            ]
            truncated[full] = [len(ids) > self.max_length for ids in whole]
        return truncated

    @property
    def padding_side(self) -> str | None:
        """Side on which padding does not change the logits of a text; None if there is no such side.

        The side of the tokenizer may be wrong: padding on the left shifts learned positions. A few architectures need
        it, such as XLNet. Others read padding as text on both sides, such as FNet and ConvBERT.
        """
        prompt = self.learned_prompt
        if prompt not in self._padding_sides:
            sides = ("right",) if self.every_token else ("right", "left")  # windows are counted from the start
            self._padding_sides[prompt] = next((side for side in sides if self._ignores_padding(side)), None)
        return self._padding_sides[prompt]

    @property
    def can_pad(self) -> bool:
        """True if a batch may be padded."""
        return self.padding_side is not None

    @property
    def _changed_padding(self) -> str:
        former = "right" if self.reads_last_token or self.every_token else self.tokenizer.padding_side
        return "" if self.padding_side == former else f" padded {self.padding_side}"

    def _ignores_padding(self, side: str) -> bool:
        """True if trial texts have the same logits alone and in a batch that is padded on a side."""
        self.model.eval()
        encoded = self.tokenize(PADDING_TEXTS)
        together, *alone = (
            self._logits(self._padded({name: values[rows] for name, values in encoded.items()}, side))
            for rows in [slice(None), *(slice(row, row + 1) for row in range(len(PADDING_TEXTS)))]
        )
        pairs = [(padded[: len(logits[0])], logits[0]) for padded, logits in zip(together, alone, strict=True)]
        return not any(differ(padded, logits, logits.dtype) for padded, logits in pairs)

    def _logits(self, inputs: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            return self.run(views=False, **{name: tensor.to(self.device) for name, tensor in inputs.items()}).logits

    def pad(self, encoded: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """Make one padded batch of tokenized texts."""
        return self._padded(encoded, self.padding_side or "right")

    def _padded(self, encoded: dict[str, list[list[int]]], side: str) -> dict[str, Tensor]:
        batch = dict(self.tokenizer.pad(encoded, return_tensors="pt", padding_side=side))
        if "attention_mask" in batch:  # the model may look for another padding token than the tokenizer's
            batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, self.pad_token_id)
        return batch

    def _module_state(self) -> object:
        return module_state(active_module(self.inner.get_submodule(self.capture.name)))

    def _new_module_copy(self) -> nn.Module:
        module = plain_copy(self.inner.get_submodule(self.capture.name))
        return with_two_logits(module) if self.has_one_logit else module


class MultiLabelBackbone(Backbone):
    """A multi-label sequence classifier; a text has each label whose logit is above zero."""

    multi_label: ClassVar[bool] = True
