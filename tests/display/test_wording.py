"""Words of messages: nouns after numbers, and articles before types."""

import numpy as np
import pytest

from aligned_entropy.display.wording import counted, type_name


@pytest.mark.parametrize(
    ("number", "plural", "words"),
    [(0, "errors", "0 errors"), (1, "errors", "1 error"), (1, "entities", "1 entity"), (1, "classes", "1 class"),
     (1200, "texts", "1,200 texts")],
)  # fmt: skip
def test_a_number_has_its_noun(number, plural, words):
    assert counted(number, plural) == words


def test_a_type_has_its_article():
    assert [type_name(value) for value in (1, "a", np.int64(1), None, iter([]))] == [
        "an int", "a str", "an int64", "a NoneType", "a list_iterator",
    ]  # fmt: skip
