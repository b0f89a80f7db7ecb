"""Property of tags for random entities: they survive from data in one scheme to a model with tags in another."""

import unicodedata
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aligned_entropy.data import labeled_tokens
from aligned_entropy.data.tags import Span, TagSet

# Letters for the first, a middle, the last and the only word of an entity.
SCHEMES = {"IOB2": "BIIB", "IOBES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEWO": "BMEW", "IOE2": "IIEE"}
NOTATIONS = ("{letter}-{kind}", "{letter}_{kind}", "{kind}-{letter}")
kind = st.text(st.characters(categories=["L", "Nd"]), min_size=2, max_size=5).map(partial(unicodedata.normalize, "NFC"))
kinds = st.lists(kind, min_size=2, max_size=3)
segments = st.lists(st.tuples(st.integers(-1, 1), st.integers(1, 4)), max_size=6)  # -1: outside of entities


def letters_of(scheme, length):
    first, middle, last, only = SCHEMES[scheme]
    return [only] if length == 1 else [first, *[middle] * (length - 2), last]


def tagged(sentence, kinds, scheme, notation):
    return [
        "O" if number < 0 else notation.format(letter=letter, kind=kinds[number])
        for number, length in sentence
        for letter in letters_of(scheme, length)
    ]


def entities(sentences, kinds):
    first, spans = 0, []
    for number, length in (segment for sentence in sentences for segment in sentence):
        spans += [Span(first, first + length, kinds[number])] if number >= 0 else []
        first += length
    return spans


@pytest.mark.parametrize("of_model", ["IOB2", "IOBES", "BILOU", "IOE2"])
@pytest.mark.parametrize("of_data", SCHEMES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(sentences=st.lists(segments, min_size=1, max_size=4), kinds=kinds, notation=st.sampled_from(NOTATIONS))
def test_entities_survive_from_one_scheme_to_another(of_data, of_model, sentences, kinds, notation):
    assume(len({kind.casefold() for kind in kinds}) == len(kinds) and any(sentences))
    tags = [tagged(sentence, kinds, of_data, notation) for sentence in sentences]
    roles = {tag[-1] for row in tags for tag in row if tag != "O"}
    assume(notation != NOTATIONS[2] or len(roles) != 1)  # one letter at the end of all tags may belong to the types
    model_tags = ["O", *(f"{letter}-{kind}" for kind in kinds for letter in dict.fromkeys(SCHEMES[of_model]))]
    data = labeled_tokens({"tokens": [["word"] * len(row) for row in tags], "tags": tags}, model_tags)
    labels = [model_tags[label] for label in data.labels]
    starts = [0, *accumulate(map(len, tags))]
    assert TagSet(model_tags).spans(labels, starts) == entities(sentences, kinds)
