"""Basis of the estimated accuracy of a job: the labeled predictions of the classifier's head."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..accuracy import AccuracyBasis
from ..features.files import write_atomic
from ..saved.accuracy_basis import accuracy_bases

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier

BASIS_FILE = "_accuracy.json"  # in a folder of predictions; readers of Parquet folders skip names with a _

Bases = Mapping[str, AccuracyBasis]
"""Basis by kind of predictions: ``texts``, or ``entities`` and ``sentences``."""


def bases_of(classifier: UncertainClassifier) -> Bases:
    """Basis of each kind of predictions of a classifier; none before a fit."""
    return accuracy_bases(classifier.saved, classifier.task.per_word)


def write_bases(folder: Path, classifier: UncertainClassifier) -> None:
    """Write the bases into a folder of predictions, unless they are there: a later run may load no model."""
    if (folder / BASIS_FILE).exists():
        return
    facts = {unit: basis.to_dict() for unit, basis in bases_of(classifier).items()}
    write_atomic(folder / BASIS_FILE, json.dumps(facts).encode())


def read_bases(folder: Path) -> Bases:
    """Read the bases in a folder of predictions; none if no worker has written them."""
    path = folder / BASIS_FILE
    if not path.exists():
        return {}
    facts = json.loads(path.read_text(encoding="utf-8"))
    return {unit: AccuracyBasis.from_dict(basis) for unit, basis in facts.items()}
