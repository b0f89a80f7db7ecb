"""Models of SetFit as sequence classifiers: an embedding of sentence-transformers, and a linear head on it."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import MissingExtraError, UnsupportedModelError
from .checkpoints import custom_code, device_and_dtype
from .classification_module import MULTI_LABEL
from .linear_head import LinearHead
from .output_embedding import differ
from .padding import PADDING_TEXTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.modeling_outputs import SequenceClassifierOutput

CONFIG, HEAD, MODULES = "config_setfit.json", "model_head.pkl", "modules.json"
ENDLESS = 2**20  # number of tokens that stands for no limit; tokenizers cannot read 10**30
TRIAL_TEXTS = (*PADDING_TEXTS, "  Space Around It,\tand CAPITALS \n")


@dataclass(frozen=True)
class SetFitFiles:
    """Files of a model of SetFit, besides those of its body.

    Attributes:
        name: path or hub id of the model.
        head: file with the head, if there is one.
        config: content of the configuration; empty in models of SetFit before 1.0.
    """

    name: str
    head: Path | None
    config: dict[str, Any]

    @classmethod
    def find(cls, name: str) -> SetFitFiles | None:
        """Find the files of a model by its path or hub id; None if it is no model of SetFit."""
        head = checkpoint_file(name, HEAD)
        if head is None and not Path(name, CONFIG).is_file():
            return None
        config = checkpoint_file(name, CONFIG)
        return cls(name, head, {} if config is None else json.loads(config.read_text(encoding="utf-8")))

    def read_head(self, *, trust_remote_code: bool) -> LinearHead:
        """Read the head, see :meth:`LinearHead.read`.

        Raises:
            UnsupportedModelError: there is no head, or it is not linear.
        """
        if self.head is None:
            raise UnsupportedModelError(
                f"{self.name} holds a body of SetFit without a head ({HEAD}): train the model with SetFit and save it, "
                "or train a classifier with `alien train`."
            )
        return LinearHead.read(self.head, self.config.get("labels"), trusted=trust_remote_code)


def checkpoint_file(name: str, file: str) -> Path | None:
    """Find a file of a checkpoint in its folder, in the hub's cache or on the hub; None if there is none."""
    if Path(name).is_dir():
        return Path(name, file) if Path(name, file).is_file() else None
    from transformers.utils.hub import cached_file

    try:
        path = cached_file(
            name,
            file,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # neither a folder nor a repository
        return None
    return None if path is None else Path(path)


class SentenceClassifier(nn.Module):
    """Classifier that is called like a sequence classifier of transformers: embedding of a text, then a linear layer.

    Args:
        body: ``SentenceTransformer`` that computes the embeddings.
        head: linear head.
        normalize: True to give embeddings the length 1 before the head.

    Attributes:
        body: ``SentenceTransformer`` that computes the embeddings.
        classifier: classification module.
        config: copy of the configuration of the transformers model inside, with the classes and with the settings that
            embeddings depend on.
        max_seq_length: maximum number of tokens of a text.
        base_model_prefix: name of the attribute with the body.

    Raises:
        UnsupportedModelError: there is no transformers model inside, or it puts a prompt before every text.
    """

    base_model_prefix = "body"

    def __init__(self, body: Any, head: LinearHead, normalize: bool) -> None:
        super().__init__()
        if body.transformers_model is None or not hasattr(body[0], "auto_model"):
            raise UnsupportedModelError(
                f"the body begins with {type(body[0]).__name__}, without a transformers model: train the head on a "
                "sentence-transformers model that is one."
            )
        prompt = body.prompts.get(body.default_prompt_name)
        if prompt:
            raise UnsupportedModelError(
                f"the body puts the prompt {prompt!r} before every text (default_prompt_name), which is not supported: "
                "set default_prompt_name to null in config_sentence_transformers.json, and put the prompt before your "
                "texts yourself."
            )
        self.body, self.classifier, self.normalize = body, head.module(), normalize
        self.config = copy.deepcopy(body.transformers_model.config)
        self.config.id2label = dict(enumerate(head.names))
        self.config.label2id = {name: index for index, name in enumerate(head.names)}
        self.config.problem_type = MULTI_LABEL if head.multi_label else None
        self.config.sentence_embedding = {
            "modules": [[type(part).__name__, part.get_config_dict()] for part in body],
            "truncate_dim": body.truncate_dim,
            "normalize": normalize,
        }
        self.max_seq_length = min(body.max_seq_length, ENDLESS)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Tokenizer of the body."""
        tokenizer: PreTrainedTokenizerBase = self.body.tokenizer
        return tokenizer

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding of token ids."""
        embeddings: nn.Module = self.body.transformers_model.get_input_embeddings()
        return embeddings

    def embed(self, **inputs: Tensor) -> Tensor:
        """Compute embeddings ``[N, D]`` float32 of a tokenized batch."""
        vectors: Tensor = self.body(dict(inputs))["sentence_embedding"][:, : self.body.truncate_dim]
        return (F.normalize(vectors, p=2, dim=1) if self.normalize else vectors).float()

    def forward(self, input_ids: Tensor, return_dict: bool = True, **inputs: Tensor) -> SequenceClassifierOutput:
        """Compute the logits ``[N, C]`` of a tokenized batch."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self.classifier(self.embed(input_ids=input_ids, **inputs)))

    def check_embeddings(self) -> None:
        """Check that trial texts get the embeddings that the body gives them when it reads texts itself.

        Raises:
            UnsupportedModelError: the embeddings differ, or do not have the width that the head needs.
        """
        texts = list(TRIAL_TEXTS)
        inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.body.device)
        with torch.inference_mode():
            vectors = self.embed(**inputs)
        expected = self.body.encode(
            texts, normalize_embeddings=self.normalize, convert_to_tensor=True, show_progress_bar=False
        )
        if differ(vectors, expected, self.body.dtype):
            raise UnsupportedModelError(
                "the body does not only tokenize its texts before it embeds them, so that a head on its embeddings "
                "would get others: train the head on another sentence-transformers model."
            )
        if vectors.shape[1] != self.classifier.in_features:
            raise UnsupportedModelError(
                f"the head is for embeddings of {self.classifier.in_features} values, but the body makes "
                f"{vectors.shape[1]}: save the body that the head was trained on to the same folder."
            )


def load_setfit(files: SetFitFiles, *, device: str | None, dtype: Any, trust_remote_code: bool) -> SentenceClassifier:
    """Load a model of SetFit.

    Args:
        files: files of the model.
        device: device to load to; ``cuda`` if available and ``cpu`` otherwise by default.
        dtype: precision of the body; that of the checkpoint on a GPU and float32 on a CPU by default.
        trust_remote_code: True to run Python code that is saved with the model, in modules or in the pickle of the
            head.

    Raises:
        UnsupportedModelError: the head is not linear, or needs code that may not run; or the body is not supported.
        MissingExtraError: sentence-transformers is not installed.
    """
    head = files.read_head(trust_remote_code=trust_remote_code)
    if checkpoint_file(files.name, "adapter_config.json") is not None:
        raise UnsupportedModelError(
            f"the body of {files.name} is a PEFT adapter: merge it into its model with merge_and_unload(), and save it."
        )
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(f"{files.name} is a model of SetFit: pip install 'aligned-entropy[setfit]'") from error
    device, dtype = device_and_dtype(device, dtype)
    with custom_code(files.name):
        body = SentenceTransformer(
            files.name, device=device, trust_remote_code=trust_remote_code, model_kwargs={"dtype": dtype}
        )
    model = SentenceClassifier(body, head, bool(files.config.get("normalize_embeddings"))).to(device).eval()
    model.check_embeddings()
    return model
