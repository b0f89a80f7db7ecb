"""Data sets of the Hugging Face Hub."""

from __future__ import annotations

from ..display.hints import hub_problem
from ..display.progress_bars import without_progress_bars
from ..errors import DataError
from .sources import checked_split
from .table import Table
from .wheels import EMBEDDED_DATA

MAX_CONFIGURATIONS = 40  # more are not listed


@without_progress_bars()
def read_hub(name: str, split: str | None) -> Table:
    """Download a split of a data set from the Hugging Face Hub.

    Args:
        name: id of the data set, ``NAME`` or ``OWNER/NAME``; with ``/CONFIG`` at its end for a data set with several
            configurations, none of which is the default one.
        split: name of the split; it may be left out if there is only one.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, configuration or split.
    """
    from datasets import get_dataset_default_config_name, get_dataset_split_names, load_dataset

    dataset, configuration, configurations = _find(name)
    try:
        if configuration is None and len(configurations) > 1:
            configuration = get_dataset_default_config_name(dataset)
            if configuration is None:
                raise DataError(
                    f"{name}: no configuration was named; {_listed(configurations)}. Name one as "
                    f"{name}/{configurations[0]}:{split or 'SPLIT'}."
                )
        splits = get_dataset_split_names(dataset, configuration)
        return Table.from_dataset(load_dataset(dataset, configuration, split=checked_split(split, splits, name)))
    except DataError:
        raise
    except Exception as error:  # the clients of the hub raise errors of many classes
        raise DataError(f"{name!r} could not be downloaded; {hub_problem(error)}") from error


def _find(name: str) -> tuple[str, str | None, list[str]]:
    """Id of a data set, its named configuration, and all its configurations.

    Raises:
        DataError: the hub cannot be reached, or has no such data set or configuration.
    """
    from datasets import get_dataset_config_names

    parent, slash, last = name.rpartition("/")
    # GLUE/SST2 may be an id, or an id with its configuration; an id has no second slash.
    readings = [(name, None)] * (name.count("/") < 2) + [(parent, last)] * bool(slash)
    errors = []
    for dataset, configuration in readings:
        try:
            configurations = get_dataset_config_names(dataset)
        except Exception as error:  # offline, unknown or gated: the clients of the hub raise errors of many classes
            errors.append(error)
            continue
        if configuration is not None and configuration not in configurations:
            raise DataError(
                f"{dataset}: there is no configuration {configuration!r}; {_listed(configurations)}. Name one as "
                f"{dataset}/{configurations[0]}."
            )
        return dataset, configuration, configurations
    raise DataError(
        f"{name!r} is not a file or folder here, not an embedded data set ({', '.join(EMBEDDED_DATA)}) and not a "
        f"folder of ALIEN_DATA, and {hub_problem(errors[0])}"
    ) from errors[0]


def _listed(configurations: list[str]) -> str:
    more = "" if len(configurations) <= MAX_CONFIGURATIONS else ", …"
    return f"its configurations are {', '.join(configurations[:MAX_CONFIGURATIONS])}{more}"
