"""Entities as spans and as tags of words."""

import pytest

from aligned_entropy import DataError
from aligned_entropy.data.tags import TagSet
from aligned_entropy.review.spans import Span, spans_of_entities, tagged_words, trimmed_spans


@pytest.mark.parametrize(
    ("text", "spans", "words", "tags"),
    [
        ("Ada, Bob spoke", [(0, 3, "PER"), (5, 8, "PER")], ["Ada", ",", "Bob", "spoke"], "B-PER O B-PER O"),
        ("New York", [(0, 8, "LOC")], ["New", "York"], "B-LOC I-LOC"),
        ("anti-Trump", [(5, 10, "PER")], ["anti-", "Trump"], "O B-PER"),
        (["New York", "is"], [(0, 8, "LOC")], ["New York", "is"], "B-LOC O"),
        (["anti-Trump", "."], [(5, 10, "PER")], ["anti-", "Trump", "."], "O B-PER O"),
        ("東京に", [(0, 2, "LOC")], ["東", "京", "に"], "B-LOC I-LOC O"),
        ("AB", [(0, 1, "X"), (1, 2, "X")], ["A", "B"], "B-X B-X"),
        ("nothing here", [], ["nothing", "here"], "O O"),
    ],
)
def test_spans_become_tags(text, spans, words, tags):
    spans = [Span(*span) for span in spans]
    assert tagged_words(spans, text) == (words, tags.split())
    names = ["O", *{f"{role}-{span.kind}" for span in spans for role in "BI"}]
    read = TagSet(names).spans(tags.split(), [0, len(words)])
    assert [span.kind for span in read] == [span.kind for span in spans], "the tags hold exactly these entities"


def test_spaces_at_the_ends_do_not_count():
    assert trimmed_spans([Span(3, 9, "A")], "an  Ada  b") == [Span(4, 7, "A")]
    for spans, message in (
        ([Span(2, 4, "A")], "holds no word"),
        ([Span(0, 99, "A")], "holds no word"),
        ([Span(0, 6, "A"), Span(4, 7, "B")], "two entities overlap: 'an  Ad' and 'Ada'"),
    ):
        with pytest.raises(DataError, match=message):
            trimmed_spans(spans, "an  Ada  b")


def test_an_entity_without_a_word_is_not_lost_without_a_sign():
    with pytest.raises(DataError, match="holds no word"):
        tagged_words([Span(2, 3, "A")], "a \u200b b")


def test_entities_of_every_form_are_spans():
    entities = [{"entity_group": "A", "start": 4, "end": 5}, {"label": "B", "start": 0, "end": 2}]
    assert spans_of_entities(entities) == [Span(0, 2, "B"), Span(4, 5, "A")]
    for wrong in ([{"start": 1}], ["A"], [{"start": "x", "end": 2}]):
        with pytest.raises(DataError, match="not objects with start, end"):
            spans_of_entities(wrong)
