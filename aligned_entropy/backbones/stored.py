"""Features of texts from the store on disk, computed where they are missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..display.progress import Progress
from ..features.arrays import Features
from ..features.store import fill
from ..features.texts import Text, are_pairs
from .layers import TYPES, empty_inputs

if TYPE_CHECKING:
    from .base import BaseBackbone


def stored_features(backbone: BaseBackbone, texts: Sequence[Text], progress: Progress, views: bool) -> Features:
    """Read the features of texts from the store, and compute those that are missing.

    Arrays that the store has are kept: if it lacks the inputs of views, these alone are added.

    Args:
        backbone: model of the features.
        texts: texts of the rows.
        progress: function that is called with the number of texts whose features have become ready.
        views: True for the inputs of views, too, as far as the model allows to read them.

    Raises:
        DataError: there are no texts, or some are pairs and others are single texts.
    """
    are_pairs(texts)  # raises an error if there are both
    shapes, fingerprint = backbone.view_shapes if views else {}, backbone.model_fingerprint
    widths = {"hidden": backbone.width, "logits": backbone.classes}
    stores = [backbone.store(texts, widths, fingerprint)]
    for name, shape in shapes.items():
        stores.append(backbone.store(texts, {name: math.prod(shape)}, fingerprint, TYPES[name]))

    def extract(rows: slice) -> list[tuple[NDArray[Any], ...]]:
        if not shapes:
            return [backbone.extract(texts[rows], progress)]
        features = backbone.extract_encoded(backbone.encode(texts[rows]), progress, views=True)
        padded = empty_inputs(shapes, len(features))
        for name, values in features.views.items():
            padded[name][:, : values.shape[1]] = values
        arrays = (values.reshape(len(features), -1) for values in padded.values())
        return [(features.hidden, features.logits), *((values,) for values in arrays)]

    (hidden, logits), *stored = fill(stores, extract, progress)
    pairs = zip(shapes.items(), stored, strict=True)
    return Features(hidden, logits, views={name: values.reshape(-1, *shape) for (name, shape), (values,) in pairs})
