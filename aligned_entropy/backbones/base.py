"""A Hugging Face classifier with its tokenizer: texts in, hidden vectors and logits out."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..features.arrays import Array, Features
from ..features.files import cache_folder
from ..features.store import FeatureStore, texts_key
from ..head.modules import active_module, module_shape, plain_copy
from .capture import HiddenCapture, base_model
from .extras import Extras, some_texts
from .loading import load_model, load_tokenizer

logger = logging.getLogger(__name__)

BATCH_ROWS, BATCH_TOKENS = 64, 8192  # a batch holds at most so many rows and so many tokens, padding included
PADDING_TOKENS = (4096, 128)  # on a GPU, on a CPU: more padding costs more time than another batch

# Positions of these are counted from the padding id on.
COUNTED_FROM_PADDING = (
    "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm", "xmod", "ibert", "data2vec-text",
    "mpnet", "longformer", "luke", "esm",
)  # fmt: skip
# What a configuration records that decides no feature, and what PEFT keeps about adapters outside of the weights.
CONFIG_RECORDS = (
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version",
    "return_dict", "use_cache", "output_hidden_states", "output_attentions", "pad_token_id",
)  # fmt: skip
ADAPTER_STATE = ("_active_adapter", "_disable_adapters", "merged_adapters", "scaling")

_PADDING = threading.RLock()  # held while a model that names no padding token has one


class Backbone(Extras):
    """A classifier, its tokenizer and the place of its classification module.

    What the model is at the time decides: change its weights or its adapter, and features are computed anew. The model
    is put into evaluation mode, here and whenever texts are run. Nothing else of it is changed: hooks, and a padding
    token where its configuration names none, are there only while a method of this class runs it.

    Args:
        model: a transformers sequence classifier, or a PEFT model around one. Its weights are never changed.
        tokenizer: the tokenizer that it was trained with; one without a padding token is copied and given one.
        max_length: tokens a text at most, longer ones are truncated; the model's own limit, at most 512, by default.
        classification_module: dotted path of the module whose output is the logits, where it is not found by name.
        name: path or hub id, for the records.

    Attributes:
        auto_class: of transformers, which loads such models.
        every_token: whether the classification module is asked about every token.
        multi_label: whether a text may have any number of labels.
        model: as given.
        inner: the transformers model inside of a PEFT wrapper, or the model itself.
        config: its configuration.
        tokenizer: as given, or the copy with a padding token.
        max_length: tokens a text at most.
        name: as given.
        capture: takes the hidden vectors; ``capture.name`` is the path of the classification module.
        width: of a hidden vector, D.
        classes: their number, C.
        pad_token_id: what batches are padded with: the model's own, or the tokenizer's where it names none.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    every_token: ClassVar[bool] = False
    multi_label: ClassVar[bool] = False

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        max_length: int | None = None,
        classification_module: str | None = None,
        name: str = "",
    ) -> None:
        self.model, self.name = model.eval(), name
        self.inner = base_model(model)
        self.config = self.inner.config
        self.max_length = max_length or default_max_length(self.config, tokenizer)
        known = _known_padding(self.config, self.vocabulary)
        self._lends_padding = known is None
        self.tokenizer, self.pad_token_id = _agree_on_padding(known, tokenizer, self.vocabulary)
        self.capture = HiddenCapture(
            model, classification_module, every_token=self.every_token, multi_label=self.multi_label
        )
        self.width, self.classes, _ = module_shape(self.classifier)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str | None = None, dtype: Any = None, **options: Any
    ) -> Backbone:
        """Load a path, a hub id or an embedded name; ``options`` are those of the constructor.

        Raises:
            UnsupportedModelError: the classification module's weights are not in the checkpoint, or there is none.
        """
        model = load_model(name, cls.auto_class, device=device, dtype=dtype)
        return cls(model, load_tokenizer(name), name=str(name), **options)

    @property
    def device(self) -> torch.device:
        """Where the model's input belongs."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The model's precision."""
        return next(self.model.parameters()).dtype

    @property
    def label_names(self) -> list[str]:
        """The classes' names in the order of the logits."""
        return [self.config.id2label[index] for index in range(self.classes)]

    @property
    def reads_last_token(self) -> bool:
        """Whether the hidden vector is that of a text's last token, as a decoder's."""
        return self.capture.name == "score"

    @property
    def facts(self) -> dict[str, Any]:
        """What is recorded beside a head, for people and to load the model as it was."""
        return {
            "name": self.name,
            "model class": type(self.inner).__name__,
            "classification_module": self.capture.name,
            "max_length": self.max_length,
            "dtype": str(self.dtype).removeprefix("torch."),
            "labels": self.label_names,
        }

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model knows."""
        return int(self.inner.get_input_embeddings().num_embeddings)

    @property
    def classifier(self) -> nn.Module:
        """A new float32 copy of the classification module that is in use now, free of hooks and adapters."""
        return plain_copy(self.inner.get_submodule(self.capture.name))

    @property
    def in_use(self) -> list[Any]:
        """The classification module in use now and the adapters that have a say, to be compared; reads no weight."""
        parts = self.inner.modules() if getattr(self.inner, "peft_config", None) else ()
        found: list[Any] = [active_module(self.inner.get_submodule(self.capture.name)), self.learned_prompt]
        for part in parts:
            state = vars(part)
            if "_active_adapter" in state:
                active = state.get("merged_adapters") or state["_active_adapter"] or []
                names = [] if state.get("_disable_adapters") else [active] if isinstance(active, str) else active
                found.append([(name, state.get("scaling", {}).get(name)) for name in names])
        return found

    @property
    def learned_prompt(self) -> tuple[str, str] | None:
        """Name and kind of the adapter in use that sets learned tokens before a text; none by default."""
        config: Any = getattr(self.model, "active_peft_config", None)  # PEFT keeps it on the outer model alone
        if not getattr(config, "is_prompt_learning", False) or getattr(self.model, "_adapters_disabled", False):
            return None
        return str(self.model.active_adapter), str(getattr(config.peft_type, "value", config.peft_type))

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 over everything that decides features now: weights, configuration, adapters, tokenizer, length."""
        return self.part_fingerprint(self.model, self.capture.name)

    def part_fingerprint(self, part: nn.Module, what: str) -> str:
        """The same for what a part of the model makes of the texts."""
        digest = hashlib.sha256()
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
        for name, module in part.named_modules():  # what PEFT has switched on is in no state dict
            state = {key: value for key, value in vars(module).items() if key in ADAPTER_STATE}
            digest.update(f"{name} {state}".encode() if state else b"")
        digest.update(f"{self.learned_prompt}".encode() if self.learned_prompt else b"")
        config = {key: value for key, value in self.config.to_dict().items() if key not in CONFIG_RECORDS}
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        vocabulary = self.tokenizer.get_vocab() if fast is None else json.loads(fast.to_str())
        for last_call in ("truncation", "padding") if fast is not None else ():
            vocabulary.pop(last_call, None)
        digest.update(json.dumps(vocabulary, sort_keys=True).encode())
        sides = f"{self.tokenizer.truncation_side} {self.tokenizer.padding_side}"
        digest.update(f"{self.max_length} {what} {self.pad_token_id} {sides}".encode())
        return digest.hexdigest()

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden vectors ``[N, D]`` and logits ``[N, C]``, both float32, of a tokenized batch, without gradient."""
        with torch.inference_mode():
            output = self.run(**{name: tensor.to(self.device) for name, tensor in inputs.items()})
        return output.hidden.float(), output.logits.float()

    def run(self, **inputs: Tensor) -> Any:
        """The model's own output for a batch that is where the model is, with ``hidden``."""
        with self._padding(), self.capture.watching():
            return self.model(**inputs, return_dict=True)

    @contextmanager
    def _padding(self) -> Iterator[None]:
        """A decoder that names no padding token refuses batches: it has one while it is run in here, by one thread."""
        if not self._lends_padding:
            yield
            return
        config = self.config.get_text_config()
        with _PADDING:
            own, config.pad_token_id = getattr(config, "pad_token_id", None), self.pad_token_id
            try:
                yield
            finally:
                config.pad_token_id = own

    def extract(
        self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None
    ) -> tuple[Array, Array]:
        """Hidden vectors ``[N, D]`` and logits ``[N, C]`` of texts, in length-sorted batches, in the order given."""
        self.model.eval()  # a training leaves it in the other mode
        hidden_ND = np.empty((len(texts), self.width), np.float32)
        logits_NC = np.empty((len(texts), self.classes), np.float32)
        for rows, inputs in self.batches(texts):
            hidden, logits = self.forward(**inputs)
            hidden_ND[rows], logits_NC[rows] = hidden.cpu().numpy(), logits.cpu().numpy()
            progress(len(rows))
        return hidden_ND, logits_NC

    def features(self, texts: Sequence[str], progress: Callable[[int], object] = lambda done: None) -> Features:
        """Features of texts from the store on disk; what is not there yet is computed first.

        Args:
            texts: a list, or anything with a length and slices of strings.
            progress: called with the number of texts that have become ready.

        Raises:
            DataError: no texts.
        """
        widths = {"hidden": self.width, "logits": self.classes}
        hidden, logits = self.store(texts, widths).fill(lambda rows: self.extract(texts[rows], progress), progress)
        return Features(hidden, logits)

    def store(
        self, texts: Sequence[str], widths: dict[str, int], fingerprint: str = "", dtype: Any = np.float32
    ) -> FeatureStore:
        """The place on disk for arrays about a list of texts under this model, or a part of it; filled or not."""
        some_texts(texts)
        key = hashlib.sha256(
            f"{fingerprint or self.model_fingerprint} {texts_key(texts)} {sorted(widths)}".encode()
        ).hexdigest()
        return FeatureStore(cache_folder() / "features" / key[:32], len(texts), widths, dtype)

    def tokenize(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Token ids and what goes with them, truncated, not padded; a text without tokens is one special token."""
        encoded = dict(self.tokenizer(list(texts), truncation=True, max_length=self.max_length))
        special = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.pad_token_id)
        nothing = {"input_ids": next(token for token in special if token is not None), "attention_mask": 1}
        for row, ids in enumerate(encoded["input_ids"]):
            if not len(ids):
                for name, values in encoded.items():
                    values[row] = [nothing.get(name, 0)]
        return encoded

    def pad(self, encoded: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """One padded batch of tokenized texts.

        A decoder is padded on the right, whatever the tokenizer says: it never looks there, while padding on the
        left moves the positions, and with learned ones the answer then depends on the batch.
        """
        side = "right" if self.reads_last_token or self.every_token else None
        batch = dict(self.tokenizer.pad(encoded, return_tensors="pt", padding_side=side))
        if "attention_mask" in batch:  # the model looks for its own padding token, which may be another one
            batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, self.pad_token_id)
        return batch

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Padded batches of texts of like length, with the rows that they are."""
        if len(texts):
            yield from self.batched(self.tokenize(texts))

    def batched(self, encoded: dict[str, list[list[int]]]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """The same of tokenized texts."""
        lengths = [len(ids) for ids in encoded["input_ids"]]
        worth, prompt = PADDING_TOKENS[self.device.type == "cpu"], self.learned_prompt
        if self.reads_last_token and prompt is not None and prompt[1] != "PREFIX_TUNING":
            worth = 0  # transformers sees embeddings, not where a text ends: none may be padded
        rows: list[int] = []
        tokens = 0
        for row in sorted(range(len(lengths)), key=lengths.__getitem__):
            padded = (len(rows) + 1) * lengths[row]
            if rows and (len(rows) == BATCH_ROWS or padded > BATCH_TOKENS or padded - tokens - lengths[row] > worth):
                yield rows, self.pad({name: [values[i] for i in rows] for name, values in encoded.items()})
                rows, tokens = [], 0
            rows.append(row)
            tokens += lengths[row]
        if rows:
            yield rows, self.pad({name: [values[i] for i in rows] for name, values in encoded.items()})


class MultiLabelBackbone(Backbone):
    """A classifier whose texts may have any number of labels, each of them a yes where its logit is above zero."""

    multi_label: ClassVar[bool] = True


def default_max_length(config: Any, tokenizer: Any) -> int:
    """Tokens a text at most: the least of 512, the tokenizer's limit and the positions that the model has."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None) or 512
    if config.model_type in COUNTED_FROM_PADDING:
        positions -= (config.pad_token_id or 0) + 1
    return int(min(512, positions, tokenizer.model_max_length))


def _known_padding(config: Any, vocabulary: int) -> int | None:
    """The padding token that the model's configuration names; some name -1."""
    known = getattr(config.get_text_config(), "pad_token_id", None)
    return int(known) if known is not None and 0 <= known < vocabulary else None


def _agree_on_padding(known: int | None, tokenizer: Any, vocabulary: int) -> tuple[Any, int]:
    """A tokenizer with a padding token, and the one that the model looks for or is lent.

    The end-of-text token serves where there is none, as usual in training scripts; a text that ends in it is read, as
    transformers does, at its last other token, whatever it is batched with.
    """
    if tokenizer.pad_token is None:
        own = None if known is None else tokenizer.convert_ids_to_tokens(known)
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = own or tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise UnsupportedModelError("the tokenizer has no padding token and no end-of-text token: set its pad_token.")
    if known is not None:
        return tokenizer, known
    if tokenizer.pad_token_id >= vocabulary:
        raise UnsupportedModelError(
            f"the tokenizer's padding token {tokenizer.pad_token!r} has id {tokenizer.pad_token_id}, the model knows "
            f"ids below {vocabulary} and names no padding token of its own: set the tokenizer's pad_token."
        )
    logger.warning("the model names no padding token; %r of its tokenizer serves.", tokenizer.pad_token)
    return tokenizer, int(tokenizer.pad_token_id)
