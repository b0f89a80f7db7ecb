"""Warnings name the line of the user's code that called the package."""

from contextlib import ContextDecorator

import pytest

from aligned_entropy.errors import warn_user


class Decorator(ContextDecorator):
    """A decorator that puts a frame of contextlib between two functions."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def in_the_package(function):
    """A function of a module of the package that calls another one."""
    names = {"__name__": "aligned_entropy.somewhere", "function": function}
    exec("def call(message):\n    function(message)", names)
    return names["call"]


@pytest.mark.parametrize(
    "function",
    [
        warn_user,
        in_the_package(in_the_package(warn_user)),
        in_the_package(Decorator()(in_the_package(warn_user))),
        in_the_package(lambda message: in_the_package(warn_user)(message)),
    ],
    ids=["directly", "through functions", "through a decorator", "through a function of the user"],
)
def test_a_warning_names_the_line_that_called_the_package(function):
    with pytest.warns(UserWarning, match="careful") as caught:
        function("careful")
    (warning,) = caught
    with open(__file__, encoding="utf-8") as lines:
        line = lines.read().splitlines()[warning.lineno - 1]
    assert (warning.filename, line.strip()) == (__file__, 'function("careful")')
