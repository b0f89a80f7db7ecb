"""What a token classifier says of texts: words, and the entities that they make up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import NotFittedError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.entities import Groups, spans
from ..selective import Rule
from .texts import Predictions, Tabular

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Entity:
    """A predicted entity, with the fields that users of ``pipeline("ner", aggregation_strategy=…)`` know.

    Attributes:
        entity_group: its type.
        score: mean probability of its words' tags, the model's own.
        word: its characters, from ``start`` to ``end - 1`` of the text.
        start: offset in the text.
        end: likewise.
        uncertainty: aggregated doubt of its words, in [0, 1].
        error_probability: calibrated probability that its words or its type are wrong; None before a fit, and where
            the calibration set had no wrong entity or no right one.
        accepted: whether it may be relied on, by the head's threshold; None where there is none.
    """

    entity_group: str
    score: float
    word: str
    start: int
    end: int
    uncertainty: float
    error_probability: float | None
    accepted: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names; ``accepted`` only where there is a threshold."""
        return {name: value for name, value in asdict(self).items() if name != "accepted" or value is not None}


@dataclass(frozen=True)
class TokenPrediction:
    """The answer for one text.

    Attributes:
        text: as given; words joined by spaces.
        entities: in the order of the text.
        words: answers for its words; as arrays.
        offsets: of these in the text, first and last-but-one character, ``[W, 2]``.
        uncertainty: aggregated doubt of its words; 0 where there are none.
        error_probability: calibrated probability that any tag is wrong; None as for an entity.
    """

    text: str
    entities: list[Entity]
    words: Predictions
    offsets: NDArray[np.int64]
    uncertainty: float
    error_probability: float | None


@dataclass(frozen=True)
class TokenPredictions(Tabular):
    """Predictions for S texts of W words; iterates text by text.

    Attributes:
        texts: as given; words joined by spaces.
        words: answers for all words, as arrays.
        starts: where every text starts among the words, ``[S + 1]``.
        offsets: of the words in their texts, ``[W, 2]``.
        aggregation: how words make up ``entities`` and ``sentences``.
        maps: calibration of ``entities`` and ``sentences``, as far as there is one.
        rule: which entities are accepted, if that was chosen.
    """

    texts: list[str]
    words: Predictions
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    aggregation: Mapping[str, str]
    maps: Mapping[str, CalibrationMaps]
    rule: Rule | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, row: int) -> TokenPrediction: ...
    @overload
    def __getitem__(self, row: slice) -> list[TokenPrediction]: ...
    def __getitem__(self, row: int | slice) -> TokenPrediction | list[TokenPrediction]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        place = range(len(self))[row]
        first, end = int(self.starts[place]), int(self.starts[place + 1])
        calibrated = self._calibrated
        said = None if calibrated is None else float(calibrated[place])
        entities = self._entities[place]
        doubt = float(self.uncertainty[place])
        return TokenPrediction(self.texts[place], entities, self.words[first:end], self.offsets[first:end], doubt, said)

    def __iter__(self) -> Iterator[TokenPrediction]:
        return (self[row] for row in range(len(self)))

    @cached_property
    def uncertainty(self) -> NDArray[np.float64]:
        """Aggregated doubt of the texts' words, ``[S]``; 0 where there are none."""
        groups = np.repeat(np.arange(len(self)), np.diff(self.starts))
        filled = np.unique(groups)
        result = np.zeros(len(self))
        wholes = Groups.from_clusters(groups, np.zeros(len(groups)))
        result[filled] = wholes.aggregate(self.words.uncertainty, self.aggregation["sentences"])
        return result

    @property
    def error_probability(self) -> NDArray[np.float64]:
        """Calibrated probability that any tag of a text is wrong, ``[S]``.

        Raises:
            NotFittedError: before a fit, and where the calibration set had too few wrong sentences, or right ones.
        """
        if self._calibrated is None:
            raise NotFittedError(
                "there is no probability of an error in a sentence: call fit() with tagged sentences first; at least "
                "ten of them have to be wrong, and ten right."
            )
        return self._calibrated

    @cached_property
    def _calibrated(self) -> NDArray[np.float64] | None:
        return _mapped(self.maps.get("sentences"), self.uncertainty)

    @cached_property
    def _entities(self) -> list[list[Entity]]:
        found = spans(self.words.labels.tolist(), self.starts)
        wholes = Groups.from_entities(found, [])
        doubt = wholes.aggregate(self.words.uncertainty, self.aggregation["entities"])
        score = wholes.aggregate(self.words.probabilities.max(1, initial=0.0), "mean")
        said = _mapped(self.maps.get("entities"), doubt)
        accepted = None if self.rule is None else self.rule.accepts(doubt, [span.kind for span in found]).tolist()
        result: list[list[Entity]] = [[] for _ in self.texts]
        rows = np.searchsorted(self.starts, [span.first for span in found], "right") - 1
        for number, (span, row) in enumerate(zip(found, rows.tolist(), strict=True)):
            start, end = int(self.offsets[span.first, 0]), int(self.offsets[span.end - 1, 1])
            text, own = self.texts[row][start:end], None if said is None else float(said[number])
            kept = None if accepted is None else accepted[number]
            entity = Entity(span.kind, float(score[number]), text, start, end, float(doubt[number]), own, kept)
            result[row].append(entity)
        return result

    def to_dict(self) -> dict[str, Any]:
        """A row an entity: the number of its text, and the fields of :class:`Entity`."""
        rows = [{"row": row} | entity.to_dict() for row, own in enumerate(self._entities) for entity in own]
        names = ["row", *Entity.__dataclass_fields__]
        names = names if self.rule is not None else names[:-1]
        return {name: [row[name] for row in rows] for name in names}

    def to_arrow(self) -> pa.Table:
        """The columns of :meth:`to_dict` as an Arrow table."""
        import pyarrow as pa

        whole, word, number = pa.int64(), pa.string(), pa.float64()
        types = (whole, word, number, word, whole, whole, number, number, pa.bool_())
        columns = self.to_dict()
        return pa.table(columns, pa.schema(list(zip(columns, types, strict=False))))


def _mapped(maps: CalibrationMaps | None, doubt: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if maps is None else maps.probabilities(doubt)["platt"]
