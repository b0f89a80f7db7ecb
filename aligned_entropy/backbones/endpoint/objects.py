"""JSON objects in place of label words: parameters of a request, and probabilities of the labels in its reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.json_field import JsonField
from ...display.wording import quoted
from ...errors import DataError
from ..templates import PromptTemplate
from .client import RequestError
from .label_tokens import log_vector

SCHEMA_NAME = "classification"
SCHEMA_PARAMETERS = ("response_format", "json_schema")  # parameters that make a reply an object
SPARE_TOKENS = 16  # tokens beyond one for each byte of the object, for white space and the end


class ObjectReplies:
    """Replies that are JSON objects with one field, an enum of the label words.

    Args:
        prompt: template, label words, examples and name of the field.
        field: name of the field.

    Attributes:
        shots: filled template and object of every example of the prompt.
        parameters: parameters of a request besides the prompt.

    Raises:
        DataError: the name of the field is empty, or a word stands for two classes.
    """

    def __init__(self, prompt: PromptTemplate, field: str) -> None:
        words = [[word.strip() for word in row] for row in prompt.words]
        self._field = JsonField(field, prompt.names, words)
        self.shots = [(filled, _object(field, word.strip())) for filled, word in prompt.shots]
        longest = max(len(_object(field, word).encode()) for word in chain(*words))
        self.parameters = {"max_tokens": longest + SPARE_TOKENS, **_schema(field, list(chain(*words)), prompt.chat)}

    def log_probabilities(self, reply: Mapping[str, Any]) -> NDArray[np.float32]:
        """Read the log-probabilities of the C labels, and of everything else together, ``[C + 1]``.

        Raises:
            RequestError: the labels cannot be read from the reply, or one without a token may matter.
        """
        try:
            masses = self._field.masses(reply)
        except DataError as error:
            raise RequestError(str(error).rstrip(".")) from error
        if not masses.is_complete:
            names = [
                name for name, is_missing in zip(self._field.classes, masses.is_missing, strict=True) if is_missing
            ]
            raise RequestError(
                f"no token of {quoted(names[:10])} is among the most probable ones of the field {self._field.name!r}: "
                "ask for more tokens with top_logprobs"
            )
        return log_vector(masses.values)


def _object(field: str, word: str) -> str:
    return json.dumps({field: word}, ensure_ascii=False)


def _schema(field: str, words: list[str], chat: bool) -> dict[str, Any]:
    """Parameters that ask for an object with one field, as OpenAI, vLLM and llama.cpp take them."""
    schema = {
        "type": "object",
        "properties": {field: {"type": "string", "enum": words}},
        "required": [field],
        "additionalProperties": False,
    }
    form = {"name": SCHEMA_NAME, "strict": True, "schema": schema}
    parameters: dict[str, Any] = {"response_format": {"type": "json_schema", "json_schema": form}}
    return parameters if chat else parameters | {"json_schema": schema}  # llama.cpp on /completions
