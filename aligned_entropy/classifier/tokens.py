"""`UncertainTokenClassifier`: token classification with an uncertainty for every word and every entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import regex
from numpy.typing import NDArray

from ..data import Words
from ..data.objects import as_texts
from ..errors import DataError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.entities import EntityCounts, Span, spans
from ..evaluation.evaluation import compare
from ..evaluation.fitted_scores import score_values
from ..evaluation.grouped import GroupedEvaluation, group_maps, group_values
from ..evaluation.groups import Groups, ScoreKey
from ..features.arrays import Features
from ..predictions import Predictions, TokenPredictions
from ..scores import HEAD
from ..selective import SelectionUnits
from ..tasks import Task, TokenClassification
from .base import UncertainClassifier
from .pretrained import Progress

# Aggregation from words to each kind of group: the best one on the validation split of CoNLL-2003, benchmarks/LOG.md.
AGGREGATION = {"entities": "mean", "sentences": "product"}

# Words much as in the usual corpora: abbreviations, numbers, addresses, names and hyphenated words are one word; 's and
# similar suffixes are words. Letters include their combining marks, without which most Indic scripts would fall apart.
WORD = regex.compile(
    r"""https?://[^\s<>()\[\]]*[^\s<>()\[\].,;:!?'"]"""
    r"""|[@#][\w\p{M}]+|(?:\w\.){2,}(?:\w\b)?|\d+(?:[.,:/]\d+)+"""
    r"""|['’](?:s|re|ve|ll|d|m|t)\b"""
    r"""|[\w\p{M}]+(?:(?:[-.&/@]|['’](?!(?:s|re|ve|ll|d|m|t)\b))[\w\p{M}]+)*"""
    r"""|[^\w\s]""",
    regex.IGNORECASE,
)


class UncertainTokenClassifier(UncertainClassifier):
    """Token classifier with an uncertainty head; has the methods of :class:`UncertainClassifier`.

    Scores are scores of words, and the head learns to find wrong tags. Entities and sentences have the aggregated
    uncertainty of their words and calibration maps of their own: an entity is wrong if its words or its type are wrong,
    a sentence is wrong if any of its tags is. A missed entity counts as an error of its words and of its sentence; it
    has no score as an entity, so evaluations count missed entities separately.
    """

    task: ClassVar[Task] = TokenClassification()

    def predict(
        self, texts: Any, progress: Progress = lambda done: None, *, text_column: str | None = None
    ) -> TokenPredictions:
        """Predict the entities of texts, with the uncertainty of every entity and every word.

        Args:
            texts: strings, or lists of words; one string is a list of one. Offsets refer to the string, or to the words
                joined by spaces. Strings are split into words and punctuation marks, much as in the usual corpora.
            progress: function that is called with the number of words that have been processed.
            text_column: column of a table with the texts or words; found by its usual names by default.

        Raises:
            ArgumentTypeError: an object of this type holds no texts.
            DataError: a text is neither a string nor a list of words, or is blank, or it is not clear which column
                holds the texts.
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
        """
        texts = as_texts(texts, self.task.text_column, text_column, per_word=True)
        offsets = [_offsets(text, row) for row, text in enumerate(texts)]
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        words = Words([[text[start:end] for start, end in pairs] for text, pairs in zip(joined, offsets, strict=True)])
        hidden, logits = self.backbone.extract(words, progress)
        return TokenPredictions(
            texts=joined,
            words=self.predict_features(Features(hidden, logits)),
            starts=words.starts,
            offsets=np.array([pair for pairs in offsets for pair in pairs], dtype=np.int64).reshape(-1, 2),
            aggregation=AGGREGATION,
            maps=self.saved.group_maps,
            rule=self.saved.rule,
        )

    def predict_features(self, features: Features) -> Predictions:
        """Predict the tags of words from their features, with their uncertainty."""
        return self._predictions(features)

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[str] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> GroupedEvaluation:
        """Measure how well scores find wrong words, entities and sentences.

        The arguments are features of the sets of :meth:`evaluate`; ``ood`` is not used.
        """
        fitted_scores, skipped = self._fitted_scores(scores, train, calibration)
        values, not_computed = score_values(fitted_scores, features)
        words = compare(
            features.errors,
            values,
            skipped=skipped | not_computed,
            resamples=resamples,
            unit="words",
            clusters=features.clusters,
        )
        calibration_groups = {} if calibration is None else self.groups(calibration)
        evaluations = {}
        for kind, groups in self.groups(features).items():
            if not len(groups):
                continue
            grouped = group_values(values, groups, calibration_groups.get(kind))
            key = str(ScoreKey(HEAD, AGGREGATION[kind]))
            if key in grouped and kind in self.saved.group_maps:
                grouped[key] = replace(grouped[key], maps=self.saved.group_maps[kind])
            evaluations[kind] = compare(groups.errors, grouped, skipped={}, resamples=resamples, unit=kind)
        predicted, true = self._entity_spans(features)
        return GroupedEvaluation(words, evaluations, AGGREGATION, EntityCounts.from_spans(predicted, true))

    def _entity_spans(self, features: Features) -> tuple[list[Span], list[Span]]:
        """Predicted and true entities of labeled words."""
        assert features.labels is not None, "words have their true tags"
        assert features.clusters is not None, "words have their sentences as clusters"
        starts = [*np.flatnonzero(np.diff(features.clusters, prepend=-1)), len(features)]
        names = self.label_names
        predicted, true = (spans([names[i] for i in tags], starts) for tags in (features.predictions, features.labels))
        return predicted, true

    def groups(self, rows: Features) -> dict[str, Groups]:
        """Predicted entities and sentences of labeled words."""
        assert rows.clusters is not None, "words have their sentences as clusters"
        return {
            "entities": Groups.from_entities(*self._entity_spans(rows)),
            "sentences": Groups.from_clusters(rows.clusters, rows.errors),
        }

    def selection_units(self, rows: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Predicted entities, which a threshold accepts or defers, with the aggregated uncertainty of their words.

        Args:
            rows: labeled words.
            uncertainty: uncertainty of the words, ``[N]``.
        """
        predicted, true = self._entity_spans(rows)
        entities = Groups.from_entities(predicted, true)
        aggregated = entities.aggregate(uncertainty, AGGREGATION["entities"]).astype(np.float32)
        return SelectionUnits(aggregated, entities.errors, np.array([span.kind for span in predicted], dtype=np.str_))

    def _group_maps(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, CalibrationMaps]:
        """Calibration maps of entities and sentences, as far as there are enough wrong and correct ones."""
        maps = {
            kind: group_maps(held_out, groups, AGGREGATION[kind], is_probability=True)
            for kind, groups in self.groups(calibration).items()
            if len(groups)
        }
        return {kind: fitted for kind, fitted in maps.items() if fitted is not None}


def _offsets(text: Any, row: int) -> list[tuple[int, int]]:
    """Offsets of the words of a text, or of words joined by spaces: first character, and the one after the last."""
    if isinstance(text, str):
        return [match.span() for match in WORD.finditer(text)]
    if not isinstance(text, (list, tuple)) or not all(isinstance(word, str) for word in text):
        raise DataError(f"text {row} is a {type(text).__name__}, not a string or a list of words: {text!r:.80}")
    ends = np.cumsum([len(word) + 1 for word in text]).tolist()
    return [(end - 1 - len(word), end - 1) for word, end in zip(text, ends, strict=True)]
