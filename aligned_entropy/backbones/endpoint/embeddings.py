"""Encoder behind an endpoint: vectors of texts by the path ``/embeddings``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...display.wording import cut
from ...errors import ArgumentError, EndpointError
from ...features.files import cache_folder
from ...features.texts import Text
from .client import EndpointClient, RequestError
from .store import ReplyStore, rows_by_text

PREFIX = "endpoint:"  # before the name of a model of the endpoint, in place of the name of an encoder
TRIAL_TEXTS = ("N/A", "The first of them was better than the second.", "1 2 3 ? !")
TRIAL_NUMBERS = 16  # first numbers of each vector, by which the model is recognized
SAME_STATE, SAME_MODEL = 0.02, 0.1  # largest relative distances of these numbers
TEXTS_PER_REQUEST = 32


class EndpointEncoder:
    """Model of an endpoint that gives every text a vector; no text is sent twice.

    Args:
        client: client of the endpoint.
        model: name of the model.

    Attributes:
        name: name of the model behind :data:`PREFIX`.
        width: size D of the vectors.
        facts: name, width and vectors of a few texts, by which the model is recognized.

    Raises:
        ArgumentError: the name of the model is empty.
        EndpointError: the endpoint gives no vectors.
    """

    def __init__(self, client: EndpointClient, model: str) -> None:
        if not model:
            raise ArgumentError(f"embeddings={PREFIX!r} names no model: write {PREFIX}MODEL.")
        self._client, self._model, self.name, self.width = client, model, PREFIX + model, 0
        key = hashlib.sha256(json.dumps(["embeddings", client.url, model]).encode()).hexdigest()
        self._store = ReplyStore(cache_folder() / "endpoints" / f"{key[:32]}.sqlite")
        try:
            vectors = self._request(TRIAL_TEXTS)
        except (RequestError, EndpointError) as error:
            raise EndpointError(
                f"{client.url} gives no vectors of texts by the model {model!r}: {str(error).rstrip('.')}. Name a "
                "model that this server has at /embeddings, or an encoder of this process, such as minilm."
            ) from error
        self.width = vectors.shape[1]
        first_numbers = [[float(f"{number:.6g}") for number in vector[:TRIAL_NUMBERS]] for vector in vectors]
        self._state, trial = self._find_state({"width": self.width, "trial": first_numbers})
        self.facts: dict[str, Any] = {"name": self.name, **trial}

    def is_same(self, facts: Mapping[str, Any]) -> bool:
        """True if the facts about an encoder are those of this one, up to rounding."""
        return "trial" in facts and _distance(facts, self.facts) < SAME_MODEL

    def vectors(self, texts: Sequence[Text]) -> tuple[NDArray[np.float16], NDArray[np.object_]]:
        """Compute the vectors ``[N, D]`` of single texts, and the reasons ``[N]`` of those without one; else None.

        Raises:
            EndpointError: the endpoint is gone, or the bound on requests is reached.
        """
        vectors, reasons = np.zeros((len(texts), self.width), np.float16), np.full(len(texts), None, object)
        rows = rows_by_text(texts)
        missing = self._store.fill(vectors, self._state, rows)

        def ask(keys: Sequence[bytes]) -> NDArray[np.float16]:
            replies = self._request([str(texts[rows[key][0]]) for key in keys])
            for key, vector in zip(keys, replies, strict=True):
                self._store.write(self._state, key, vector)  # at once: an error of another request loses nothing
            return replies

        for size in (TEXTS_PER_REQUEST, 1):  # the texts of a request without a reply are sent again, each alone
            requests, failed = [missing[start : start + size] for start in range(0, len(missing), size)], list[bytes]()
            for keys, reply in self._client.map(ask, requests):
                if not isinstance(reply, RequestError):
                    for key, vector in zip(keys, reply, strict=True):
                        vectors[rows[key]] = vector
                elif len(keys) == 1:
                    reasons[rows[keys[0]]] = f"{self.name} gives no vector: {reply}"
                else:
                    failed += keys
            missing = failed
        return vectors, reasons

    def _find_state(self, trial: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Find the state of the store in which the model is, or add it; return its number and its trial."""
        for number, stored, _ in self._store.states():
            if _distance(stored, trial) <= SAME_STATE:
                return number, stored
        return self._store.add_state(trial, ""), trial

    def _request(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Ask for the vectors ``[N, D]`` of texts.

        Raises:
            RequestError: the reply does not hold a usable vector for every text.
            EndpointError: the endpoint is gone, or the bound on requests is reached.
        """
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        vectors = _vectors(self._client.post("/embeddings", body), len(texts))
        if self.width and vectors.shape[1] != self.width:
            raise RequestError(f"a vector has {vectors.shape[1]} numbers, and others have {self.width}")
        return vectors


def _vectors(reply: Mapping[str, Any], count: int) -> NDArray[np.float16]:
    """Read the vectors ``[N, D]`` of a reply in the order of the texts.

    Raises:
        RequestError: there is not one vector for each text, or a vector has another width or numbers that are none.
    """
    data = reply.get("data")
    entries = [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
    if len(entries) != count:
        raise RequestError(f"the reply holds {len(entries)} vectors for {count} texts")
    positions = [entry.get("index") for entry in entries]
    if {position for position in positions if type(position) is int} != set(range(count)):
        raise RequestError(f"the vectors of {count} texts have the indices {cut(positions, 80)}, not each number once")
    rows: list[Any] = [entry.get("embedding") for entry in sorted(entries, key=lambda entry: entry["index"])]
    for row in rows:
        if not isinstance(row, list) or not row or not all(type(number) in (int, float) for number in row):
            raise RequestError(f"a vector of the reply is no list of numbers: {cut(row, 60)}")
    if len({len(row) for row in rows}) > 1:
        raise RequestError(f"the vectors of one reply have {sorted({len(row) for row in rows})} numbers")
    try:
        with np.errstate(over="ignore"):
            vectors = np.array(rows, np.float64).astype(np.float16)
    except OverflowError as error:  # an integer with hundreds of digits
        raise RequestError("a vector of the reply holds a number that is too large") from error
    if not np.isfinite(vectors).all():
        raise RequestError("a vector of the reply holds NaN, infinity or a number that is too large for half precision")
    if not vectors.any(axis=1).all():
        raise RequestError("a vector of the reply is zero")
    return vectors


def _distance(stored: Mapping[str, Any], current: Mapping[str, Any]) -> float:
    """Relative distance between two trials; infinite for vectors of another size."""
    if stored["width"] != current["width"]:
        return float("inf")
    before, now = (np.array(facts["trial"], np.float64) for facts in (stored, current))
    return float(np.linalg.norm(before - now) / (np.linalg.norm(now) or 1.0))
