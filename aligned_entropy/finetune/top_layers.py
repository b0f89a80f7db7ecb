"""Training of the layers after a frozen encoder, which runs once over the texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.batching import Encoded
from ..data import LabeledTexts
from ..display.progress import Progress, no_report
from ..errors import UnsupportedModelError
from ..features.arrays import Array
from ..features.texts import Text
from .config import Precision, TrainConfig
from .measures import TrainingMeter

ROWS_PER_CHUNK = 4096


def targets(labels: NDArray[np.int64]) -> NDArray[Any]:
    """Labels as the loss expects them: class indices, or 1.0 and 0.0 for every label of multi-label data."""
    return labels.astype(np.float32) if labels.ndim == 2 else labels


class _FirstVector(nn.Module):
    """First vector of each row: ``[N, T, D]`` to ``[N, D]``."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors[:, 0]


class _PrecomputedEncoder(nn.Module):
    """Substitute for a frozen encoder: returns ``inputs_embeds``, one precomputed vector per text, as its output."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.pooler = getattr(encoder, "pooler", None)
        if isinstance(self.pooler, nn.Linear):  # ALBERT applies the selection of the first vector and tanh in its model
            activation: Any = encoder.pooler_activation
            self.pooler = nn.Sequential(_FirstVector(), self.pooler, activation)

    def forward(self, input_ids: Tensor | None = None, *, inputs_embeds: Tensor, **_: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


def train_top_layers(
    backbone: Backbone,
    data: LabeledTexts,
    encoded: Encoded,
    config: TrainConfig,
    progress: Progress,
    meter: TrainingMeter,
) -> None:
    """Train the layers after the encoder (pooler, pre-classifier, classification module) on precomputed vectors."""
    model, encoder_name = backbone.inner, backbone.inner.base_model_prefix
    vectors = torch.tensor(_encoder_vectors(backbone, data.texts, encoded, config.dtype, progress)).unsqueeze(1)
    labels = torch.from_numpy(targets(data.labels))
    encoder = getattr(model, encoder_name)
    setattr(model, encoder_name, _PrecomputedEncoder(encoder))
    try:
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.peak_learning_rate, weight_decay=0.01)
        steps = config.total_epochs * -(-len(labels) // config.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        generator = torch.Generator().manual_seed(config.seed)
        for _ in range(config.total_epochs):
            for rows in torch.randperm(len(labels), generator=generator).split(config.batch_size):
                outputs = model(inputs_embeds=vectors[rows], labels=labels[rows])
                meter.add(outputs.loss, outputs.logits, labels[rows])
                optimizer.zero_grad()
                outputs.loss.backward()
                optimizer.step()
                schedule.step()
            meter.end_epoch()
        model.eval()
        chunks = [backbone.forward(inputs_embeds=chunk) for chunk in vectors.split(ROWS_PER_CHUNK)]
    finally:
        setattr(model, encoder_name, encoder)
    if config.dtype != "float32":
        return  # a model is run in one precision throughout, so these are not its features
    hidden, logits = (torch.cat(arrays).cpu().numpy() for arrays in zip(*chunks, strict=True))
    # Store the features of the training texts, so that a fit with these texts as reference needs no run of the encoder.
    widths = {"hidden": backbone.width, "logits": backbone.classes}
    backbone.store(data.texts, widths).fill(lambda rows: (hidden[rows], logits[rows]), no_report)


def _encoder_vectors(
    backbone: Backbone,
    texts: Sequence[Text],
    encoded: Encoded,
    dtype: Precision,
    progress: Progress,
) -> Array:
    """Vectors ``[N, D]`` of the encoder that the top layers read: of the first token, or of the last in a decoder.

    The cache on disk uses the fingerprint of the encoder, so another seed or learning rate needs no second run.

    Raises:
        UnsupportedModelError: the top layers read more than one vector per text.
    """
    pooling = getattr(backbone.config, "classifier_pooling", "cls")
    if pooling != "cls":
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} has classifier_pooling={pooling!r}, but training on a frozen encoder "
            "needs one vector per text: set classifier_pooling='cls', or train in mode 'full' or 'lora'."
        )
    encoder_outputs: list[Tensor] = []
    encoder = getattr(backbone.inner, backbone.inner.base_model_prefix)
    handle = encoder.register_forward_hook(lambda _, __, output: encoder_outputs.append(output[0].detach()))
    is_decoder = backbone.capture.name == "score"
    width = backbone.config.get_text_config().hidden_size

    def extract(rows: slice) -> tuple[Array]:
        chunk = {name: values[rows] for name, values in encoded.inputs.items()}
        vectors = np.empty((len(chunk["input_ids"]), width), np.float32)
        for batch_rows, inputs in backbone.batched(chunk):
            with torch.autocast(backbone.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
                hidden, _ = backbone.forward(**inputs)
            vectors[batch_rows] = (hidden if is_decoder else encoder_outputs[-1][:, 0]).float().cpu().numpy()
            encoder_outputs.clear()
            progress(len(batch_rows))
        return (vectors,)

    try:
        fingerprint = backbone.part_fingerprint(encoder, "encoder" if dtype == "float32" else f"encoder {dtype}")
        (vectors,) = backbone.store(texts, {"encoder": width}, fingerprint).fill(extract, progress)
    finally:
        handle.remove()
    return vectors
