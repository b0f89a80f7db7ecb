"""Match the tags of a data set with the tags of a model, which may be written in another scheme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .label_column import LabelColumn
from .label_maps import checked_label_map
from .matching import MAX_NAMES, NameIndex
from .tags import OUTSIDE, Scheme, Span, TagParts, TagSet

BOUNDED = (Scheme.IOB2, Scheme.IOE2, Scheme.IOBES)  # schemes that mark every boundary, so that a type can be renamed
NOWHERE = TagParts("", "")


def has_tag_names(names: Sequence[str]) -> bool:
    """True unless the names are only the numbers of the tags: ``LABEL_0``, ``LABEL_1``, … or ``0``, ``1``, …"""
    return all(list(names) != [f"{prefix}{number}" for number in range(len(names))] for prefix in ("LABEL_", ""))


def match_tags(
    tags: Sequence[str],
    starts: NDArray[np.int64],
    data_names: Sequence[str],
    model_names: Sequence[str],
    label_map: Mapping[str, str] | None,
    column: LabelColumn,
) -> NDArray[np.int64]:
    """Index of the model's tag of each word, ``[W]``.

    Tags of the model's scheme keep their roles. Tags of another scheme are read as entities, which are then written in
    the scheme of the model. Entity types match as class names do, see
    :class:`~aligned_entropy.data.matching.NameIndex`.

    Args:
        tags: tags of the data, one for each word.
        starts: index of the first word of each sentence, then W, ``[S + 1]``.
        data_names: all tags of the data.
        model_names: tags of the model.
        label_map: entity type of the model for an entity type of the data, or tag of the model for a tag of the data.
        column: column of the tags, for error messages.

    Raises:
        DataError: the model lacks a tag or type of the data, or no key of the label map is one of the data.
    """
    data, model = TagSet(data_names), TagSet(model_names)
    names = NameIndex(model.names)
    positions = {tag: names.find(tag) for tag in data.names}
    if None not in positions.values():  # few tags alone may look like another notation
        data.parts = {
            tag: model.parts[model.names[position]] for tag, position in positions.items() if position is not None
        }
    tag_targets, kind_targets = _targets(data, checked_label_map(label_map), column.name)
    kinds = NameIndex(model.kinds)

    def model_kind(kind: str) -> str:
        position = kinds.find(kind)
        tag = None if position is not None else names.find(kind)
        if kind == OUTSIDE or tag is not None:
            return "" if tag is None else model.parts[model.names[tag]].kind
        return kind if position is None else model.kinds[position]

    kind_of = {kind: model_kind(kind_targets.get(kind, kind)) for kind in data.kinds}
    scheme = data.scheme_in_use(tags, starts)
    for tag, target in tag_targets.items():
        position = names.find(target)
        role, kind = model.parts[model.names[position]] if position is not None else (data.parts[tag].role, target)
        # Kinds of the model are marked, since a kind of the data may have the same name and another target.
        data.parts[tag] = NOWHERE if target == OUTSIDE or not kind else TagParts(role, f"={kind}")
        kind_of[f"={kind}"] = kind
    if scheme is model.scheme and scheme in BOUNDED and data.roles <= model.roles:
        renamed = {tag: TagParts(role, kind_of[kind]) if kind else NOWHERE for tag, (role, kind) in data.parts.items()}
        targets = [renamed[tag] if renamed[tag].kind else NOWHERE for tag in tags]
    else:
        spans = [Span(span.first, span.end, kind_of[span.kind]) for span in data.spans(tags, starts)]
        targets = model.write([span for span in spans if span.kind], starts)
    return _indices(tags, targets, starts, model, column)


def _targets(data: TagSet, label_map: Mapping[str, str], column: str) -> tuple[dict[str, str], dict[str, str]]:
    """Targets of tags, and of types, in a label map."""
    keys, targets = NameIndex(label_map, "the label map"), list(label_map.values())
    with_role = [tag for tag in data.names if data.parts[tag].kind != tag]
    positions = [{name: keys.find(name) for name in names} for names in (with_role, data.kinds)]
    tags, kinds = ({name: targets[k] for name, k in part.items() if k is not None} for part in positions)
    if label_map and not tags and not kinds:
        raise DataError(
            f"the label map names {', '.join(label_map)}, but the entity types of column {column!r} are "
            f"{', '.join(data.kinds[:MAX_NAMES])}: correct the label map."
        )
    return tags, kinds


def _indices(
    tags: Sequence[str], targets: Sequence[TagParts], starts: NDArray[np.int64], model: TagSet, column: LabelColumn
) -> NDArray[np.int64]:
    positions = {parts: model.names.index(name) for parts, name in model.tags.items()}
    unmatched = [word for word, target in enumerate(targets) if target not in positions]
    if unmatched:
        unknown = sorted({(tags[word], targets[word]) for word in unmatched})
        first = int(np.searchsorted(starts, unmatched[0], "right")) - 1
        texts = [(tag, "-".join(target) if target.kind else OUTSIDE) for tag, target in unknown]
        listed = [tag if tag == text else f"{tag} (as {text})" for tag, text in texts]
        raise DataError(
            f"the data hold tags that the model does not have: {', '.join(listed[:10])}, the first in the sentence of "
            f"{column.row(first)}; the model has {', '.join(model.names[:MAX_NAMES])}. Correct the tags, or give a "
            "label map of entity types (to O for a type that the model does not have), label_map={'person': 'PER'} or "
            "--label-map person=PER,misc=O,…"
        )
    return np.array([positions[target] for target in targets], dtype=np.int64)


def mapped_names(names: Sequence[str], label_map: Mapping[str, str] | None, column: str) -> dict[str, str]:
    """Tag after a label map of types or tags, for each tag of a data set, written as the tags of the data are.

    Raises:
        DataError: no key of the label map is a tag or type of the data.
    """
    data = TagSet(names)
    tags, kinds = _targets(data, checked_label_map(label_map), column)
    return {
        tag: tags[tag] if tag in tags else data.renamed(tag, kinds[kind]) if kind in kinds else tag
        for tag, (_, kind) in data.parts.items()
    }


def match_positions(
    tags: Sequence[str | int], column: LabelColumn, model_names: Sequence[str], label_map: Mapping[str, str] | None
) -> NDArray[np.int64]:
    """Index of the tag of each word for a model without tag names, ``[W]``.

    The index is the position of the tag in the data set's list of as many tags, or a number that is itself the tag, or
    the label map names it (``LABEL_3``).

    Args:
        tags: names or numbers, one for each word.
        column: column with the tags.
        model_names: ``LABEL_0``, ``LABEL_1``, … or ``0``, ``1``, …
        label_map: name of the model's tag for each tag of the data.

    Raises:
        DataError: a tag has no position.
    """
    names = column.class_names if len(column.class_names) == len(model_names) and not label_map else model_names
    index, mapped = NameIndex(names), checked_label_map(label_map)
    positions: dict[str | int, int | None] = {}
    for tag in set(tags):
        is_number = not isinstance(tag, str) and tag in range(len(model_names))
        positions[tag] = int(tag) if is_number else index.find(mapped.get(str(tag), tag))
    unknown = sorted(str(tag) for tag, position in positions.items() if position is None)
    if unknown:
        raise DataError(
            f"the {len(model_names)} tags of the model have no names but {', '.join(model_names[:2])}, …, and column "
            f"{column.name!r} holds {', '.join(unknown[:10])}: name the tags in the order of the model's outputs, "
            "model.config.id2label = {0: 'O', 1: 'B-PER', …} or id2label in its config.json; or give a label map of "
            "all tags, label_map={'B-PER': 'LABEL_1', …}."
        )
    return np.array([positions[tag] for tag in tags], dtype=np.int64)
