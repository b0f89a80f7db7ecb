"""`UncertainTokenClassifier`: a token classifier that also says how likely each word and each entity is to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import regex
from numpy.typing import NDArray

from ..data import LabeledTexts, LabeledTokens, Words, checked_names, labeled_tokens, load_data
from ..errors import DataError
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.entities import EntityCounts, Span, spans
from ..evaluation.evaluation import compare
from ..evaluation.fitted_scores import score_values
from ..evaluation.grouped import GroupedEvaluation, group_maps, group_values
from ..evaluation.groups import Groups, ScoreKey
from ..features.arrays import Features
from ..predictions.tokens import TokenPredictions
from ..scores import HEAD
from ..selective import SelectionUnits
from ..tasks import Task, TokenClassification
from .base import Progress, UncertainClassifier

# Of words, in predictions; what ranked best on CoNLL-2003's validation split, see benchmarks/LOG.md.
AGGREGATION = {"entities": "mean", "sentences": "product"}

# Much as the usual corpora have them: abbreviations, numbers, addresses, names and hyphenated words stay whole, 's and
# its like are words. Letters take their combining marks along, without which most scripts of India fall to pieces.
WORD = regex.compile(
    r"""https?://[^\s<>()\[\]]*[^\s<>()\[\].,;:!?'"]"""
    r"""|[@#][\w\p{M}]+|(?:\w\.){2,}(?:\w\b)?|\d+(?:[.,:/]\d+)+"""
    r"""|['’](?:s|re|ve|ll|d|m|t)\b"""
    r"""|[\w\p{M}]+(?:(?:[-.&/@]|['’](?!(?:s|re|ve|ll|d|m|t)\b))[\w\p{M}]+)*"""
    r"""|[^\w\s]""",
    regex.IGNORECASE,
)


class UncertainTokenClassifier(UncertainClassifier):
    """A token classifier with an uncertainty head: what :class:`UncertainClassifier` is to texts, to words.

    A score is of a word, and the error that the head learns to see is a wrong tag. Entities and sentences have the
    aggregated doubt of their words, calibrated by themselves: an entity is wrong where its words or its type are, a
    sentence where any tag in it is. A missed entity is an error of its words and of its sentence; as an entity it is
    not there to have a score, so that evaluations count it apart.
    """

    task: ClassVar[Task] = TokenClassification()

    def predict(self, texts: Any, progress: Progress = lambda done: None) -> TokenPredictions:
        """Entities with their uncertainty, and every word's.

        Args:
            texts: strings, or lists of words; one string is a list of one. Offsets are in the string, or in the words
                joined by spaces. Strings are cut into words and marks of punctuation, much as the usual corpora are.
            progress: called with the number of words that have been done.

        Raises:
            DataError: something among the texts is neither.
            HeadMismatchError: the head was fitted for another adapter or classification module than is in use.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        offsets = [_offsets(text, row) for row, text in enumerate(given)]
        joined = [text if isinstance(text, str) else " ".join(text) for text in given]
        cut = [[text[first:end] for first, end in places] for text, places in zip(joined, offsets, strict=True)]
        words = Words(cut)
        hidden, logits = self.backbone.extract(words, progress)
        return TokenPredictions(
            joined,
            self.predict_features(Features(hidden, logits)),
            words.starts,
            np.array([place for places in offsets for place in places], dtype=np.int64).reshape(-1, 2),
            AGGREGATION,
            self.saved.group_maps,
            self.saved.rule,
        )

    def read_labeled(self, data: Any, **columns: Any) -> LabeledTexts | LabeledTokens:
        """Tagged sentences with the tags of the model; arguments and errors as for :meth:`fit`."""
        if isinstance(data, LabeledTokens):
            return checked_names(data, self.label_names)
        return labeled_tokens(load_data(data), self.label_names, **columns)

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
        """:meth:`evaluate` on features that are at hand: words, the entities that they make up, and sentences."""
        fitted_scores, skipped = self._fitted_scores(scores, train, calibration)
        values, missing = score_values(fitted_scores, features)
        skipped |= missing
        words = compare(
            features.errors, values, skipped=skipped, resamples=resamples, unit="words", clusters=features.clusters
        )
        predicted, true = self._spans(features)
        known = {} if calibration is None else self.groups(calibration)
        found = {}
        for what, wholes in self.groups(features).items():
            if not len(wholes):
                continue
            said = group_values(values, wholes, known.get(what))
            own = str(ScoreKey(HEAD, AGGREGATION[what]))
            if own in said and what in self.saved.group_maps:
                said[own] = replace(said[own], maps=self.saved.group_maps[what])
            found[what] = compare(wholes.errors, said, skipped={}, resamples=resamples, unit=what)
        return GroupedEvaluation(words, found, AGGREGATION, EntityCounts.from_spans(predicted, true))

    def _spans(self, features: Features) -> tuple[list[Span], list[Span]]:
        """Predicted and true entities of tagged words."""
        assert features.labels is not None, "words with their true tags"
        assert features.clusters is not None, "words in sentences"
        starts = [*np.flatnonzero(np.diff(features.clusters, prepend=-1)), len(features)]
        names = self.label_names
        predicted, true = (spans([names[i] for i in tags], starts) for tags in (features.predictions, features.labels))
        return predicted, true

    def groups(self, answers: Features) -> dict[str, Groups]:
        """Entities and sentences of tagged words."""
        assert answers.clusters is not None, "words in sentences"
        return {
            "entities": Groups.from_entities(*self._spans(answers)),
            "sentences": Groups.from_clusters(answers.clusters, answers.errors),
        }

    def selection_units(self, answers: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Predicted entities, with the aggregated doubt of their words."""
        predicted, true = self._spans(answers)
        wholes = Groups.from_entities(predicted, true)
        doubt = wholes.aggregate(uncertainty, AGGREGATION["entities"]).astype(np.float32)
        return SelectionUnits(doubt, wholes.errors, np.array([span.kind for span in predicted], dtype=np.str_))

    def _group_maps(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, CalibrationMaps]:
        """Of entities and sentences, as far as some of them are wrong and some are right."""
        found = {
            what: group_maps(held_out, wholes, AGGREGATION[what], is_probability=True)
            for what, wholes in self.groups(calibration).items()
            if len(wholes)
        }
        return {what: maps for what, maps in found.items() if maps is not None}


def _offsets(text: Any, row: int) -> list[tuple[int, int]]:
    """First and last-but-one character of the words of a text, or of words joined by spaces."""
    if isinstance(text, str):
        return [found.span() for found in WORD.finditer(text)]
    if not isinstance(text, (list, tuple)) or not all(isinstance(word, str) for word in text):
        raise DataError(f"text {row} is a {type(text).__name__}, not a string or a list of words: {text!r:.80}")
    ends = np.cumsum([len(word) + 1 for word in text]).tolist()
    return [(end - 1 - len(word), end - 1) for word, end in zip(text, ends, strict=True)]
