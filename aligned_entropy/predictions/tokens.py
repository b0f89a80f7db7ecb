"""Predictions of token classification: words, and the entities and sentences that they make up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..accuracy import AccuracyBasis, AccuracyEstimate
from ..data.tags import TagSet
from ..display.card import Card
from ..display.wording import counted
from ..errors import NotFittedError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.groups import Groups
from ..selective import Rule
from .tables import Table, far, predictions_card
from .texts import Predictions
from .token_rows import Entity, TokenPrediction

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, repr=False)
class TokenPredictions(Table):
    """Predictions for S texts of W words in total; an index gives one text, a slice gives predictions of its texts.

    Attributes:
        texts: texts as strings; lists of words are joined by spaces.
        words: predictions for all words, as arrays.
        starts: position of the first word of every text among all words, ``[S + 1]``; the last entry is W.
        offsets: offsets of the words in their texts, ``[W, 2]``.
        aggregation: name of the aggregation from words to ``entities`` and to ``sentences``.
        maps: calibration maps of ``entities`` and ``sentences``, as far as the calibration set allowed to fit them.
        rule: rule that accepts or defers entities; None without a threshold.
        bases: labeled ``entities`` and ``sentences`` of the head, which estimates of the accuracy rest on; empty before
            a fit.
    """

    texts: list[str]
    words: Predictions
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    aggregation: Mapping[str, str]
    maps: Mapping[str, CalibrationMaps]
    rule: Rule | None = None
    bases: Mapping[str, AccuracyBasis] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, row: int) -> TokenPrediction: ...
    @overload
    def __getitem__(self, row: slice) -> TokenPredictions: ...
    def __getitem__(self, row: int | slice) -> TokenPrediction | TokenPredictions:
        if isinstance(row, slice):
            return self._texts(range(*row.indices(len(self))))
        index = range(len(self))[row]
        words = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return TokenPrediction(
            self.texts[index],
            self._entities[index],
            self.words[words],
            self.offsets[words],
            float(self.uncertainty[index]),
            None if self._error_probability is None else float(self._error_probability[index]),
            far(self.bases.get("sentences"), self._distances, index),
        )

    def _texts(self, rows: Sequence[int]) -> TokenPredictions:
        """Predictions for some of the texts, in the given order."""
        spans = [np.arange(self.starts[row], self.starts[row + 1]) for row in rows]
        words = np.concatenate([*spans, np.zeros(0, np.int64)]).astype(np.int64)
        return replace(
            self,
            texts=[self.texts[row] for row in rows],
            words=self.words.rows(words),
            starts=np.cumsum([0, *map(len, spans)]),
            offsets=self.offsets[words],
        )

    def __iter__(self) -> Iterator[TokenPrediction]:
        return (self[row] for row in range(len(self)))

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """False for every text, ``[S]``: long texts are read in overlapping windows, so that no word is left out."""
        return np.zeros(len(self), bool)

    @cached_property
    def uncertainty(self) -> NDArray[np.float64]:
        """Aggregated uncertainty of the words of every text, ``[S]``; 0 without words."""
        text_of_word = np.repeat(np.arange(len(self)), np.diff(self.starts))
        sentences = Groups.from_clusters(text_of_word, np.zeros(len(text_of_word)))
        uncertainty = np.zeros(len(self))
        aggregated = sentences.aggregate(self.words.uncertainty, self.aggregation["sentences"])
        uncertainty[np.unique(text_of_word)] = aggregated
        return uncertainty

    @property
    def error_probability(self) -> NDArray[np.float64]:
        """Calibrated probability that any tag of a text is wrong, ``[S]``.

        Raises:
            NotFittedError: the head is untrained, or its calibration set had too few wrong or correct sentences.
        """
        if self._error_probability is None:
            raise _not_calibrated("sentences")
        return self._error_probability

    @cached_property
    def _error_probability(self) -> NDArray[np.float64] | None:
        return _calibrated(self.maps.get("sentences"), self.uncertainty)

    @property
    def estimated_accuracy(self) -> AccuracyEstimate:
        """Share of the predicted entities that is right, estimated without labels; of all, of the accepted, by type.

        Entities that the model misses do not count; a missed one makes its sentence wrong, see
        :attr:`estimated_sentence_accuracy`.

        Raises:
            NotFittedError: the head is untrained, or its calibration set had too few wrong or correct entities.
        """
        entities = [entity for text in self._entities for entity in text]
        if "entities" not in self.maps:
            raise _not_calibrated("entities")
        return self.bases.get("entities", AccuracyBasis()).estimate(
            np.array([entity.error_probability for entity in entities], dtype=np.float64),
            predicted=[entity.entity_group for entity in entities],
            accepted=None if self.rule is None else np.array([entity.accepted for entity in entities], dtype=bool),
            distances=self._distances,
            texts=sum(map(bool, self._entities)),
        )

    @property
    def estimated_sentence_accuracy(self) -> AccuracyEstimate:
        """Share of the texts in which every tag is right, estimated without labels.

        Raises:
            NotFittedError: the head is untrained, or its calibration set had too few wrong or correct sentences.
        """
        return self.bases.get("sentences", AccuracyBasis()).estimate(self.error_probability, distances=self._distances)

    @cached_property
    def _distances(self) -> NDArray[np.float64] | None:
        """Mean distance of the words of every text from the calibration set, ``[S]``; NaN without words."""
        if self.words.distances is None:
            return None
        counts = np.diff(self.starts)
        totals = np.bincount(np.repeat(np.arange(len(self)), counts), self.words.distances, minlength=len(self))
        means: NDArray[np.float64] = np.divide(totals, counts, out=np.full(len(self), np.nan), where=counts > 0)
        return means

    @cached_property
    def _entities(self) -> list[list[Entity]]:
        entity_spans = TagSet(self.words.label_names).spans(self.words.labels.tolist(), self.starts)
        groups = Groups.from_entities(entity_spans, [])
        uncertainty = groups.aggregate(self.words.uncertainty, self.aggregation["entities"])
        score = groups.aggregate(self.words.probabilities.max(1, initial=0.0), "mean")
        probability = _calibrated(self.maps.get("entities"), uncertainty)
        types = [span.kind for span in entity_spans]
        accepted = None if self.rule is None else self.rule.accepts(uncertainty, types).tolist()
        entities: list[list[Entity]] = [[] for _ in self.texts]
        rows = np.searchsorted(self.starts, [span.first for span in entity_spans], "right") - 1
        for number, (span, row) in enumerate(zip(entity_spans, rows.tolist(), strict=True)):
            start, end = int(self.offsets[span.first, 0]), int(self.offsets[span.end - 1, 1])
            entity = Entity(
                span.kind,
                float(score[number]),
                self.texts[row][start:end],
                start,
                end,
                float(uncertainty[number]),
                None if probability is None else float(probability[number]),
                None if accepted is None else accepted[number],
            )
            entities[row].append(entity)
        return entities

    def _card(self) -> Card:
        def entities(row: int) -> str | None:
            return ", ".join(f"{entity.word} ({entity.entity_group})" for entity in self._entities[row]) or None

        probability, count = self._error_probability, sum(map(len, self._entities))
        title = f"{type(self).__name__}: {counted(len(self), 'texts')}, "
        title += f"{counted(len(self.words), 'words')}, {counted(count, 'entities')}"
        uncertainty = self.uncertainty if probability is None else probability
        options: dict[str, Any] = {"texts": self.texts, "is_calibrated": probability is not None}
        return predictions_card(title, len(self), ("entities", entities), uncertainty, **options)

    def to_dict(self) -> dict[str, Any]:
        """Columns by name, with one row for each entity.

        The columns are ``row``, the number of the entity's text, and the fields of :class:`Entity`. The column
        ``accepted`` exists only with a threshold.
        """
        rows = [{"row": row} | entity.to_dict() for row, text in enumerate(self._entities) for entity in text]
        names = ["row", *Entity.__dataclass_fields__]
        names = names if self.rule is not None else names[:-1]
        return {name: [row[name] for row in rows] for name in names}

    def to_arrow(self) -> pa.Table:
        """Columns of :meth:`to_dict` as an Arrow table; the types do not depend on the values."""
        import pyarrow as pa

        integer, string, number = pa.int64(), pa.string(), pa.float64()
        types = (integer, string, number, string, integer, integer, number, number, pa.bool_())
        columns = self.to_dict()
        return pa.table(columns, pa.schema(list(zip(columns, types, strict=False))))


def _not_calibrated(unit: str) -> NotFittedError:
    remedy = f"call fit() with labeled texts, of whose {unit} at least ten are predicted wrong and ten correctly."
    return NotFittedError(f"{unit} have no error probability: {remedy}")


def _calibrated(maps: CalibrationMaps | None, uncertainty: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return None if maps is None else maps.probabilities(uncertainty)["platt"]
