"""Store of a server: predictions, feedback and the head in use, in SQLite or PostgreSQL."""

from .reading import is_feedback, labeled_keys, read_feedback, text_key
from .records import NewFeedback, QueueCounts, StoredFeedback, StoredHead, StoredPrediction, TextPolicy
from .store import Store

__all__ = [
    "NewFeedback",
    "QueueCounts",
    "Store",
    "StoredFeedback",
    "StoredHead",
    "StoredPrediction",
    "TextPolicy",
    "is_feedback",
    "labeled_keys",
    "read_feedback",
    "text_key",
]
