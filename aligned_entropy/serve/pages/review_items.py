"""Texts that wait for a label, as the review page shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ...backbones.words import word_offsets
from ...classifier import UncertainClassifier
from ...data.tags import Span, TagParts, TagSet
from ...features.texts import Text, TextPair
from ...store import StoredPrediction


class Item(BaseModel):
    """Text that waits for a label, with the prediction for it.

    Attributes:
        id: id of the prediction.
        texts: text, or both texts of a pair.
        words: words of the text for token classification.
        suggestion: predicted label, labels, or tags of the words.
        probabilities: probabilities of the most likely classes, falling.
        label_set: classes among which the right one is; None without a set.
        uncertainty: uncertainty in [0, 1].
        error_probability: probability that the prediction is wrong.
        accepted: True if the threshold accepts the prediction.
    """

    id: str
    texts: list[str]
    words: list[str] | None
    suggestion: str | list[str]
    probabilities: dict[str, float]
    label_set: list[str] | None
    uncertainty: float
    error_probability: float | None
    accepted: bool | None


def review_item(stored: StoredPrediction, classifier: UncertainClassifier) -> Item:
    """Convert a stored prediction, whose text is stored, into an item of the page.

    Args:
        stored: stored prediction with its text.
        classifier: classifier that serves.
    """
    assert stored.text is not None, "the page exists only if texts are stored"
    words, suggestion = None, stored.predicted
    texts = _texts(stored.text)
    if classifier.task.per_word:
        words, suggestion = _tagged_words(stored, classifier)
        texts = [" ".join(words)]
    return Item(
        id=stored.id,
        texts=texts,
        words=words,
        suggestion=suggestion,
        probabilities=stored.probabilities or {},
        label_set=stored.label_set,
        uncertainty=stored.uncertainty,
        error_probability=stored.error_probability,
        accepted=stored.accepted,
    )


def _texts(text: Text | list[str]) -> list[str]:
    if isinstance(text, TextPair):
        return [text.text, text.text_pair]
    return [text if isinstance(text, str) else " ".join(text)]


def _tagged_words(stored: StoredPrediction, classifier: UncertainClassifier) -> tuple[list[str], list[str]]:
    """Words of a text, divided as for its prediction, and the tags that its predicted entities stand for."""
    text, tokenizer = stored.text, classifier.backbone.tokenizer
    assert isinstance(text, str | list), "token classification takes no pairs"
    if isinstance(text, str):
        offsets = word_offsets(text, tokenizer)
        words = [text[start:end] for start, end in offsets]
    else:
        words, offsets, position = text, [], 0
        for word in words:
            offsets.append((position, position + len(word)))
            position += len(word) + 1
    tags, entities = TagSet(classifier.label_names), []
    for entity in stored.predicted:
        inside = [row for row, (start, end) in enumerate(offsets) if start < entity["end"] and end > entity["start"]]
        if inside:
            entities.append(Span(inside[0], inside[-1] + 1, entity["entity_group"]))
    outside = tags.tags.get(TagParts("", ""), classifier.label_names[0])
    return words, [tags.tags.get(parts, outside) for parts in tags.write(entities, [0, len(words)])]


def labels_of(classifier: UncertainClassifier) -> dict[str, Any]:
    """Names of the classes, and the kind of label that a text gets: ``one``, ``many``, or ``words``."""
    task = classifier.task
    kind = "one" if task.one_label else "words" if task.per_word else "many"
    return {"labels": list(classifier.label_names), "kind": kind}
