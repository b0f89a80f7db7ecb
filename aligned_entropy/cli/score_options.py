"""Names of scores: the option ``--scores`` of ``alien evaluate``, and the list of all."""

from __future__ import annotations

import typer

from ..display.text_tables import text_table, wrapped


def score_list() -> str:
    """Table of all scores: names, data that a fit needs, and cost."""
    from ..backbones.extras import FORWARD_PASSES
    from ..scores import score_class, score_names

    rows = []
    for name in score_names():
        kind = score_class(name)
        needs = [*kind.uses] + (["outputs"] if "members" in kind.needs else [])
        needs += ["label words"] if "content_free" in kind.needs else []
        passes = sum(FORWARD_PASSES.get(array, 0) for array in kind.needs)
        cost = [f"{passes} pass{'es' if passes > 1 else ''}"] if passes else []
        cost += [] if not kind.uses else ["6 fits"] if kind.supervised else ["fit"]
        rows.append([name, ", ".join(needs) or "–", ", ".join(cost) or "–"])
    note = (
        "\ntrain, calibration: data of --train and --calibration. outputs: a file of --outputs with the outputs of "
        "other models, too. Passes: further runs of the model over all texts; their results are stored. 6 fits: one "
        "on all calibration texts, and one without each of five folds."
    )
    return f"{text_table(['score', 'needs', 'cost'], rows)}\n{wrapped(note)}"


def requested_scores(text: str, available: list[str]) -> list[str]:
    """Names of the scores of ``--scores``.

    Raises:
        BadParameter: there is no score of a name.
    """
    if text.strip() == "all":
        return available
    by_name = {name.casefold(): name for name in available}
    requested: list[str] = []
    unknown: list[str] = []
    parts = [part.strip().casefold() for part in text.split(",")]
    while parts:
        ends = range(len(parts), 0, -1)  # a name may have a comma in it
        size = next((end for end in ends if ", ".join(parts[:end]) in by_name), 0)
        (requested if size else unknown).append(", ".join(parts[: size or 1]))
        parts = parts[size or 1 :]
    if unknown:
        raise typer.BadParameter(f"no score {', '.join(unknown)}; there are {', '.join(available)}.")
    return [by_name[name] for name in requested]
