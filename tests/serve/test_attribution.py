"""Attribution of the uncertainty of a text to its words."""

import math
from types import SimpleNamespace

import pytest

from aligned_entropy.serve.attribution import occlusion, shaded


def test_words_that_raise_the_uncertainty_have_weight():
    class Counting:
        def predict(self, texts):
            return [SimpleNamespace(uncertainty=0.1 * text.split().count("maybe")) for text in texts]

    text = "  maybe good,\nmaybe  not "
    pieces = occlusion(Counting(), text)
    assert "".join(piece for piece, _ in pieces) == text
    assert [weight for _, weight in pieces] == pytest.approx([0.1, 0, 0.1, 0])
    assert occlusion(Counting(), "maybe") == []
    long = occlusion(Counting(), " ".join(["good"] * 400 + ["maybe"]))
    assert len(long) == 60
    assert math.isclose(long[-1][1], 0.1, abs_tol=1e-9)


def test_the_darkest_piece_has_the_largest_weight_unless_it_is_small():
    weights = [("a ", 0.4), ("b ", 0.1), ("c ", 0.03), ("d", -0.2)]
    assert [(piece.text, piece.weight, piece.shade) for piece in shaded(weights)] == [
        ("a ", 0.4, 100), ("b ", 0.1, 25), ("c ", 0.03, 0), ("d", -0.2, 0),
    ]  # fmt: skip
    assert [piece.shade for piece in shaded([("a", 0.01), ("b", 0.0)])] == [50, 0]
