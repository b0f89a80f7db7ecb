"""Warnings in the log of a server that starts."""

from types import SimpleNamespace

import pytest

from aligned_entropy.serve.run import _warn_of_head


@pytest.mark.parametrize(
    ("head", "accepted", "warning"),
    [
        (None, None, "no head: predictions have no error probability"),
        ("head", None, ""),
        ("head", 12, ""),
        ("head", 0, "the threshold of the head accepts no prediction"),
    ],
)
def test_a_head_that_decides_nothing_is_warned_of(head, accepted, warning, caplog):
    _warn_of_head(head, None if accepted is None else SimpleNamespace(accepted=accepted))
    assert warning in caplog.text
    assert len(caplog.records) == bool(warning)
