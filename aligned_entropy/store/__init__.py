"""Store of a server: predictions, feedback and the head in use, in SQLite or PostgreSQL."""

from ..errors import MissingExtraError
from .records import NewFeedback, QueueCounts, StoredFeedback, StoredHead, StoredPrediction, TextPolicy

try:
    from .reading import is_feedback, read_feedback
    from .store import Store
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "a store of predictions and feedback needs an optional dependency: pip install 'aligned-entropy[serve]'"
    ) from error

__all__ = [
    "NewFeedback",
    "QueueCounts",
    "Store",
    "StoredFeedback",
    "StoredHead",
    "StoredPrediction",
    "TextPolicy",
    "is_feedback",
    "read_feedback",
]
