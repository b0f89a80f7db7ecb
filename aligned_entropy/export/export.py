"""Export of a classifier: files are written to a scratch folder, checked, and then moved to their place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..backbones import ENDPOINT, OUTPUTS, Backbone
from ..backbones.batching import require_texts
from ..classifier import UncertainClassifier
from ..data import Words
from ..errors import MissingExtraError, UnsupportedModelError
from ..features.texts import Text, TextPair, are_pairs
from ..saved.folders import check_output_folder
from ..saved.format import read_config
from ..saved.hub import resolve_head
from .graph import Graph, difference, open_session, write_graph
from .quantization import QuantizationEffect, quantize
from .tokenizer import ExportedTokenizer, check_tokenizer, write_tokenizer

# Texts of several kinds and lengths: a graph with a size that was fixed during the export fails on the others.
TRIAL_TEXTS = (
    "not bad",
    "Good, I would say, if one likes that kind of thing, and long if one does not.",
    "",
    "!",
    " The 2nd café, naïve\u00ad ﬁlm 😀👍🏽\n东京 ",
)
LONG_TEXT = "The first of them was better than the second. "  # repeated until it exceeds the maximum length
TOLERANCE = 1e-3  # largest accepted difference between graph and model, see Export.difference

Stage = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Export:
    """Exported graph.

    Attributes:
        folder: folder with ``model.onnx``, ``config.json`` and the files of the tokenizer.
        inputs: names of the inputs, ``[N, T]`` int64.
        outputs: names of the outputs.
        difference: largest difference between the outputs of the graph in ONNX Runtime and of the model, on trial texts
            and before a quantization; divided by the largest output if that is above 1. Padding is left out.
        int8: effect of 8-bit quantization; None without it.
    """

    folder: Path
    inputs: list[str]
    outputs: list[str]
    difference: float
    int8: QuantizationEffect | None = None

    @property
    def size(self) -> int:
        """Size of the graph in bytes."""
        return sum(path.stat().st_size for path in self.folder.glob("model.onnx*"))


def export_onnx(
    classifier: UncertainClassifier,
    folder: str | Path,
    int8: Sequence[Text] | None = None,
    stage: Stage = nullcontext,
) -> Export:
    """Write a classifier with its head as one ONNX graph from token ids to logits and uncertainty.

    The outputs are ``logits`` ``[N, C]``, ``uncertainty`` ``[N]`` and, with a fitted head, ``error_probability``
    ``[N]``. For token classification they have the shapes ``[N, T, C]`` and ``[N, T]``, with a value for every token.
    For multi-label classification ``uncertainty`` is that of the text, and ``label_uncertainty`` is ``[N, L]``.
    ``tokenizer.json`` makes the inputs, truncated and padded; ``config.json`` contains the labels, the threshold of the
    head, and the settings that ``tokenizer.json`` cannot hold.

    Before the function returns, the token ids of the folder and the outputs of the graph are compared with those of the
    classifier, on texts that are short, empty and longer than the maximum length, padded and alone.

    Args:
        classifier: classifier with its head, in float32 on the CPU.
        folder: folder for the graph; created if it does not exist. It is not changed if an error is raised.
        int8: texts to compare both graphs on; if given, the weight matrices of the model are stored and multiplied in
            8 bits (dynamic quantization), while the head stays in float32. All activations of a batch share one scale,
            so predictions then depend slightly on the other texts of the batch. The threshold is left out, because it
            was certified in float32.
        stage: function that gets the description of each stage, and returns a context that is open while it runs.

    Raises:
        UnsupportedModelError: the model is not in this process, predicts label words, has a learned prompt, reads
            padding as text, is quantized, is not in float32 on the CPU, or its graph cannot be made or has other
            outputs than the model; its tokenizer is not a fast one, or has settings that ``tokenizer.json`` cannot
            hold.
        HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        MissingExtraError: ONNX is not installed.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export needs optional dependencies: pip install 'aligned-entropy[onnx]'") from error
    backbone = exportable_backbone(classifier)
    if int8 is not None:
        require_texts(int8)
        classifier.saved.check_kind(are_pairs(int8))
    _check_head(classifier, backbone)
    folder = Path(folder)
    check_output_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        exported = _write(classifier, backbone, Path(scratch), int8, stage)
        for file in Path(scratch).iterdir():
            file.replace(folder / file.name)
    return Export(folder, *exported)


def _write(
    classifier: UncertainClassifier, backbone: Backbone, folder: Path, int8: Sequence[Text] | None, stage: Stage
) -> tuple[list[str], list[str], float, QuantizationEffect | None]:
    """Write all files to an empty folder and check them; return the fields of :class:`Export` after the folder."""
    settings = write_tokenizer(backbone, folder)
    tokenizer = ExportedTokenizer(folder, settings)
    batches = list(_trial_batches(backbone))
    inputs = [tokenizer.checked_inputs(backbone, batch) for batch in batches]
    graph = Graph(classifier, backbone, list(inputs[0])).eval()
    with stage("exporting the graph"):
        write_graph(graph, inputs[0], folder / "model.onnx")
    with stage(f"checking the graph on {len(TRIAL_TEXTS) + 1} texts"):
        session = open_session(folder / "model.onnx")
        largest = float(np.max([difference(session, graph, batch) for batch in inputs]))
    if not largest <= TOLERANCE:
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} cannot be exported: outputs of the graph differ from those of the model "
            f"by {largest:.2g}, more than {TOLERANCE:g}."
        )
    effect = None
    if int8 is not None:
        with stage(f"quantizing to 8 bits, and comparing on {len(int8)} texts"):
            effect = quantize(graph, session, folder / "model.onnx", int8)
    rule = classifier.saved.rule if int8 is None else None
    config = {
        "task": classifier.task.name,
        "labels": classifier.label_names,
        **settings,
        "inputs": [node.name for node in session.get_inputs()],
        "outputs": graph.outputs,
        "rule": None if rule is None else rule.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return config["inputs"], graph.outputs, largest, effect


def exportable_backbone(classifier: UncertainClassifier) -> Backbone:
    """Backbone of a classifier, if it can be exported.

    Raises:
        UnsupportedModelError: the model is not in this process, predicts label words, has a learned prompt, reads
            padding as text, is quantized or is not in float32 on the CPU; its tokenizer cannot be written to a file.
    """
    backbone = classifier.backbone
    _check_model_class(backbone.facts)
    if not isinstance(backbone, Backbone):
        raise UnsupportedModelError(
            "a language model that predicts label words cannot be exported, because its prompt is not part of a graph: "
            "train a classifier, or serve this one with alien serve."
        )
    if backbone.learned_prompt is not None:
        name, kind = backbone.learned_prompt
        raise UnsupportedModelError(
            f"a model with a learned prompt (adapter {name!r}, {kind}) cannot be exported: train an adapter of another "
            "kind, such as LoRA, or serve this model with alien serve."
        )
    if getattr(backbone.config, "quantization_config", None) is not None:
        raise UnsupportedModelError(
            "a quantized model cannot be exported: load the original weights, and quantize with --int8 (int8=texts in "
            "Python)."
        )
    tensors = [*backbone.model.named_parameters(), *classifier.head.named_parameters()]
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UnsupportedModelError(
                f"the model is in {tensor.dtype} ({name}): load it with dtype=torch.float32 to export it."
            )
        if tensor.device.type != "cpu":
            raise UnsupportedModelError(
                f"the model is on {tensor.device} ({name}): load it with device='cpu' to export it."
            )
    if not backbone.can_pad:
        raise UnsupportedModelError(
            f"{type(backbone.inner).__name__} cannot be exported, because padding changes its logits, and a graph gets "
            "padded batches: serve the model with alien serve."
        )
    check_tokenizer(backbone)
    return backbone


def check_exportable_head(head: str | Path) -> None:
    """Check that a saved head belongs to a model that can be in a graph.

    Args:
        head: path or hub id of the head.

    Raises:
        UnsupportedModelError: the head was fitted on outputs from elsewhere, or for a model behind an endpoint.
        HeadMismatchError: there is no head.
    """
    _check_model_class(read_config(resolve_head(head))["backbone"])


def _check_model_class(facts: Mapping[str, Any]) -> None:
    """Raise an error if there is no model in this process."""
    model_class = facts.get("model class")
    if model_class in (ENDPOINT, OUTPUTS):
        place = "" if model_class == OUTPUTS else "--endpoint URL "
        raise UnsupportedModelError(
            f"a head for {OUTPUTS if model_class == OUTPUTS else f'a {ENDPOINT}'} cannot be exported, because a graph "
            f"contains the model, which is not in this process: serve the head with alien serve {place}--head HEAD, or "
            "fit a head for a model that alien fit MODEL loads, and export that one."
        )


def _check_head(classifier: UncertainClassifier, backbone: Backbone) -> None:
    """Raise an error if the head was fitted for another module or adapter than is active."""
    rows: Sequence[str] = Words([["a"]]) if backbone.every_token else ["a"]
    views = bool(classifier.head.views)
    classifier.predict_features(backbone.extract_encoded(backbone.encode(rows), views=views))


def _trial_batches(backbone: Backbone) -> Iterator[Sequence[Text]]:
    """Trial texts in batches: all short ones, a long one between others, and each alone; and pairs of these texts."""
    long = LONG_TEXT * (backbone.max_length // 8 + 1)
    yield list(TRIAL_TEXTS)
    yield [TRIAL_TEXTS[0], long, TRIAL_TEXTS[1]]
    yield from ([text] for text in (*TRIAL_TEXTS, long))
    has_room = backbone.max_length >= backbone.tokenizer.num_special_tokens_to_add(pair=True)
    if has_room and not backbone.every_token and getattr(backbone.config, "type_vocab_size", 2) != 1:
        yield [TextPair(*pair) for pair in permutations([*TRIAL_TEXTS[:3], long], 2)]
        yield [TextPair(long, long)]
