"""Dynamic quantization of an exported graph to 8 bits, and its effect on predictions."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..features.texts import Text
from ..head.multilabel_head import MultiLabelHead
from .graph import Graph, is_large, open_session, real_rows, run_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


@dataclass(frozen=True)
class QuantizationEffect:
    """Effect of 8-bit quantization on the predictions for given texts.

    Attributes:
        predictions: number of predictions: texts, tokens for token classification, or pairs of text and label for
            multi-label classification.
        changed_share: share of the predictions that change.
        rank_correlation: rank correlation (Spearman) of the uncertainty before and after the quantization; NaN if all
            predictions are equally uncertain.
    """

    predictions: int
    changed_share: float
    rank_correlation: float

    def to_dict(self) -> dict[str, Any]:
        """Return the effect as JSON values, with the keys ``answers``, ``changed`` and ``correlation``."""
        correlation = None if math.isnan(self.rank_correlation) else self.rank_correlation
        return {"answers": self.predictions, "changed": self.changed_share, "correlation": correlation}


def quantize(graph: Graph, session: InferenceSession, path: Path, texts: Sequence[Text]) -> QuantizationEffect:
    """Replace the file of a float32 graph by its 8-bit quantization, and compare both on texts.

    Args:
        graph: module that was exported.
        session: open session of the float32 graph.
        path: file of the graph.
        texts: texts to compare the graphs on.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(path, load_external_data=False).graph.node
    head_nodes = [node.name for node in nodes if any("Graph/head" in fact.value for fact in node.metadata_props)]
    disabled_level = logging.root.manager.disable
    with TemporaryDirectory(dir=path.parent) as scratch:
        logging.disable(logging.WARNING)  # the quantizer recommends a preparation that is meant for other graphs
        try:
            options = {"per_channel": True, "nodes_to_exclude": head_nodes, "use_external_data_format": is_large(graph)}
            quantize_dynamic(path, f"{scratch}/model.onnx", weight_type=QuantType.QInt8, **options)
        finally:
            logging.disable(disabled_level)
        for file in Path(scratch).iterdir():
            file.replace(path.parent / file.name)
    return _compare(graph, (session, open_session(path)), texts)


def _compare(graph: Graph, sessions: Sequence[InferenceSession], texts: Sequence[Text]) -> QuantizationEffect:
    """Compare the predictions and the uncertainty of two sessions, of the graph before and after quantization."""
    from scipy.stats import spearmanr

    predictions, uncertainties = [], []
    is_multi_label = isinstance(graph.head, MultiLabelHead)
    outputs = ["logits", "label_uncertainty" if is_multi_label else "uncertainty"]
    for _, inputs in graph.backbone.batched(graph.backbone.tokenize(list(texts))):
        results = [run_session(session, outputs, inputs) for session in sessions]
        rows = real_rows(inputs, graph.backbone)
        predictions.append([(z > 0 if is_multi_label else z.argmax(-1))[rows].ravel() for z, _ in results])
        uncertainties.append([uncertainty[rows].ravel() for _, uncertainty in results])
    before, after = np.concatenate(predictions, 1)
    values = np.concatenate(uncertainties, 1)
    correlation = spearmanr(*values).statistic if np.ptp(values, 1).all() else math.nan
    return QuantizationEffect(len(before), float((before != after).mean()), float(correlation))
