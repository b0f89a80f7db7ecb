"""Settings of the training of a classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..display.short_repr import ShortRepr
from ..errors import ArgumentError

Mode = Literal["full", "lora", "freeze"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, repr=False)
class TrainConfig(ShortRepr):
    """Settings of the training of a classifier.

    Attributes:
        mode: ``full`` for full fine-tuning; ``lora`` for LoRA (r = 8 on the attention projections, the classification
            module is trained and saved, too); ``freeze`` to run the encoder once over the texts and train only the
            layers after it.
        epochs: number of passes over the texts; by default 3, and 20 in mode ``freeze``, where a pass takes little
            time.
        learning_rate: peak learning rate; by default 5e-5, 3e-4 in mode ``lora`` and 1e-3 in mode ``freeze``.
        batch_size: number of texts per step.
        max_length: maximum number of tokens of a text; at most the limit of the model, and at most 512.
        seed: seed of the new classification module and of the order of the texts.
        dtype: precision of matrix products, ``float32`` or ``bfloat16``. Weights and their updates are float32 in both.

    Raises:
        ArgumentError: a number other than the seed is not positive, or there is no such mode or precision.
    """

    mode: Mode = "full"
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    max_length: int = 128
    seed: int = 0
    dtype: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ArgumentError(f"{name}={value} is not a positive number.")
        for name, options in (("mode", get_args(Mode)), ("dtype", get_args(Precision))):
            if getattr(self, name) not in options:
                raise ArgumentError(f"{name}={getattr(self, name)!r} is none of {', '.join(options)}.")

    @property
    def total_epochs(self) -> int:
        """Number of epochs, with the default of the mode."""
        return (20 if self.mode == "freeze" else 3) if self.epochs is None else self.epochs

    @property
    def peak_learning_rate(self) -> float:
        """Peak learning rate, with the default of the mode."""
        defaults = {"full": 5e-5, "lora": 3e-4, "freeze": 1e-3}
        return defaults[self.mode] if self.learning_rate is None else self.learning_rate
