"""Short representations of dataclasses with arrays and long values."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, cast

from .card import LINES
from .text_tables import wrapped

SHOWN_NUMBERS = 8  # of an array; a longer one is shown by its type and shape
SHOWN_CHARACTERS = 240  # of a sequence; of a longer one the first values are shown


class ShortRepr:
    """Base of dataclasses whose representation is short: fields at their default are left out, long values are cut."""

    def _one_line(self) -> str:
        values = {part: getattr(self, part.name) for part in fields(cast("Any", self)) if part.repr}
        shown = [f"{part.name}={_values.repr(v)}" for part, v in values.items() if not _is_default(part, v)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __repr__(self) -> str:
        lines = wrapped(self._one_line(), "  ").splitlines()
        return "\n".join(lines if len(lines) <= LINES else [*lines[: LINES - 1], "  …)"])


class _Values(reprlib.Repr):
    """Representations of values: arrays by type and shape, sequences by their first values and their number."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlevel, self.maxdict = 3, 4

    def repr1(self, x: Any, level: int) -> str:
        if hasattr(x, "dtype") and hasattr(x, "shape"):
            if not x.shape or (len(x.shape) == 1 and 0 < x.shape[0] <= SHOWN_NUMBERS):
                return self.repr1(x.tolist(), level)
            return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
        if isinstance(x, ShortRepr):
            return x._one_line()
        if isinstance(x, float):
            return f"{x:.4g}"
        if isinstance(x, str):
            return self.repr_str(x, level)
        if isinstance(x, Mapping) and not isinstance(x, dict):
            return self.repr_dict(dict(x), level)
        if isinstance(x, Sequence) and not isinstance(x, tuple):
            return self._sequence(x, level)
        return " ".join(super().repr1(x, level).split())

    def _sequence(self, x: Sequence[Any], level: int) -> str:
        shown = [self.repr1(x[i], level - 1) for i in range(min(len(x), SHOWN_NUMBERS))] if level > 0 else []
        if len(shown) == len(x) and sum(map(len, shown)) <= SHOWN_CHARACTERS:
            return f"[{', '.join(shown)}]"
        return f"[{''.join(f'{value}, ' for value in shown[:2])}… {len(x):,} in all]"


_values = _Values()


def _is_default(part: Field[Any], value: Any) -> bool:
    default = part.default if part.default_factory is MISSING else part.default_factory()
    return value is default or (not hasattr(value, "shape") and bool(value == default))
