"""Cells of a column of texts."""

import warnings

import pytest

from aligned_entropy.data import labeled_texts, load_data


@pytest.mark.parametrize(("texts", "is_noticed"), [(range(100, 120), True), (range(100, 119), False)])
def test_a_column_of_numbers_in_place_of_texts_is_noticed(texts, is_noticed):
    rows = {"text": list(map(str, texts)), "label": ["a", "b"] * 10}
    rows["label"] = rows["label"][: len(texts)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labeled_texts(load_data(rows))
    assert [str(warning.message)[:60] for warning in caught] == (
        ["no text in column 'text' has a letter; the first is '100'. I"] if is_noticed else []
    )
