"""Command ``alien divide``: a file of labeled rows becomes one file for each step that needs labels."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..display.hints import missing_file
from ..display.text_tables import text_table, wrapped
from ..errors import DataError
from .options import AsJson, ColumnOptions, Delimiter, Encoding, LabelColumn, Seed, TextColumn, TextPairColumn
from .terminal import next_step, note, option_words

if TYPE_CHECKING:
    from ..batch.dividing import RowKind

SHOWN_LABELS, NOTED_LABELS = 30, 10  # in the table and in a note; --json has all
EXAMPLE = "train=50 held-out=25 more-held-out=15 test=10"


def divide(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="Labeled rows: CSV, TSV, JSON Lines, Parquet or CoNLL file.")
    ],
    parts: Annotated[
        list[str], typer.Argument(metavar="PART=PERCENT", help=f"Parts with their shares of the rows: {EXAMPLE}.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the files; by default that of FILE.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Keep rows with the same value together, such as a customer's.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that have the names of parts.")] = False,
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    label_column: LabelColumn = None,
    delimiter: Delimiter = None,
    encoding: Encoding = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Divide labeled rows at random, one file for each step: train=50 writes half of them to train.csv.

    Give train to alien train (leave it out if you have a model), held-out to alien fit, more-held-out to alien
    threshold, and test to alien evaluate; other names are allowed. Rows with the same text are in one part, and every
    label has nearly the same share in all parts. The rows of a CoNLL file are its sentences. The files have the format
    and the columns of FILE; text is UTF-8, CSV has commas, and JSON has one object on each line.
    """
    from ..batch.dividing import DivisibleRows, write_parts
    from ..batch.writing import make_folder_of
    from ..data import load_data

    shares = _shares(parts)
    files = _files(Path(source), list(shares), output, force)
    rows = DivisibleRows.read(
        load_data(source, delimiter=delimiter, encoding=encoding),
        text_column=text_column,
        text_pair_column=text_pair_column,
        label_column=label_column,
        group_column=group,
    )
    members = rows.divided({name: share / 100 for name, share in shares.items()}, seed)
    make_folder_of(next(iter(files.values())))  # only now, so that an error leaves no empty folder
    write_parts(Path(source), {files[name]: members[name] for name in files}, delimiter=delimiter, encoding=encoding)
    sizes = {name: len(part) for name, part in members.items()}
    labels = {name: Counter(label for row in part for label in rows.labels[row]) for name, part in members.items()}
    notes = [*rows.notes, *_absent(labels)]
    if as_json:
        facts = {name: {"file": str(files[name]), "rows": sizes[name], "labels": labels[name]} for name in files}
        print(json.dumps({"parts": facts, "notes": notes}))
        return
    print(_table(sizes, labels))
    for line in notes:
        note(wrapped(line))
    print("\n".join(f"saved: {file}" for file in files.values()))
    columns = ColumnOptions(text_column, text_pair_column, label_column)
    next_step(*_next_words(*next(iter(files.items())), rows.kind), *option_words(columns))


def _next_words(name: str, file: Path, kind: RowKind) -> list[object]:
    """Words of the next command, which reads the first part."""
    if kind == "outputs":
        return ["fit", "--outputs", file, "-o", "head"]
    if name != "train":
        return ["fit", "MODEL", file, "-o", "head"]
    freeze = ["--freeze"] if kind == "texts" else []  # all layers of a token classifier are trained
    return ["train", "minilm", file, *freeze, "-o", "classifier"]


def _shares(parts: Sequence[str]) -> dict[str, float]:
    """Percentage of each part.

    Raises:
        BadParameter: a word is not a name and a positive number, a name occurs twice, there is only one part, or the
            percentages do not add up to 100.
    """
    shares: dict[str, float] = {}
    for part in parts:
        match = re.fullmatch(r"(\w[\w.-]*)=(\d+\.?\d*|\.\d+)%?", part)
        if match is None or not float(match[2]):
            raise typer.BadParameter(f"{part} is not a part and its percentage of the rows: write it like train=50.")
        if match[1].lower() in map(str.lower, shares):  # some file systems do not tell upper and lower case apart
            raise typer.BadParameter(f"the part {match[1]} is named twice: give every part a name of its own.")
        shares[match[1]] = float(match[2])
    total = math.fsum(shares.values())
    if len(shares) < 2 or abs(total - 100) > 1e-6:
        problem = f"{len(shares)} part" if len(shares) < 2 else f"the percentages add up to {total:g}"
        raise typer.BadParameter(f"{problem}: name two parts or more whose percentages add up to 100, as {EXAMPLE}.")
    return shares


def _files(source: Path, names: Sequence[str], folder: Path | None, force: bool) -> dict[str, Path]:
    """File of each part, which can be written.

    Raises:
        BadParameter: there is no such input, or it has no labels.
        DataError: the format is unknown, a file cannot be written, is the input, or exists.
    """
    from ..batch.writing import check_outputs
    from ..data.files.rows import format_of
    from ..data.sources import split_name

    if not source.is_file():
        raise typer.BadParameter(missing_file(source))
    if format_of(str(source), None, "file") == "txt":
        raise typer.BadParameter(f"{source}: a text file has no labels; write its rows as CSV or JSON Lines.")
    ending = source.name[len(split_name(source)) :]
    files = {name: (folder or source.parent) / f"{name}{ending}" for name in names}
    if files[names[0]].parent.is_dir():
        check_outputs(files.values(), [source])
    existing = ", ".join(str(file) for file in files.values() if file.exists())
    if existing and not force:
        raise DataError(f"{existing} would be replaced: name another folder with -o, or add --force.")
    return files


def _visible(label: str) -> str:
    """Label for people: shortened, and in quotes if it begins or ends with spaces, which could not be seen."""
    from ..data.matching import listed_names

    return listed_names([label if label == label.strip() else repr(label)])


def _absent(labels: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Notes on labels that some parts do not have, because too few rows have them."""
    from ..data.matching import listed_names

    names = {label for counts in labels.values() for label in counts}
    for part, counts in labels.items():
        absent = sorted(names - set(counts))
        if absent:
            shown = listed_names(list(map(_visible, absent)), NOTED_LABELS)
            yield f"{part} has no row with {len(absent)} of the labels: {shown}"


def _table(sizes: Mapping[str, int], labels: Mapping[str, Counter[str]]) -> str:
    """Table with the number of rows of each part, and of those with each label, from the most frequent one on."""
    count = sum(sizes.values())
    rows = [["rows", *(f"{size:,}" for size in sizes.values())]]
    rows.append(["% of all rows", *(f"{100 * size / count:.1f}" for size in sizes.values())])
    totals: Counter[str] = sum(labels.values(), Counter())
    rows += [
        [_visible(label), *(f"{counts[label]:,}" for counts in labels.values())]
        for label, _ in totals.most_common(SHOWN_LABELS)
    ]
    rest = len(totals) - SHOWN_LABELS
    lines = [text_table(["", *sizes], rows)]
    return "\n".join([*lines, f"{rest} more labels: see --json"] if rest > 0 else lines)
