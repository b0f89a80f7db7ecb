"""Words of one text with their tags, to compare predicted entities with true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from .tag_matching import has_tag_names
from .tags import TagSet


@dataclass(frozen=True)
class TaggedWords:
    """Words that tags label, which may be divided by other white space than their text.

    Attributes:
        text: text.
        words: words of the text in order.
        tag_names: tags of the model.
    """

    text: str
    words: Sequence[str]
    tag_names: Sequence[str]

    def differ(self, entities: Sequence[Mapping[str, Any]], tags: Sequence[str]) -> bool | None:
        """True if predicted entities are not those of the tags; None if the tags have no names.

        Args:
            entities: entities with the fields of :class:`aligned_entropy.predictions.Entity`.
            tags: true tag of each word.
        """
        if not has_tag_names(self.tag_names):
            return None
        ends = list(accumulate((len("".join(word.split())) for word in self.words), initial=0))
        spans = TagSet(self.tag_names).spans(list(tags), [0, len(self.words)])
        true = {(span.kind, ends[span.first], ends[span.end]) for span in spans}
        before = list(accumulate((not character.isspace() for character in self.text), initial=0))
        return true != {(entity["entity_group"], before[entity["start"]], before[entity["end"]]) for entity in entities}
