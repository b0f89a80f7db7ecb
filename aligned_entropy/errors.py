"""Exceptions and warnings of the package; every message names the wrong value and says what to do.

Exceptions that are raised on purpose:

AlignedEntropyError
├── ArgumentError          an argument with a value that cannot be used
├── ArgumentTypeError      an argument of a type that cannot be used
├── CalibrationError       a calibration set on which no head can be fitted
├── UnsupportedModelError  a model without a usable classification module
├── HeadMismatchError      a saved head that does not belong to the model
├── NotFittedError         a value that only a fitted head has
├── NotApplicableError     a score or option that the model, task or features do not support
├── DataError              a file, column or label that cannot be read
├── EndpointError          an endpoint that cannot be reached, refuses requests or gives no log-probabilities
├── StoreError             a database of predictions and feedback that cannot be used now
└── MissingExtraError      an optional dependency that is not installed
"""

from __future__ import annotations

import sys
import warnings
from traceback import walk_stack


class AlignedEntropyError(Exception):
    """Base class of all exceptions that this package raises on purpose."""


class ArgumentError(AlignedEntropyError, ValueError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(AlignedEntropyError, TypeError):
    """An argument has a type that cannot be used."""


class CalibrationError(AlignedEntropyError, ValueError):
    """A head cannot be fitted on the calibration set: no errors, one class, NaN, or labels out of range."""


class UnsupportedModelError(AlignedEntropyError, ValueError):
    """The classification module of a model cannot be found or copied."""


class HeadMismatchError(AlignedEntropyError, ValueError):
    """A saved head was fitted for another model, or the model has changed since."""


class NotFittedError(AlignedEntropyError, RuntimeError):
    """A value was requested that only a fitted head has."""


class NotApplicableError(AlignedEntropyError, ValueError):
    """A score or option needs something that is missing, such as training features, dropout or a second model."""


class DataError(AlignedEntropyError, ValueError):
    """A data set, file, column or label cannot be read."""


class EndpointError(AlignedEntropyError, RuntimeError):
    """An endpoint cannot be reached, refuses requests or gives no log-probabilities; replies so far are stored."""


class StoreError(AlignedEntropyError, RuntimeError):
    """The database of a server's predictions and feedback cannot be reached, or refuses a statement."""


class MissingExtraError(AlignedEntropyError, ImportError):
    """An optional dependency is missing; the message holds the exact ``pip install`` command."""


def warn_user(message: str) -> None:
    """Warn at the line outside of the package that called it, however many functions are between.

    By default, Python shows a warning once for each line that it names: a line of the package would hide later ones.
    """
    names = [frame.f_globals.get("__name__", "") for frame, _ in walk_stack(sys._getframe())]
    outermost = max(level for level, name in enumerate(names, 1) if name.partition(".")[0] == __package__)
    warnings.warn(message, UserWarning, stacklevel=outermost + 1)
