"""Scores of other distributions: entry points of the group ``aligned_entropy.scores``, loaded when they are used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import nn

from ..errors import ArgumentError
from .base import FunctionScore, Score

GROUP = "aligned_entropy.scores"


@dataclass(frozen=True)
class Plugin:
    """Score of another distribution.

    Attributes:
        entry: entry point; its name is the name of the score.
        distribution: name and version of the distribution, as for ``pip``.
    """

    entry: EntryPoint
    distribution: str

    def load(self) -> type[Score]:
        """Import the class of the score; a function of features becomes a class.

        Raises:
            ArgumentError: the import fails, or its result is no score; the message names the distribution.
        """
        name = self.entry.name
        place = f"the score {name!r} of {self.distribution} ({self.entry.value})"
        try:
            kind = self.entry.load()
        except Exception as error:  # code of others can raise anything
            reason = " ".join(str(error).split())
            raise ArgumentError(
                f"{place} cannot be imported ({type(error).__name__}: {reason}): mend or uninstall the distribution."
            ) from error
        if isinstance(kind, type) and issubclass(kind, Score):
            if getattr(kind, "name", None) != name:
                raise ArgumentError(f"{place} has the name {getattr(kind, 'name', None)!r}: give both one name.")
            return kind
        if isinstance(kind, type) or not callable(kind):
            raise ArgumentError(f"{place} is no score: name a subclass of Score, or a function of features.")
        return _class_of(kind, name)


def plugin_scores(taken: Collection[str]) -> dict[str, Plugin]:
    """Find the scores of other distributions by name; none of them is imported.

    Args:
        taken: names of the scores of this library.

    Raises:
        ArgumentError: a name is taken, by this library or by another distribution.
    """
    plugins: dict[str, Plugin] = {}
    for entry in entry_points(group=GROUP):
        owner = "an unknown distribution" if entry.dist is None else f"{entry.dist.name}=={entry.dist.version}"
        if entry.name in taken:
            raise ArgumentError(
                f"{owner} registers the score {entry.name!r}, which is a score of this library: rename it, or "
                "uninstall the distribution."
            )
        other = plugins.setdefault(entry.name, Plugin(entry, owner))
        if (other.distribution, other.entry.value) != (owner, entry.value):
            raise ArgumentError(
                f"{other.distribution} and {owner} both register the score {entry.name!r}: rename one of them, or "
                "uninstall one distribution."
            )
    return plugins


def _class_of(function: Any, score_name: str) -> type[Score]:
    """Make a class of scores from a function of features."""

    class PluginScore(FunctionScore):
        """Score that calls a function of another distribution."""

        name = score_name

        def __init__(self, module: nn.Module | None = None, seed: int = 0) -> None:
            super().__init__(function, score_name)

    return PluginScore
