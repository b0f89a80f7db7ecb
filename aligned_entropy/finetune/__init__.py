"""Training of a classifier to put a head on: full fine-tuning, LoRA, or a frozen encoder with trained top layers."""

from .config import Mode, Precision, TrainConfig
from .measures import Epoch
from .training import train_classifier

__all__ = ["Epoch", "Mode", "Precision", "TrainConfig", "train_classifier"]
