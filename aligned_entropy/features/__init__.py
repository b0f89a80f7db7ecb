"""Arrays that the layers of the package exchange, and their store on disk."""

from .arrays import Array, Features
from .store import FeatureStore

__all__ = ["Array", "FeatureStore", "Features"]
