"""Ends of messages about names that could not be loaded."""

import pytest

from aligned_entropy.display.hints import hub_problem


class ConnectError(Exception):
    """The error of a client that reaches no server."""


def chained(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectError("[Errno -2] Name or service not known"), "the hub cannot be reached: [Errno -2] Name or service"),
        (chained(OSError("not in the cache"), ConnectError("no route")), "the hub cannot be reached: not in the cache"),
        (OSError("Got: ConnectError: no route"), "the hub cannot be reached: Got: ConnectError"),
        (ValueError("401 Client Error.\nMore lines"), "the hub says: 401 Client Error."),
        (ValueError(), "the hub says: ValueError"),
    ],
)
def test_a_hub_that_cannot_be_reached_is_told_from_one_that_refuses(error, words):
    message = hub_problem(error)
    assert message.startswith(words)
    assert "\n" not in message
