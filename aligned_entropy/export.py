"""Export of a classifier with its head as one ONNX graph, for servers without this library."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbones import Backbone
from .backbones.batching import require_texts
from .classifier import UncertainClassifier
from .errors import MissingExtraError, UnsupportedModelError
from .head.multilabel_head import MultiLabelHead
from .saved.format import check_output_folder

# Batches of several sizes and lengths: a graph with a size fixed during the export fails on the others.
TRIAL_BATCHES = (
    ["It was fine."],
    ["not bad", "Good, I would say, if one likes that kind of thing, and long if one does not.", "!"],
    ["The first of them was better than the second, or so they said. " * 8, "a", "so it goes", "", "why?"],
)
TOLERANCE = 1e-3  # largest difference of logits and probabilities between graph and model
PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class QuantizationEffect:
    """Effect of 8-bit quantization on the predictions for given texts.

    Attributes:
        predictions: number of predictions: texts, tokens for token classification, or pairs of text and label for
            multi-label classification.
        changed_share: share of the predictions that change.
        rank_correlation: rank correlation (Spearman) of the uncertainty before and after the quantization.
    """

    predictions: int
    changed_share: float
    rank_correlation: float

    def to_dict(self) -> dict[str, Any]:
        """Return the effect as JSON values, with the keys ``answers``, ``changed`` and ``correlation``."""
        return {"answers": self.predictions, "changed": self.changed_share, "correlation": self.rank_correlation}


@dataclass(frozen=True)
class Export:
    """Exported graph.

    Attributes:
        folder: folder with ``model.onnx``, ``config.json`` and the files of the tokenizer.
        inputs: names of the inputs, ``[N, T]`` int64.
        outputs: names of the outputs.
        difference: largest difference between the outputs of the graph in ONNX Runtime and of the model, on trial
            texts, before a quantization.
        int8: effect of 8-bit quantization; None without it.
    """

    folder: Path
    inputs: list[str]
    outputs: list[str]
    difference: float
    int8: QuantizationEffect | None = None


def export_onnx(classifier: UncertainClassifier, folder: str | Path, int8: Sequence[str] | None = None) -> Export:
    """Write a classifier with its head as one ONNX graph from token ids to logits and uncertainty.

    The outputs are ``logits`` ``[N, C]``, ``uncertainty`` ``[N]`` and, with a fitted head, ``error_probability``
    ``[N]``. For token classification they have the shapes ``[N, T, C]`` and ``[N, T]``, with a value for every token.
    For multi-label classification ``uncertainty`` is that of the text, and ``label_uncertainty`` is ``[N, L]``.
    ``config.json`` contains the labels, the maximum length of texts and the threshold of the head. Batches must be
    padded on the right.

    Args:
        classifier: classifier with its head, in float32 on the CPU.
        folder: folder for the graph; created if it does not exist.
        int8: texts to compare both graphs on; if given, the weight matrices of the model are stored and multiplied in
            8 bits (dynamic quantization), while the head stays in float32. All activations of a batch share one scale,
            so predictions then depend slightly on the other texts of the batch. The threshold is left out, because it
            was certified in float32.

    Raises:
        UnsupportedModelError: the model predicts label words or is not in float32 on the CPU, or its graph cannot be
            made or has other outputs than the model.
        HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        MissingExtraError: ONNX is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export needs optional dependencies: pip install 'aligned-entropy[onnx]'") from error
    backbone = _exportable_backbone(classifier)
    classifier.predict(TRIAL_BATCHES[0])  # raises if the head was fitted for another module or adapter than is active
    folder = Path(folder)
    check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = _padded_batch(backbone, TRIAL_BATCHES[1])
    graph = _Graph(classifier, backbone, list(inputs)).eval()
    path, is_large = folder / "model.onnx", _size_in_bytes(graph) > 2**30  # files above 2 GB cannot be read
    _write_graph(graph, inputs, path, is_large)
    session = onnxruntime.InferenceSession(path, providers=PROVIDERS)
    difference = max(_difference(session, graph, _padded_batch(backbone, texts)) for texts in TRIAL_BATCHES)
    if not difference <= TOLERANCE:
        path.unlink()
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} cannot be exported: outputs of the graph differ from those of the model "
            f"by {difference:.2g}, more than {TOLERANCE:g}."
        )
    effect = None if int8 is None else _quantize(graph, session, path, int8, is_large)
    rule = classifier.saved.rule if int8 is None else None
    config = {
        "task": classifier.task.name,
        "labels": classifier.label_names,
        "max_length": backbone.max_length,
        "pad_token_id": backbone.pad_token_id,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "rule": None if rule is None else rule.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    backbone.tokenizer.save_pretrained(folder)
    return Export(folder, graph.inputs, graph.outputs, difference, effect)


def _exportable_backbone(classifier: UncertainClassifier) -> Backbone:
    """Backbone of a classifier, if it can be exported.

    Raises:
        UnsupportedModelError: the model predicts label words, or is not in float32 on the CPU.
    """
    backbone = classifier.backbone
    if not isinstance(backbone, Backbone):
        raise UnsupportedModelError(
            "a language model that predicts label words cannot be exported, because its prompt is not part of a graph: "
            "train a classifier, or serve this one with alien serve."
        )
    if backbone.dtype != torch.float32:
        raise UnsupportedModelError(f"the model is in {backbone.dtype}: load it with dtype=torch.float32 to export it.")
    if backbone.device.type != "cpu":
        raise UnsupportedModelError(f"the model is on {backbone.device}: load it with device='cpu' to export it.")
    return backbone


class _Graph(nn.Module):
    """Model with its head as one module, from the tensors of a batch to all outputs.

    Args:
        classifier: classifier with its head.
        backbone: backbone of the classifier.
        inputs: names of the inputs.

    Attributes:
        outputs: names of the outputs.
    """

    def __init__(self, classifier: UncertainClassifier, backbone: Backbone, inputs: list[str]) -> None:
        super().__init__()
        self.inputs = inputs
        self.model, self.head = backbone.model, classifier.head
        self.backbone = backbone
        self.outputs = ["logits", "uncertainty"]
        self.outputs += ["error_probability"] if self.head.error_model is not None else []
        self.outputs += ["label_uncertainty"] if isinstance(self.head, MultiLabelHead) else []

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        output = self.backbone.run(**dict(zip(self.inputs, values, strict=True)))
        shape, head = output.hidden.shape[:-1], self.head
        hidden, logits = output.hidden.float().flatten(0, -2), output.logits.float().flatten(0, -2)
        outputs = {"logits": output.logits.float()}
        if isinstance(head, MultiLabelHead):  # one call for both, so that the neighbors are looked up once
            outputs["label_uncertainty"], outputs["uncertainty"] = head.label_and_text_uncertainty(hidden, logits)
            outputs["error_probability"] = outputs["uncertainty"]
        else:
            if head.error_model is not None:
                outputs["error_probability"] = head.error_probability(hidden, logits).unflatten(0, shape)
            outputs["uncertainty"] = (
                outputs["error_probability"] if head.is_calibrated else head(hidden, logits).unflatten(0, shape)
            )
        return tuple(outputs[name].clone() for name in self.outputs)  # clone: one tensor cannot have two output names


def _write_graph(graph: _Graph, inputs: dict[str, Tensor], path: Path, is_large: bool) -> None:
    """Export a graph with dynamic sizes to an ONNX file.

    Args:
        graph: model with its head.
        inputs: example of a batch.
        path: ONNX file.
        is_large: True to store the weights in a file of their own.

    Raises:
        UnsupportedModelError: torch cannot export the model.
    """
    size = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad():
            torch.onnx.export(
                graph,
                tuple(inputs.values()),
                path,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_shapes={"values": tuple({0: size, 1: size} for _ in inputs)},
                dynamo=True,
                external_data=is_large,
                verbose=False,
            )
    except Exception as error:  # the code of the model can raise anything while it is traced
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:300] or type(cause).__name__
        raise UnsupportedModelError(f"{type(graph.backbone.inner).__name__} cannot be exported: {reason}") from error


def _padded_batch(backbone: Backbone, texts: list[str]) -> dict[str, Tensor]:
    return backbone.pad(backbone.tokenize(texts))


def _size_in_bytes(module: nn.Module) -> int:
    return sum(value.nbytes for value in module.state_dict().values())


def _difference(session: Any, graph: _Graph, inputs: dict[str, Tensor]) -> float:
    """Largest difference between the outputs of a session and of the module that it was exported from."""
    with torch.no_grad():
        expected = [value.numpy() for value in graph(*inputs.values())]
    outputs = _run(session, graph.outputs, inputs)
    return max(float(np.abs(a - b).max()) for a, b in zip(expected, outputs, strict=True))


def _run(session: Any, outputs: list[str], inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
    """Compute outputs of a session of ONNX Runtime; inputs that the graph does not read are left out."""
    names = {node.name for node in session.get_inputs()}
    values: list[NDArray[Any]] = session.run(
        outputs, {name: value.numpy() for name, value in inputs.items() if name in names}
    )
    return values


def _quantize(graph: _Graph, session: Any, path: Path, texts: Sequence[str], is_large: bool) -> QuantizationEffect:
    """Replace the file of a float32 graph by its 8-bit quantization, and compare both on texts.

    Args:
        graph: module that was exported.
        session: open session of the float32 graph.
        path: file of the graph.
        texts: texts to compare the graphs on.
        is_large: True if the weights are in a file of their own.
    """
    import onnx
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import QuantType, quantize_dynamic

    require_texts(texts)
    nodes = onnx.load(path, load_external_data=False).graph.node
    head_nodes = [node.name for node in nodes if any("_Graph/head" in fact.value for fact in node.metadata_props)]
    disabled_level = logging.root.manager.disable
    with TemporaryDirectory(dir=path.parent) as scratch:
        logging.disable(logging.WARNING)  # the quantizer recommends a preparation that is meant for other graphs
        try:
            options = {"per_channel": True, "nodes_to_exclude": head_nodes, "use_external_data_format": is_large}
            quantize_dynamic(path, f"{scratch}/model.onnx", weight_type=QuantType.QInt8, **options)
        finally:
            logging.disable(disabled_level)
        for file in Path(scratch).iterdir():
            file.replace(path.parent / file.name)
    quantized = InferenceSession(path, providers=PROVIDERS)
    return _compare(graph, (session, quantized), texts)


def _compare(graph: _Graph, sessions: tuple[Any, Any], texts: Sequence[str]) -> QuantizationEffect:
    """Compare the predictions and the uncertainty of two sessions, of the graph before and after quantization."""
    from scipy.stats import spearmanr

    predictions, uncertainties = [], []
    is_multi_label = isinstance(graph.head, MultiLabelHead)
    outputs = ["logits", "label_uncertainty" if is_multi_label else "uncertainty"]
    for _, inputs in graph.backbone.batched(graph.backbone.tokenize(list(texts))):
        results = [_run(session, outputs, inputs) for session in sessions]
        is_per_token = results[0][0].ndim == 3
        rows = inputs["attention_mask"].numpy() == 1 if is_per_token else slice(None)  # leaves out padding
        predictions.append([(z > 0 if is_multi_label else z.argmax(-1))[rows].ravel() for z, _ in results])
        uncertainties.append([uncertainty[rows].ravel() for _, uncertainty in results])
    before, after = np.concatenate(predictions, 1)
    correlation = spearmanr(*np.concatenate(uncertainties, 1)).statistic
    return QuantizationEffect(len(before), float((before != after).mean()), float(correlation))
