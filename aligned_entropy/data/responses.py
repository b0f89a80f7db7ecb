"""Responses of language models in a table: lines of a batch file, or completion objects, as features of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..display.wording import cut
from ..errors import DataError
from .json_field import JsonField
from .matching import NameIndex
from .replies import completion, first_top_logprobs, in_latin_1, reply_text, reply_tokens
from .table import Table
from .top_logprobs import Masses, class_masses, logits_of

RESPONSE_COLUMNS = ("response", "choices", "error")  # of a batch file, of completion objects, of their failures
NUMBER_COLUMN = "custom_id"


def response_column(data: Table) -> str | None:
    """Column that shows that the rows of a table are responses; None for another table."""
    names = [name for name in RESPONSE_COLUMNS if name in data.column_names]
    return None if names == ["error"] and NUMBER_COLUMN not in data.column_names else next(iter(names), None)


def response_logits(
    data: Table, label_names: Sequence[str], field: str | None, *, with_row_errors: bool
) -> tuple[NDArray[np.float32], NDArray[np.object_] | None]:
    """Read the log-probability of every class, ``[N, C]``, not normalized, from responses.

    A response that a field is read from is a JSON object with an enum field, see
    :class:`~aligned_entropy.data.json_field.JsonField`; its label words are the names of the classes. Without a field,
    a response is one token, see :func:`~aligned_entropy.data.top_logprobs.class_logits`.

    Args:
        data: table with ``response`` and ``error`` (lines of a batch file) or ``choices`` (completion objects).
        label_names: names of the C classes.
        field: name of the field; None for responses of one token.
        with_row_errors: True to give the reason why a row cannot be read; False to raise it.

    Returns:
        Log-probabilities, and the reason why a row is NaN, ``[N]`` object, None if every row has been read.

    Raises:
        DataError: a row cannot be read; the message names it.

    Warns:
        UserWarning: a class is missing in some rows.
    """
    reader = None if field is None else JsonField(field, label_names, [[name] for name in label_names])
    index, column = NameIndex(label_names), response_column(data)
    columns = {name: data[name] for name in (*RESPONSE_COLUMNS, NUMBER_COLUMN) if name in data.column_names}
    masses: list[Masses | None] = []
    reasons = np.full(len(data), None, object)
    for number, values in enumerate(zip(*columns.values(), strict=True)):
        line = dict(zip(columns, values, strict=True))
        try:
            reply = completion(line)
            masses.append(_one_token(reply, index, label_names) if reader is None else reader.masses(reply))
        except DataError as error:
            if not with_row_errors:
                custom = f" ({NUMBER_COLUMN} {cut(line[NUMBER_COLUMN], 60)})" if line.get(NUMBER_COLUMN) else ""
                raise DataError(f"{data.place(number, str(column))}{custom}: {error}") from error
            reasons[number] = str(error).rstrip(".")
            masses.append(None)
    logits = logits_of(masses, len(label_names), str(column))
    return logits, reasons if any(reason is not None for reason in reasons) else None


def _one_token(reply: Mapping[str, Any], index: NameIndex, label_names: Sequence[str]) -> Masses:
    """Read the probabilities of the classes from a reply of one token.

    Raises:
        DataError: the text of the reply is longer than a token, or no token is a class.
    """
    rows, first, text = first_top_logprobs(reply), reply_tokens(reply)[0].string, reply_text(reply)
    if text is not None and first and in_latin_1(text).strip() != first.strip():
        raise DataError(
            f"the reply is {cut(text, 80)}, which is more than its first token: name the field of a JSON object with "
            "field='…' or --field, or ask for one token with max_tokens."
        )
    return class_masses(rows, index, label_names, "the reply")
