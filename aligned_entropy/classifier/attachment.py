"""Attachment of a head to a model, whose outputs then carry the uncertainty."""

from __future__ import annotations

from typing import Any

import torch

from ..head.modules import in_float32
from .slot import HeadSlot


class Attachment:
    """Listener on a model's output that adds ``uncertainty`` and, after a fit, ``error_probability``.

    Args:
        slot: slot with the head in use.
    """

    def __init__(self, slot: HeadSlot) -> None:
        self.slot = slot

    def __call__(self, output: Any) -> None:
        """Add the attributes to an output with ``hidden`` ``[..., D]`` and ``class_logits`` ``[..., C]``.

        Raises:
            HeadMismatchError: other parts of the model are active than those that the head was fitted for.
        """
        head = self.slot.head(check_weights=False)
        with torch.no_grad(), in_float32(output.hidden.device):
            units = output.hidden.shape[:-1]  # texts, or texts and tokens
            hidden = output.hidden.flatten(0, -2)
            if head.device != hidden.device:  # the model has been moved, or is spread over several devices
                head.to(hidden.device)
            logits = output.class_logits.detach().flatten(0, -2).to(hidden.device)
            if head.error_model is not None:
                views = {name: part.flatten(0, len(units) - 1).to(hidden.device) for name, part in output.views.items()}
                output.error_probability = head.error_probability(hidden, logits, views).unflatten(0, units)
            output.uncertainty = (
                output.error_probability if head.is_calibrated else head(hidden, logits).unflatten(0, units)
            )
