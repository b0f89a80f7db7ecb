"""Names of the classes of a classifier, from its configuration."""

from __future__ import annotations

from typing import Any

from ..display.wording import cut
from ..errors import UnsupportedModelError, warn_user


def class_names(config: Any, classes: int) -> list[str]:
    """Return the names of the classes in the order of the logits; a class without a name is ``LABEL_<index>``.

    Args:
        config: configuration of the model; ``id2label`` decides, ``label2id`` is not used.
        classes: number of classes.

    Raises:
        UnsupportedModelError: the configuration leaves out a class, or gives two classes one name.
    """
    id2label = names_by_index(getattr(config, "id2label", None))
    missing = [index for index in range(classes) if index not in id2label]
    if missing:
        raise UnsupportedModelError(
            f"id2label in the model's config.json has the classes {', '.join(map(str, id2label)) or 'none'}, but the "
            f"{classes} logits are the classes 0 to {classes - 1}: {missing[0]} is missing. Number the names from 0."
        )
    names = [_name(id2label[index], index) for index in range(classes)]
    for index, name in enumerate(names):
        if names.index(name) != index:
            raise UnsupportedModelError(
                f"the classes {names.index(name)} and {index} are both named {name!r} in id2label of the model's "
                "config.json, so that predictions would not tell them apart: give every class a name of its own."
            )
    return names


def names_of_one_logit(config: Any) -> list[str]:
    """Return the names of the two classes of a model with one logit, which is the log-odds of the second class.

    The configuration names one class at most: ``toxic`` becomes ``not toxic`` and ``toxic``.
    """
    (name,) = class_names(config, 1)
    return ["LABEL_0", "LABEL_1"] if name == "LABEL_0" else [f"not {name}", name]


def warn_of_contradiction(config: Any, names: list[str]) -> None:
    """Warn if ``label2id`` numbers the same names in another order than ``id2label``."""
    label2id = getattr(config, "label2id", None) or {}
    numbered = {str(name): index for name, index in label2id.items()}
    if numbered.keys() == set(names) and numbered != {name: index for index, name in enumerate(names)}:
        warn_user(
            f"label2id in the model's config.json, {label2id}, contradicts id2label: the names of id2label are used, "
            f"{', '.join(names)}.",
        )


def names_by_index(id2label: Any) -> dict[int, Any]:
    """Convert the keys of ``id2label`` to numbers; JSON has strings as keys.

    Raises:
        UnsupportedModelError: ``id2label`` is no mapping, or a key is no number.
    """
    try:
        return {int(index): name for index, name in (id2label or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"id2label in the model's config.json is {cut(id2label, 200)}, but its keys must be the numbers of the "
            f"classes ({error}): write it as {{'0': 'name', '1': 'name'}}."
        ) from error


def _name(name: Any, index: int) -> str:
    return f"LABEL_{index}" if name is None or not str(name).strip() else str(name)
