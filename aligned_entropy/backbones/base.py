"""Base class of all backbones: a Hugging Face model with its tokenizer, texts in, hidden vectors and logits out."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..display.progress import Progress, no_report
from ..features.arrays import Array, Features
from ..features.files import cache_folder
from ..features.store import FeatureStore, texts_key
from ..features.texts import Text
from ..head.modules import active_module, in_float32
from .batching import CPU_PADDING, GPU_PADDING, Encoded, length_sorted_batches, require_texts
from .capture import Capture
from .fingerprint import adapter_state, fingerprint
from .layers import empty_inputs
from .stored import stored_features
from .wrappers import base_model, check_adapters, input_device, unwrapped, vocabulary_size, with_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


class BaseBackbone(ABC):
    """A model with its tokenizer and its classification module.

    The current state of the model counts: after a change of its weights or adapters, features are computed again. The
    model is put into evaluation mode at construction and whenever texts are run. Nothing else of it is changed.

    Args:
        model: transformers model, or a PEFT model around one, whose other wrappers are taken off; never changed.
        tokenizer: tokenizer that the model was trained with.
        capture: hooks that capture the hidden vectors.
        max_length: maximum number of tokens of an input; longer inputs are truncated.
        pad_token_id: token id that batches are padded with.
        name: path or hub id, recorded beside a head.

    Attributes:
        every_token: True if the classification module is applied to every token.
        multi_label: True for multi-label classification.
        has_model: True if the model is in this process.
        model: transformers model or PEFT model, without other wrappers, in evaluation mode.
        inner: the transformers model inside a PEFT wrapper, or the model itself.
        config: configuration of the transformers model.
        tokenizer: tokenizer of the model.
        max_length: maximum number of tokens of an input.
        name: path or hub id.
        capture: hooks that capture the hidden vectors; ``capture.name`` is the path of the classification module.
        width: size D of a hidden vector.
        classes: number of classes C.
        pad_token_id: token id that batches are padded with.
    """

    every_token: ClassVar[bool] = False
    multi_label: ClassVar[bool] = False
    has_model: ClassVar[bool] = True
    width: int
    classes: int

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        capture: Capture,
        max_length: int,
        pad_token_id: int,
        name: str = "",
    ) -> None:
        self.model, self.tokenizer, self.name = unwrapped(model).eval(), tokenizer, name
        check_adapters(self.model)
        self.inner: PreTrainedModel = base_model(model)
        self.config: PretrainedConfig = self.inner.config
        self.capture, self.max_length, self.pad_token_id = capture, max_length, pad_token_id
        self._module_copy: tuple[object, nn.Module] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.classes} classes)"

    @property
    @abstractmethod
    def label_names(self) -> list[str]:
        """Names of the classes in the order of the logits."""

    @property
    @abstractmethod
    def reads_last_token(self) -> bool:
        """True if the hidden vector is that of the last token, as in decoders."""

    @abstractmethod
    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Compute hidden vectors ``[N, D]`` and logits ``[N, C]``, both float32, of a tokenized batch."""

    @property
    def view_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a text's inputs of views, by name; empty if the model does not give them."""
        return {}

    @abstractmethod
    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenize texts, and report which of them were truncated."""

    @abstractmethod
    def pad(self, encoded: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """Make one padded batch of tokenized texts."""

    @property
    @abstractmethod
    def can_pad(self) -> bool:
        """True if a batch may be padded; False if padding would change the logits of a text."""

    @property
    def _changed_padding(self) -> str:
        """Addition to the settings of a fingerprint where batches were padded on another side in former versions."""
        return ""

    @abstractmethod
    def _module_state(self) -> object:
        """State of everything that a copy of the classification module depends on, to be compared with ``==``."""

    @abstractmethod
    def _new_module_copy(self) -> nn.Module:
        """Make a copy of the classification module."""

    @property
    def device(self) -> torch.device:
        """Device of the model's first parameter, which its input is moved to."""
        return input_device(self.model)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model's first parameter."""
        return next(self.model.parameters()).dtype

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model has an embedding for."""
        return vocabulary_size(self.inner)

    @property
    def facts(self) -> dict[str, Any]:
        """Description of the model, saved beside a head, from which the model can be loaded again."""
        return {
            "name": self.name,
            "model class": type(self.inner).__name__,
            "classification_module": self.capture.name,
            "max_length": self.max_length,
            "dtype": str(self.dtype).removeprefix("torch."),
            "labels": self.label_names,
        }

    def check_facts(self, facts: Mapping[str, Any]) -> None:  # noqa: B027  # most backbones check nothing
        """Check the facts that are saved beside a head; a model in this process is recognized by its probe instead."""

    def copy_classification_module(self) -> nn.Module:
        """Return a float32 copy of the active classification module, without hooks; active adapters are merged.

        The backbone stores the copy and returns it again until the module changes. The copy is shared: do not modify
        it, and do not move it to another device.
        """
        with with_weights(self.inner.get_submodule(self.capture.name)):
            state = self._module_state()
            stored = self._module_copy
            if stored is None or stored[0] != state:
                # The copy may be used after the caller's inference mode or autocast has ended.
                with torch.inference_mode(False), in_float32(self.device):
                    stored = self._module_copy = state, self._new_module_copy()
        return stored[1]

    @property
    def active_parts(self) -> list[object]:
        """Active classification module and active adapters, to be compared with ``==``; no weight is read."""
        parts = self.inner.modules() if getattr(self.inner, "peft_config", None) else ()
        active_parts: list[object] = [active_module(self.inner.get_submodule(self.capture.name)), self.learned_prompt]
        for part in parts:
            state: dict[str, Any] = adapter_state(part)
            if "_active_adapter" in state:
                active = state.get("merged_adapters") or state["_active_adapter"] or []
                names = [] if state.get("_disable_adapters") else [active] if isinstance(active, str) else active
                active_parts.append([(name, state.get("scaling", {}).get(name)) for name in names])
        return active_parts

    @property
    def learned_prompt(self) -> tuple[str, str] | None:
        """Name and kind of the active adapter that puts learned tokens before a text; None if there is none."""
        config: Any = getattr(self.model, "active_peft_config", None)  # only the outer PEFT model has it
        if not getattr(config, "is_prompt_learning", False) or getattr(self.model, "_adapters_disabled", False):
            return None
        return str(self.model.active_adapter), str(getattr(config.peft_type, "value", config.peft_type))

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 over everything that features depend on: weights, configuration, adapters, tokenizer, length."""
        return self.part_fingerprint(self.model, self.capture.name)

    def part_fingerprint(self, part: nn.Module, description: str) -> str:
        """SHA-256 over everything that the output of a part of the model depends on.

        Args:
            part: module of the model, or the whole model.
            description: name of the output that is read from the part, such as the path of the classification module.
        """
        sides = f"{self.tokenizer.truncation_side} {self.tokenizer.padding_side}"
        settings = f"{self.max_length} {description} {self.pad_token_id} {sides}{self._changed_padding}"
        return fingerprint(
            part, learned_prompt=self.learned_prompt, config=self.config, tokenizer=self.tokenizer, settings=settings
        )

    def tokenize(self, texts: Sequence[Text]) -> dict[str, list[list[int]]]:
        """Return token ids and further model inputs of texts, truncated but not padded."""
        return self.encode(texts).inputs

    def extract(self, texts: Sequence[Text], progress: Progress = no_report) -> tuple[Array, Array]:
        """Compute hidden vectors ``[N, D]`` and logits ``[N, C]`` of texts, in the order of the texts.

        Args:
            texts: texts of the rows.
            progress: function that is called with the number of texts of each finished batch.
        """
        features = self.extract_encoded(self.encode(texts), progress)
        return features.hidden, features.logits

    def extract_encoded(self, encoded: Encoded, progress: Progress = no_report, *, views: bool = False) -> Features:
        """Compute the features of tokenized texts, if requested with the inputs of views; see :meth:`extract`."""
        self.model.eval()  # the caller may have trained the model in the meantime
        hidden_ND = np.empty((len(encoded), self.width), np.float32)
        logits_NC = np.empty((len(encoded), self.classes), np.float32)
        inputs = empty_inputs(self.view_shapes, len(encoded), encoded.longest) if views else {}
        for rows, hidden, logits, batch_inputs in self._outputs(encoded, views):
            hidden_ND[rows], logits_NC[rows] = hidden.cpu().numpy(), logits.cpu().numpy()
            for name, values in inputs.items():
                batch = batch_inputs[name].cpu().numpy()
                values[rows, : batch.shape[1]] = batch
            progress(len(rows))
        return Features(hidden_ND, logits_NC, views=inputs)

    def _outputs(
        self, encoded: Encoded, views: bool = False
    ) -> Iterator[tuple[list[int], Tensor, Tensor, dict[str, Tensor]]]:
        """Compute the rows, hidden vectors, logits and, if requested, inputs of views of each batch."""
        for rows, inputs in self.encoded_batches(encoded):
            yield rows, *self.forward(**inputs), {}

    def features(self, texts: Sequence[Text], progress: Progress = no_report, *, views: bool = False) -> Features:
        """Read the features of texts from the store on disk, and compute those that are missing.

        Args:
            texts: a list, or any other sequence of texts or pairs of texts that supports slices.
            progress: function that is called with the number of texts whose features have become ready.
            views: True for the inputs of views, too, as far as the model allows to read them.

        Raises:
            DataError: there are no texts.
        """
        return stored_features(self, texts, progress, views)

    def store(
        self, texts: Sequence[Text], widths: dict[str, int], fingerprint: str = "", dtype: Any = np.float32
    ) -> FeatureStore:
        """Open the store on disk for arrays that the model computes for texts; the store may be empty.

        Args:
            texts: texts of the rows.
            widths: row width of each array, by name.
            fingerprint: fingerprint of everything that the arrays depend on; ``model_fingerprint`` by default.
            dtype: precision of the arrays.

        Raises:
            DataError: there are no texts.
        """
        require_texts(texts)
        content = f"{fingerprint or self.model_fingerprint} {texts_key(texts)} {sorted(widths)}"
        key = hashlib.sha256(content.encode()).hexdigest()
        return FeatureStore(cache_folder() / "features" / key[:32], len(texts), widths, dtype)

    def batches(self, texts: Sequence[Text]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Tokenize texts and divide them into padded batches of similar length; yield the rows and each batch."""
        yield from self.encoded_batches(self.encode(texts))

    def encoded_batches(self, encoded: Encoded) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Divide tokenized texts into padded batches of similar length; yield the rows and each batch."""
        yield from self.batched(encoded.inputs)

    def batched(self, encoded: dict[str, list[list[int]]]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Divide tokenized texts into padded batches of similar length; yield the rows and each batch."""
        max_padding = 0 if not self.can_pad else CPU_PADDING if self.device.type == "cpu" else GPU_PADDING
        for rows in length_sorted_batches([len(ids) for ids in encoded["input_ids"]], max_padding):
            yield rows, self.pad({name: [values[row] for row in rows] for name, values in encoded.items()})
