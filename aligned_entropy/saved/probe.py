"""Probe of a model: outputs for fixed token ids, to recognize the model that a head was fitted for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backbones import BaseBackbone
from ..errors import HeadMismatchError
from .format import SavedHead

TOLERANCE = 0.1  # half precision moves a hidden vector by about 1%, another model by about 100%


def make_probe(backbone: BaseBackbone) -> dict[str, Tensor]:
    """Run the probe: four rows of eight token ids, with hidden vectors and logits of them; empty without a model."""
    if not backbone.has_model:
        return {}
    special = set(backbone.tokenizer.all_special_ids)
    size = min(len(backbone.tokenizer), backbone.vocabulary)
    input_ids = probe_token_ids([token for token in range(size) if token not in special])
    if backbone.config.is_encoder_decoder:  # these models look for the end-of-text token
        input_ids = F.pad(input_ids, (0, 1), value=backbone.config.eos_token_id)
    hidden, logits = _run(backbone, input_ids)
    return {"input_ids": input_ids, "hidden": hidden, "logits": logits}


def probe_token_ids(ordinary: list[int]) -> Tensor:
    """Choose 32 token ids, spread evenly over the ordinary token ids of a vocabulary, as rows ``[4, 8]``."""
    chosen = torch.linspace(0, len(ordinary) - 1, 32).long()
    return torch.tensor(ordinary)[chosen].reshape(8, 4).T.contiguous()


def check_probe(saved: SavedHead, backbone: BaseBackbone) -> None:
    """Check that the model's outputs for the stored probe are the stored outputs, up to rounding.

    Raises:
        HeadMismatchError: the vectors that the classification module reads, or its logits, are others.
    """
    backbone.check_facts(saved.backbone)
    if not saved.probe:
        return
    parts = {"hidden": "the vectors that its classification module reads", "logits": "its logits"}
    before = saved.backbone.get("name") or "unnamed"
    for (name, part), output in zip(parts.items(), _run(backbone, saved.probe["input_ids"]), strict=True):
        stored = saved.probe[name]
        change = float(((output - stored).norm(dim=1) / stored.norm(dim=1).clamp(min=1e-3)).max())
        if not change < TOLERANCE:
            is_same = backbone.name == before
            changed = "of the same name: trained again, replaced, or in another folder" if is_same else before
            raise HeadMismatchError(
                f"{backbone.name or 'this model'} is not the model that this head was fitted for ({changed}): on the "
                f"stored probe, {part} differ by {change:.0%}. Load the model that the head belongs to, or fit a head "
                "for this one."
            )


def _run(backbone: BaseBackbone, input_ids: Tensor) -> tuple[Tensor, Tensor]:
    backbone.model.eval()
    hidden, logits = backbone.forward(input_ids=input_ids, attention_mask=torch.ones_like(input_ids))
    return hidden.cpu(), logits.cpu()
