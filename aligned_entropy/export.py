"""Model and head as one ONNX graph, for servers without this library."""

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
from torch import Tensor, nn

from .backbones.batching import require_texts
from .classifier import UncertainClassifier
from .errors import MissingExtraError, UnsupportedModelError
from .head.multilabel_head import MultiLabelHead
from .saved.format import check_output_folder

# Short and long, alone and together: a graph that has taken a size for granted gives itself away.
TRIALS = (
    ["It was fine."],
    ["not bad", "Good, I would say, if one likes that kind of thing, and long if one does not.", "!"],
    ["The first of them was better than the second, or so they said. " * 8, "a", "so it goes", "", "why?"],
)
TOLERANCE = 1e-3  # of logits and probabilities


@dataclass(frozen=True)
class Change:
    """What 8 bits change, on texts.

    Attributes:
        answers: how many there are: texts, tokens of words, or (text, label) pairs.
        changed: share of them that are other ones.
        correlation: rank correlation of the uncertainty (Spearman).
    """

    answers: int
    changed: float
    correlation: float


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: ``model.onnx``, ``config.json`` and the tokenizer's files.
        inputs: names of the graph's inputs, ``[N, T]`` int64.
        outputs: names of its outputs.
        difference: largest one between the graph in ONNX Runtime and the model, of all outputs on trial texts.
        int8: what 8 bits change after that, where they were asked for.
    """

    folder: Path
    inputs: list[str]
    outputs: list[str]
    difference: float
    int8: Change | None = None


def export_onnx(classifier: UncertainClassifier, folder: str | Path, int8: Sequence[str] | None = None) -> Export:
    """Write a classifier with its head as one graph: token ids in, logits and uncertainty out.

    The outputs are ``logits`` ``[N, C]``, ``uncertainty`` ``[N]`` and, of a fitted head, ``error_probability`` ``[N]``;
    of words ``[N, T, C]`` and ``[N, T]`` for every token; of many labels ``uncertainty`` is that of the text, with
    ``label_uncertainty`` ``[N, L]``. ``config.json`` has the labels, what texts are cut at and the head's threshold.
    Batches are padded on the right.

    Args:
        classifier: with its head, in float32 on the CPU.
        folder: to write to; made if need be.
        int8: texts. The model's matrices are then stored in 8 bits and multiplied so (dynamic quantization; the head
            stays in float32), and both graphs answer the texts. An answer then depends a little on its batch, of which
            all activations have one scale. A threshold is left out: it was shown for float32.

    Raises:
        UnsupportedModelError: the model answers by label words, is not in float32 on the CPU, or its graph cannot be
            had or does not answer as the model does.
        HeadMismatchError: the head was made for another adapter or classification module than is in use.
        MissingExtraError: ONNX is not installed.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export needs more: pip install 'aligned-entropy[onnx]'") from error
    backbone = classifier.backbone
    if "prompt" in backbone.facts:
        raise UnsupportedModelError("a model that answers by label words cannot be exported: its prompt is no graph.")
    if backbone.dtype != torch.float32:
        raise UnsupportedModelError(f"the model is in {backbone.dtype}: load it with dtype=torch.float32 to export it.")
    if backbone.device.type != "cpu":
        raise UnsupportedModelError(f"the model is on {backbone.device}: load it with device='cpu' to export it.")
    classifier.predict(TRIALS[0])  # raises where the head does not belong to what is in use
    folder = Path(folder)
    check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    inputs, size = _batch(classifier, TRIALS[1]), torch.export.Dim.DYNAMIC
    graph = _Graph(classifier, list(inputs)).eval()
    path, large = folder / "model.onnx", _bytes(graph) > 2**30  # a file of more than two gigabytes is not read
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
                external_data=large,
                verbose=False,
            )
    except Exception as error:  # whatever a foreign model makes go wrong
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        reason = " ".join(str(first).split())[:300] or type(first).__name__
        raise UnsupportedModelError(f"{type(backbone.inner).__name__} cannot be exported: {reason}") from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = max(_difference(session, graph, _batch(classifier, texts)) for texts in TRIALS)
    if not difference <= TOLERANCE:
        path.unlink()
        raise UnsupportedModelError(
            f"the graph of {type(backbone.inner).__name__} does not answer as the model does: {difference:.2g} apart."
        )
    change = None if int8 is None else _quantize(classifier, graph, session, path, int8, large)
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
    return Export(folder, graph.inputs, graph.outputs, difference, change)


class _Graph(nn.Module):
    """From a batch to the outputs."""

    def __init__(self, classifier: UncertainClassifier, inputs: list[str]) -> None:
        super().__init__()
        self.inputs = inputs
        self.model, self.head = classifier.backbone.model, classifier.head
        self._backbone = [classifier.backbone]  # no module, and none to be registered
        self.outputs = ["logits", "uncertainty"]
        self.outputs += ["error_probability"] if self.head.error_model is not None else []
        self.outputs += ["label_uncertainty"] if isinstance(self.head, MultiLabelHead) else []

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        output = self._backbone[0].run(**dict(zip(self.inputs, values, strict=True)))
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
        return tuple(outputs[name].clone() for name in self.outputs)  # an output that stands twice needs two names


def _batch(classifier: UncertainClassifier, texts: list[str]) -> dict[str, Tensor]:
    backbone = classifier.backbone
    return backbone.pad(backbone.tokenize(texts))


def _bytes(module: nn.Module) -> int:
    return sum(value.nbytes for value in module.state_dict().values())


def _difference(session: Any, graph: _Graph, inputs: dict[str, Tensor]) -> float:
    with torch.no_grad():
        expected = [value.numpy() for value in graph(*inputs.values())]
    found = _run(session, graph.outputs, inputs)
    return max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))


def _run(session: Any, outputs: list[str], inputs: dict[str, Tensor]) -> list[Any]:
    given = {own.name for own in session.get_inputs()}
    return session.run(outputs, {name: value.numpy() for name, value in inputs.items() if name in given})


def _quantize(
    classifier: UncertainClassifier, graph: _Graph, session: Any, path: Path, texts: Sequence[str], large: bool
) -> Change:
    """Put a graph in 8 bits in the place of one in float32, which is open; what that changes on texts."""
    import onnx
    from onnxruntime import InferenceSession
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from scipy.stats import spearmanr

    require_texts(texts)
    backbone = classifier.backbone
    nodes = onnx.load(path, load_external_data=False).graph.node
    own = [node.name for node in nodes if any("_Graph/head" in fact.value for fact in node.metadata_props)]
    silent = logging.root.manager.disable
    with TemporaryDirectory(dir=path.parent) as aside:
        logging.disable(logging.WARNING)  # it asks for a preparation that is for other kinds of graphs
        try:
            options = {"per_channel": True, "nodes_to_exclude": own, "use_external_data_format": large}
            quantize_dynamic(path, f"{aside}/model.onnx", weight_type=QuantType.QInt8, **options)
        finally:
            logging.disable(silent)
        for file in Path(aside).iterdir():
            file.replace(path.parent / file.name)
    sessions = session, InferenceSession(path, providers=["CPUExecutionProvider"])
    answers, doubts = [], []
    many = isinstance(graph.head, MultiLabelHead)
    outputs = ["logits", "label_uncertainty" if many else "uncertainty"]
    for _, inputs in backbone.batched(backbone.tokenize(texts)):
        said = [_run(one, outputs, inputs) for one in sessions]
        real = inputs["attention_mask"].numpy() == 1 if said[0][0].ndim == 3 else slice(None)
        answers.append([(z > 0 if many else z.argmax(-1))[real].ravel() for z, _ in said])
        doubts.append([uncertainty[real].ravel() for _, uncertainty in said])
    (before, after), pairs = np.concatenate(answers, 1), np.concatenate(doubts, 1)
    return Change(len(before), float((before != after).mean()), float(spearmanr(*pairs).statistic))
