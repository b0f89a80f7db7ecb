"""Models and features of labeled data, loaded as the options of a command say."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..display.wording import quoted, type_name
from ..errors import AlignedEntropyError, ArgumentError, DataError, UnsupportedModelError
from .elsewhere_options import ElsewhereOptions
from .options import ColumnOptions, ModelOptions
from .terminal import duration, note, progress_bar, stage

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier
    from ..data import LabeledTexts, LabeledTokens, Table
    from ..features.arrays import Features
    from ..tasks import Task

TIMED_TEXTS = 16  # texts that the time of a forward pass is estimated from


def load(
    model: str | None, *, head: str | None = None, options: ModelOptions, outputs: ElsewhereOptions | None = None
) -> UncertainClassifier:
    """Load a classifier.

    Args:
        model: path or hub id of the model; None for outputs or an endpoint in its place.
        head: path or hub id of a fitted head; None for the untrained head.
        options: options that decide how the model is loaded.
        outputs: endpoint in place of a model, or outputs, from which a head that is not fitted yet has its number of
            classes.

    Raises:
        AlignedEntropyError: the device does not exist, the model or the head cannot be loaded, they do not belong
            together, or ``max_length`` is larger than the number of positions of the model.
    """
    if model is None:
        outputs = outputs or ElsewhereOptions()
        if outputs.endpoint is not None:
            with stage("asking the endpoint for the label words"):
                return _for_endpoint(head, options, outputs)
        return _for_outputs(head, outputs)
    with stage("loading the model"):
        return _load(model, head, options)


def _for_outputs(head: str | None, outputs: ElsewhereOptions) -> UncertainClassifier:
    from ..classifier import UncertainClassifier
    from ..data.outputs import numbered_names

    names = outputs.names
    if names is None and head is None:
        names = numbered_names(outputs.outputs)
    return UncertainClassifier.from_outputs(names, head=head, field=outputs.field)


def _for_endpoint(head: str | None, options: ModelOptions, outputs: ElsewhereOptions) -> UncertainClassifier:
    from ..classifier import UncertainClassifier

    return UncertainClassifier.from_endpoint(**outputs.arguments, head=head, **_read_prompt(options.prompt))


def note_requests(classifier: UncertainClassifier) -> None:
    """Print what an endpoint was asked; nothing for other models."""
    from ..backbones import EndpointBackbone

    if isinstance(classifier.backbone, EndpointBackbone):
        note(f"endpoint: {classifier.backbone.report}")


def _load(model: str, head: str | None, options: ModelOptions) -> UncertainClassifier:
    import torch

    from ..classifier import UncertainClassifier

    prompt = _read_prompt(options.prompt)
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        devices = [name for name, part in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if part.is_available()]
        is_known = str(options.device).partition(":")[0] in ("cuda", "mps")
        # For other names, the reason of torch lists all devices that it was ever built for.
        reason = f" ({str(error).splitlines()[0].rstrip('.')})" if is_known else ""
        raise ArgumentError(
            f"there is no device {options.device!r} on this machine{reason}: name one of "
            f"{', '.join(['cpu', *devices])}."
        ) from error
    try:
        classifier = UncertainClassifier.from_pretrained(
            model,
            head=head,
            task=options.task,
            max_length=options.max_length,
            device=options.device,
            dtype=None if options.dtype is None else getattr(torch, options.dtype),
            classification_module=options.classification_module,
            trust_remote_code=options.trust_remote_code,
            **prompt,
        )
    except AlignedEntropyError:
        raise
    except Exception as error:  # transformers has many exception classes, and few messages name the model
        raise UnsupportedModelError(f"{model} cannot be loaded: {error}") from error
    if options.max_length:
        _check_positions(classifier, model, options.max_length)
    return classifier


def _check_positions(classifier: UncertainClassifier, model: str, max_length: int) -> None:
    """Check that the model has a position embedding for every token.

    Raises:
        ArgumentError: the model has fewer positions.
    """
    import torch

    for name, module in classifier.backbone.model.named_modules():
        if isinstance(module, torch.nn.Embedding) and name.endswith(("position_embeddings", "wpe")):
            positions = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if max_length > positions:
                raise ArgumentError(f"--max-length {max_length}: {model} has only {positions} positions.")


def _read_prompt(path: Path | None) -> dict[str, Any]:
    """Read arguments of ``from_pretrained`` for a language model that predicts label words; none without a file.

    Raises:
        DataError: the file is not JSON, lacks a key, has an unknown one, or a value has the wrong type.
    """
    from ..data.files.json_rows import unique_names

    if path is None:
        return {}
    try:
        prompt = json.loads(path.read_bytes(), object_pairs_hook=unique_names)  # also with a byte order mark
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    names = ("labels", "template", "examples", "chat")
    if not isinstance(prompt, dict) or not {"labels", "template"} <= set(prompt) <= set(names):
        content = f"the keys {', '.join(prompt)}" if isinstance(prompt, dict) else type_name(prompt)
        raise DataError(
            f"{path} holds {content}: write a JSON object with labels and template, and optionally examples and chat."
        )
    if not isinstance(prompt.get("chat", False), bool) or not isinstance(prompt.get("examples", []), list):
        raise DataError(f"{path}: chat must be true or false, and examples a list of pairs of a text and its class.")
    return prompt


@overload
def read_table(name: str, columns: ColumnOptions) -> Table: ...
@overload
def read_table(name: None, columns: ColumnOptions) -> None: ...
def read_table(name: str | None, columns: ColumnOptions) -> Table | None:
    """Read labeled data. Commands do this before they load a model, so that a wrong name is an error at once.

    Args:
        name: name of the data; None, and None is returned, for data that were not given.
        columns: options that decide how the data are read.

    Raises:
        DataError: there are no such data, they cannot be read, or they lack a column that an option names.
    """
    from ..data import load_data
    from ..data.columns import find_column

    if name is None:
        return None
    _column_names(columns)  # a damaged label map is an error, too
    table = load_data(name, delimiter=columns.delimiter, encoding=columns.encoding)
    named = {"text": columns.text_column, "text-pair": columns.text_pair_column, "label": columns.label_column}
    for kind, column in named.items():
        if column is not None:
            find_column(table, kind, column, ())
    return table


def note_columns(task: Task, table: Table, columns: ColumnOptions) -> None:
    """Print which columns of texts with one label were found by their usual names, if there are others."""
    from ..data.columns import find_column, find_text_columns
    from ..data.usual_columns import LABEL_COLUMNS

    if not task.one_label or (columns.text_column is not None and columns.label_column is not None):
        return
    try:
        texts = find_text_columns(table, columns.text_column, columns.text_pair_column, columns.label_column)
        label = find_column(table, "label", columns.label_column, LABEL_COLUMNS)
    except DataError:  # the reader raises it
        return
    if len(table.columns) > len({*texts, label}):
        note(f"{table.source or 'data'}: texts from {quoted(texts)}, labels from {label!r}")


def features(
    classifier: UncertainClassifier,
    data: Table | LabeledTexts | LabeledTokens,
    *,
    columns: ColumnOptions,
    description: str = "features",
    extras: Collection[str] = (),
    views: bool | None = None,
    measured: bool = False,
) -> Features:
    """Compute the features of labeled data that the classifier was not trained on, with a progress bar.

    Args:
        classifier: classifier whose features are computed.
        data: table of :func:`read_table`, or what :func:`read_labeled` has read from it.
        columns: options that decide how the data are read.
        description: text in front of the progress bar.
        extras: names of additional arrays, see :func:`aligned_entropy.scores.arrays_of`.
        views: True for the inputs of views as well; by default unless a fitted head has no views.
        measured: True if scores are only measured on the texts, and nothing is chosen on them.

    Raises:
        CalibrationError: ``alien train`` trained the classifier on most of the texts, and something is chosen on them.
    """
    return _features(classifier, data, columns, description, extras, views, held_out=not measured)


def training_features(
    classifier: UncertainClassifier, data: Table | None, *, columns: ColumnOptions, views: bool
) -> Features | None:
    """Compute the features of the classifier's training set as :func:`features` does; None without one."""
    return (
        None if data is None else _features(classifier, data, columns, "training features", (), views, held_out=False)
    )


def _features(
    classifier: UncertainClassifier,
    data: Table | LabeledTexts | LabeledTokens,
    columns: ColumnOptions,
    description: str,
    extras: Collection[str],
    views: bool | None,
    held_out: bool,
) -> Features:
    from ..data import Table

    compute = classifier.held_out_features if held_out else classifier.features
    if classifier.reads_outputs:
        with progress_bar(description, len(data)) as progress:
            return compute(data, progress, extras=extras, views=views, **_column_names(columns))
    texts = read_labeled(classifier, data, columns) if isinstance(data, Table) else data
    _note_passes(classifier, texts.texts, extras)
    with progress_bar(description, len(texts.texts) * (1 + len(extras))) as progress:
        labeled = compute(texts, progress, extras=extras, views=views)
    note_requests(classifier)
    return labeled


def read_labeled(classifier: UncertainClassifier, data: Table, columns: ColumnOptions) -> LabeledTexts | LabeledTokens:
    """Read labeled data with the labels of a classifier, which must have a model."""
    note_columns(classifier.task, data, columns)
    return classifier.read_labeled(data, text_pair_column=columns.text_pair_column, **_column_names(columns))


def _column_names(columns: ColumnOptions) -> dict[str, Any]:
    from ..data.label_maps import parse_label_map

    return {
        "text_column": columns.text_column,
        "label_column": columns.label_column,
        "label_map": parse_label_map(columns.label_map),
    }


def _note_passes(classifier: UncertainClassifier, texts: Sequence[Any], extras: Collection[str]) -> None:
    """Print how long the forward passes for additional arrays take, estimated from a few texts."""
    from ..backbones.extras import FORWARD_PASSES

    passes = sum(FORWARD_PASSES[name] for name in extras)
    if not passes or not classifier.backbone.has_model or len(texts) < 2 * TIMED_TEXTS:
        return
    sample = texts[:: len(texts) // TIMED_TEXTS][:TIMED_TEXTS]
    classifier.backbone.extract(sample[:1])  # the first run is slower
    start = time.perf_counter()
    classifier.backbone.extract(sample)
    seconds = (time.perf_counter() - start) / len(sample) * len(texts) * passes
    note(f"warning: {passes} more passes over {len(texts):,} texts take {duration(seconds)}, unless they are stored.")
