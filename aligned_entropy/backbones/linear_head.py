"""Linear heads of SetFit: logistic regressions of scikit-learn and heads of torch, read from ``model_head.pkl``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..display.wording import type_name
from ..errors import MissingExtraError, UnsupportedModelError
from .checkpoints import TRUST

# Everything that the pickle of a logistic regression names. None of it runs code of the pickle, and joblib looks up the
# names of arrays of objects in the same way.
HARMLESS = {
    "joblib.numpy_pickle": {"NumpyArrayWrapper"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},  # of numpy before 2.0
    "sklearn.linear_model._logistic": {"LogisticRegression"},
    "sklearn.multiclass": {"OneVsRestClassifier", "_ConstantPredictor"},
    "sklearn.multioutput": {"ClassifierChain", "MultiOutputClassifier"},
    "sklearn.preprocessing._label": {"LabelBinarizer"},
}
RETRAIN = "Train the head again as a logistic regression, or train a classifier with `alien train`."


@dataclass(frozen=True)
class LinearHead:
    """Linear map from an embedding to logits.

    Attributes:
        weight: weights ``[C, D]`` float32.
        bias: biases ``[C]`` float32.
        names: names of the C classes or labels.
        multi_label: True if the probabilities are sigmoids of the logits, one for each label; False if they are their
            softmax.
    """

    weight: Tensor
    bias: Tensor
    names: list[str]
    multi_label: bool

    @classmethod
    def read(cls, path: Path, labels: Sequence[str] | None, *, trusted: bool) -> LinearHead:
        """Read a head of SetFit.

        Args:
            path: the file ``model_head.pkl``.
            labels: names of the classes in the configuration of SetFit, if it has them.
            trusted: True to run code that is in the file.

        Raises:
            UnsupportedModelError: the file has code that may not run, or its probabilities are neither a softmax nor
                sigmoids of linear logits.
            MissingExtraError: the head was written by a library that is not installed.
        """
        head = _load_pickle(path, trusted=trusted)
        return _torch_head(head, path, labels) if isinstance(head, nn.Module) else _sklearn_head(head, path, labels)

    def module(self) -> nn.Linear:
        """Make the linear layer of the head, in float32."""
        layer = nn.Linear(self.weight.shape[1], self.weight.shape[0])
        layer.load_state_dict({"weight": self.weight, "bias": self.bias})
        return layer.requires_grad_(False)


def _load_pickle(path: Path, *, trusted: bool) -> Any:
    """Load a pickle of joblib; if it is not trusted, only if it names nothing but the parts of a logistic regression.

    Args:
        path: pickle without compression.
        trusted: True to run code that is in the pickle.

    Raises:
        UnsupportedModelError: the pickle has code that may not run, or cannot be read.
        MissingExtraError: a library that wrote the pickle is not installed.
    """
    import joblib
    from joblib.numpy_pickle import NumpyUnpickler

    class HarmlessUnpickler(NumpyUnpickler):  # type: ignore[misc]
        def find_class(self, module: str, name: str) -> Any:
            if name not in HARMLESS.get(module, ()):
                raise UnsupportedModelError(
                    f"{path} is a pickle that names {module}.{name}, so that loading it may run code on this machine: "
                    + TRUST
                )
            return super().find_class(module, name)

    try:
        if trusted:
            return joblib.load(path)
        with path.open("rb") as file:
            return HarmlessUnpickler(str(path), file, ensure_native_byte_order=True).load()
    except UnsupportedModelError:
        raise
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        raise MissingExtraError(f"{path} was written by {library}, which is missing: pip install {library}") from error
    except Exception as error:  # damaged bytes can raise anything
        raise UnsupportedModelError(f"{path} is no head that SetFit saved, it cannot be read: {error}") from error


def _sklearn_head(head: Any, path: Path, labels: Sequence[str] | None) -> LinearHead:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.multioutput import MultiOutputClassifier

    if isinstance(head, LogisticRegression):
        return _softmax_head(head, path, labels)
    if isinstance(head, OneVsRestClassifier) and not getattr(head, "multilabel_", True):
        raise UnsupportedModelError(
            f"{path} is a one-vs-rest classifier of one label a text: its probabilities are sigmoids divided by their "
            f"sum, and no softmax of linear logits. {RETRAIN}"
        )
    if not isinstance(head, OneVsRestClassifier | MultiOutputClassifier):
        reason = ": each label depends on the labels before it" if type(head).__name__ == "ClassifierChain" else ""
        raise UnsupportedModelError(
            f"{path} is {type_name(head)}, which is no linear head{reason}. {RETRAIN} For several labels a text, "
            "the strategies one-vs-rest and multi-output of SetFit are linear."
        )
    regressions = getattr(head, "estimators_", [])
    for index, regression in enumerate(regressions):
        _check_fitted(regression, path)
        if list(regression.classes_) != [0, 1]:
            raise UnsupportedModelError(
                f"label {index} of {path} has the classes {', '.join(map(str, regression.classes_))}, but a label is "
                f"present (1) or absent (0). {RETRAIN}"
            )
    if not regressions:
        raise _unfitted(path)
    weight = np.concatenate([regression.coef_ for regression in regressions])
    bias = np.concatenate([regression.intercept_ for regression in regressions])
    return _head(weight, bias, _names(range(len(weight)), path, labels), multi_label=True)


def _softmax_head(head: Any, path: Path, labels: Sequence[str] | None) -> LinearHead:
    _check_fitted(head, path)
    setting, count = getattr(head, "multi_class", "auto"), len(head.classes_)
    if (setting == "ovr" or head.solver == "liblinear") if count > 2 else setting == "multinomial":
        raise UnsupportedModelError(
            f"{path} is a logistic regression of {count} classes with multi_class={setting!r} and "
            f"solver={head.solver!r}, which older versions of scikit-learn do not read as a softmax of the logits. "
            + RETRAIN
        )
    weight, bias = np.asarray(head.coef_), np.asarray(head.intercept_)
    if count == 2:  # one logit z, the log-odds of the second class: the logits are (0, z)
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
    return _head(weight, bias, _names(head.classes_, path, labels), multi_label=False)


def _torch_head(head: Any, path: Path, labels: Sequence[str] | None) -> LinearHead:
    linear = getattr(head, "linear", None)
    if type(head).__name__ != "SetFitHead" or not isinstance(linear, nn.Linear):
        raise UnsupportedModelError(f"{path} is {type_name(head)}, which is no linear head of SetFit. {RETRAIN}")
    scale = head.temperature + head.eps
    weight = linear.weight.detach().double().cpu() / scale
    bias = weight.new_zeros(len(weight)) if linear.bias is None else linear.bias.detach().double().cpu() / scale
    names = _names(range(len(weight)), path, labels)
    return _head(weight, bias, names, multi_label=bool(head.multitarget))


def _check_fitted(regression: Any, path: Path) -> None:
    """Check that an estimator is a fitted logistic regression.

    Raises:
        UnsupportedModelError: it is another estimator, or was not fitted.
    """
    from sklearn.linear_model import LogisticRegression

    if type(regression).__name__ == "_ConstantPredictor":
        raise UnsupportedModelError(
            f"a label of {path} has the same value in all training texts, so that its probability is 0 or 1 for every "
            f"text: leave out this label. {RETRAIN}"
        )
    if not isinstance(regression, LogisticRegression):
        raise UnsupportedModelError(f"{path} is made of {type(regression).__name__}, which is not linear. {RETRAIN}")
    if not hasattr(regression, "coef_"):
        raise _unfitted(path)


def _unfitted(path: Path) -> UnsupportedModelError:
    return UnsupportedModelError(f"{path} is a head that was not trained: train the model with SetFit, and save it.")


def _names(classes: Any, path: Path, labels: Sequence[str] | None) -> list[str]:
    """Names of classes: SetFit reads a class that is a number as an index of its labels."""
    values = np.asarray(list(classes))
    if labels is None or values.dtype.kind not in "biuf":
        return [str(value) for value in values]
    missing = [value for value in values if not 0 <= int(value) < len(labels)]
    if missing:
        raise UnsupportedModelError(
            f"{path} predicts the class {missing[0]}, but config_setfit.json names {len(labels)} labels: "
            f"{', '.join(map(str, labels))}. Name a label for every class, from 0 on."
        )
    return [str(labels[int(value)]) for value in values]


def _head(weight: Any, bias: Any, names: list[str], *, multi_label: bool) -> LinearHead:
    return LinearHead(torch.as_tensor(weight).float(), torch.as_tensor(bias).float(), names, multi_label)
