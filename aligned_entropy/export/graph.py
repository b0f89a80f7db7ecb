"""Model and head as one graph: written by torch, run by ONNX Runtime, compared with the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backbones import Backbone
from ..classifier import UncertainClassifier
from ..errors import UnsupportedModelError
from ..head.multilabel_head import MultiLabelHead

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PROVIDERS = ["CPUExecutionProvider"]
MAX_BYTES = 2**30  # size of the weights above which they get a file of their own: files above 2 GB cannot be read


class Graph(nn.Module):
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
        """Compute the outputs in the order of ``outputs``; the values are the inputs ``[N, T]`` in their order."""
        inputs = dict(zip(self.inputs, values, strict=True))
        output = self.backbone.run(views=bool(self.head.views), **inputs)
        shape, head = output.hidden.shape[:-1], self.head
        hidden, logits = output.hidden.float().flatten(0, -2), output.class_logits.float().flatten(0, -2)
        outputs = {"logits": output.class_logits.float()}
        if isinstance(head, MultiLabelHead):  # one call for both, so that the neighbors are looked up once
            values = head.label_and_text_uncertainty(hidden, logits, output.views)
            outputs["label_uncertainty"], outputs["uncertainty"] = values
            outputs["error_probability"] = outputs["uncertainty"]
        else:
            if head.error_model is not None:
                views = {name: part.flatten(0, len(shape) - 1) for name, part in output.views.items()}
                outputs["error_probability"] = head.error_probability(hidden, logits, views).unflatten(0, shape)
            outputs["uncertainty"] = (
                outputs["error_probability"] if head.is_calibrated else head(hidden, logits).unflatten(0, shape)
            )
        return tuple(outputs[name].clone() for name in self.outputs)  # clone: one tensor cannot have two output names


def write_graph(graph: Graph, inputs: dict[str, Tensor], path: Path) -> None:
    """Export a graph with dynamic sizes to an ONNX file.

    Args:
        graph: model with its head.
        inputs: example of a batch.
        path: ONNX file; the weights of a large model go to a file of their own beside it.

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
                external_data=is_large(graph),
                verbose=False,
            )
    except Exception as error:  # the code of the model can raise anything while it is traced
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:300] or type(cause).__name__
        raise UnsupportedModelError(f"{type(graph.backbone.inner).__name__} cannot be exported: {reason}") from error


def is_large(graph: Graph) -> bool:
    """True if the weights of a graph are stored in a file of their own."""
    size: int = sum(value.nbytes for value in graph.state_dict().values())
    return size > MAX_BYTES


def open_session(path: Path) -> InferenceSession:
    """Open an ONNX file in ONNX Runtime, on the CPU."""
    from onnxruntime import InferenceSession

    return InferenceSession(path, providers=PROVIDERS)


def run_session(session: InferenceSession, outputs: list[str], inputs: dict[str, Tensor]) -> list[NDArray[Any]]:
    """Compute outputs of a session of ONNX Runtime; inputs that the graph does not read are left out."""
    names = {node.name for node in session.get_inputs()}
    values: list[NDArray[Any]] = session.run(
        outputs, {name: value.numpy() for name, value in inputs.items() if name in names}
    )
    return values


def real_rows(inputs: dict[str, Tensor], backbone: Backbone) -> NDArray[np.bool_] | slice:
    """Index of the rows of outputs that are predictions: every text, or for token classification every real token."""
    if not backbone.every_token or "attention_mask" not in inputs:
        return slice(None)
    real: NDArray[np.bool_] = inputs["attention_mask"].numpy() == 1
    return real


def difference(session: InferenceSession, graph: Graph, inputs: dict[str, Tensor]) -> float:
    """Largest difference between the outputs of a session and of the module that it was exported from.

    It is divided by the largest output if that is above 1. Padding is left out.
    """
    if not inputs:
        return 0.0
    with torch.no_grad():
        expected = [value.numpy() for value in graph(*inputs.values())]
    outputs = run_session(session, graph.outputs, inputs)
    rows = real_rows(inputs, graph.backbone)
    differences = [
        np.abs(a[rows] - b[rows]).max() / max(1.0, np.abs(a[rows]).max())
        for a, b in zip(expected, outputs, strict=True)
    ]
    return float(np.max(differences))  # NaN if any of them is
