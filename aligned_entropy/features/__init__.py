"""The arrays between all layers, and their store on disk."""

from .arrays import Array, Features
from .store import FeatureStore

__all__ = ["Array", "FeatureStore", "Features"]
