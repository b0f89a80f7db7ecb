"""What can go wrong, as a tree; every message says what was wrong, with the value, and what to do.

AlignedEntropyError
├── CalibrationError       labelled texts that no head can be fitted on
├── UnsupportedModelError  no classification module found, or not a classifier
├── HeadMismatchError      a saved head that does not belong to this model
├── NotFittedError         an error probability asked for before a fit
├── NotApplicableError     a score that these features, or this model, do not have
├── DataError              a file, column or label that cannot be read
└── MissingExtraError      an optional dependency that is not installed
"""


class AlignedEntropyError(Exception):
    """Base of every error that this package raises on purpose."""


class CalibrationError(AlignedEntropyError, ValueError):
    """The calibration set cannot work: no errors, one class, NaN, labels out of range."""


class UnsupportedModelError(AlignedEntropyError, ValueError):
    """The model has no classification module that could be found or copied."""


class HeadMismatchError(AlignedEntropyError, ValueError):
    """A saved head was made for another model, or the model has changed since."""


class NotFittedError(AlignedEntropyError, RuntimeError):
    """Something that only a fitted head can tell was asked of an untrained one."""


class NotApplicableError(AlignedEntropyError, ValueError):
    """A score needs something that is not there: training features, dropout, a second model."""


class DataError(AlignedEntropyError, ValueError):
    """A data set, file, column or label could not be understood."""


class MissingExtraError(AlignedEntropyError, ImportError):
    """An optional dependency is missing; the message holds the exact ``pip install``."""
