"""`UncertainTokenClassifier`: token classification with an uncertainty for every word and every entity."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..backbones.words import word_offsets
from ..data import LabeledTokens, Words
from ..data.objects import as_texts
from ..data.tag_matching import has_tag_names
from ..data.tags import Scheme, Span, TagSet
from ..display.progress import Progress, no_report
from ..display.wording import cut
from ..errors import NotApplicableError, warn_user
from ..evaluation.calibration_maps import CalibrationMaps
from ..evaluation.entities import EntityCounts
from ..evaluation.evaluation import compare
from ..evaluation.fitted_scores import score_values
from ..evaluation.grouped import GroupedEvaluation, group_maps, group_values
from ..evaluation.groups import Groups, ScoreKey
from ..features.arrays import Features
from ..predictions import Predictions, TokenPredictions
from ..saved.accuracy_basis import accuracy_bases
from ..scores import HEAD, ScoreLike
from ..selective import SelectionUnits
from ..tasks import Task, TokenClassification
from .base import UncertainClassifier
from .held_out import warn_if_seen, warn_of_seen_texts

# Aggregation from words to each kind of group: the best one on the validation split of CoNLL-2003, benchmarks/LOG.md.
AGGREGATION = {"entities": "mean", "sentences": "product"}

# A data set whose words predict() would divide further in more than this share was divided by another rule.
DIVIDED_SHARE, SENTENCES_TO_DIVIDE = 0.05, 1000
UNNAMED = (
    "the tags of the model have no names but numbers (LABEL_0, LABEL_1, …), so that its entities are not known: name "
    "the tags in the order of the model's outputs, classifier.backbone.config.id2label = {0: 'O', 1: 'B-PER', …}, or "
    "id2label in the config.json of the model."
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
        self,
        texts: Any,
        progress: Progress = no_report,
        *,
        text_column: str | None = None,
        text_pair_column: str | None = None,
    ) -> TokenPredictions:
        """Predict the entities of texts, with the uncertainty of every entity and every word.

        Args:
            texts: strings, or lists of words; one string is a list of one. Offsets refer to the string, or to the words
                joined by spaces. Strings are divided into words and punctuation marks much as in the usual corpora, see
                :func:`~aligned_entropy.backbones.words.word_offsets`; lists of words are used as they are.
            progress: function that is called with the number of texts that have been processed; a batch of the model
                counts for as many texts as have its number of words.
            text_column: column of a table with the texts or words; found by its usual names by default.
            text_pair_column: refused, since token classification takes no pairs of texts.

        Raises:
            ArgumentTypeError: an object of this type holds no texts.
            DataError: a text is neither a string nor a list of words, or is blank, or it is not clear which column
                holds the texts.
            HeadMismatchError: the head was fitted for another adapter or classification module than is active.
            NotApplicableError: the tags of the model have no names, or there are pairs of texts.
        """
        texts = as_texts(texts, self.task.find_text_columns, text_column, text_pair_column, per_word=True)
        self._check_names()
        offsets = [self._offsets(text) for text in texts]
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        words = Words([[text[start:end] for start, end in pairs] for text, pairs in zip(joined, offsets, strict=True)])
        encoded = self.backbone.encode(words)
        features = self.backbone.extract_encoded(encoded, _of_texts(progress, words), views=bool(self.head.views))
        warn_of_seen_texts(self.saved, features, words, self.backbone.name)
        return TokenPredictions(
            texts=joined,
            words=self.predict_features(features),
            starts=words.starts,
            offsets=np.array([pair for pairs in offsets for pair in pairs], dtype=np.int64).reshape(-1, 2),
            aggregation=AGGREGATION,
            maps=self.saved.group_maps,
            rule=self.saved.rule,
            bases=accuracy_bases(self.saved, per_word=True),
        )

    def _offsets(self, text: str | Sequence[str]) -> list[tuple[int, int]]:
        """Offsets of the words of a text, or of words joined by spaces: first character, and the one after the last."""
        if isinstance(text, str):
            return word_offsets(text, self.backbone.tokenizer)
        ends = np.cumsum([len(word) + 1 for word in text]).tolist()
        return [(end - 1 - len(word), end - 1) for word, end in zip(text, ends, strict=True)]

    def _check_names(self) -> None:
        """Check that the tags of the model have names.

        Raises:
            NotApplicableError: they have none.
        """
        if not has_tag_names(self.label_names):
            raise NotApplicableError(UNNAMED)

    def predict_features(self, features: Features) -> Predictions:
        """Predict the tags of words from their features, with their uncertainty."""
        return self._predictions(features)

    def features(
        self,
        data: Any,
        progress: Progress = no_report,
        *,
        extras: Collection[str] = (),
        views: bool | None = None,
        **columns: Any,
    ) -> Features:
        """Features of labeled sentences, with the true tags in the scheme of the predicted ones.

        Arguments as for :meth:`UncertainClassifier.features`.
        """
        labeled = self.read_labeled(data, **columns)
        assert isinstance(labeled, LabeledTokens), "read for this task"
        self._warn_of_other_words(labeled.sentences[:SENTENCES_TO_DIVIDE])
        return super().features(labeled, progress, extras=extras, views=views)

    def _true_labels(self, features: Features, labeled: LabeledTokens) -> NDArray[np.int64]:
        """True tags in the scheme of the predicted ones.

        The tags of a model may leave open whether it predicts IOB1 or IOB2; then the predicted tags show it.
        """
        if not has_tag_names(self.label_names):
            return labeled.labels
        starts, names = labeled.texts.starts, np.asarray(self.label_names)
        tags = TagSet(self.label_names)
        scheme = tags.scheme_in_use(names[features.predictions].tolist(), starts)
        if tags.scheme is scheme or tags.scheme not in (Scheme.IOB2, Scheme.IOE2):
            return labeled.labels
        entities = tags.spans(names[labeled.labels].tolist(), starts)
        positions = {parts: self.label_names.index(name) for parts, name in tags.tags.items()}
        return np.array([positions[parts] for parts in tags.write(entities, starts, scheme)], np.int64)

    def _warn_of_other_words(self, sentences: Sequence[Sequence[str]]) -> None:
        """Warn if :meth:`predict` divides texts into words by another rule than a data set."""
        words = {word for sentence in sentences for word in sentence}
        divided = {word for word in words if len(word_offsets(word, self.backbone.tokenizer)) > 1}
        count = sum(len(sentence) for sentence in sentences)
        share = sum(word in divided for sentence in sentences for word in sentence) / max(count, 1)
        if share > DIVIDED_SHARE:
            example = next(word for sentence in sentences for word in sentence if word in divided)
            warn_user(
                f"predict() divides {share:.0%} of the words of this data set, such as {cut(example, 40)}, into "
                "several words if they are in a string: give it lists of words that are divided as in the data set.",
            )

    def evaluate_features(
        self,
        features: Features,
        *,
        scores: Sequence[ScoreLike] | None = None,
        train: Features | None = None,
        calibration: Features | None = None,
        ood: Features | None = None,
        resamples: int = 1000,
    ) -> GroupedEvaluation:
        """Measure how well scores find wrong words, entities and sentences.

        The arguments are features of the sets of :meth:`evaluate`; ``ood`` is not used.
        """
        fitted_scores, skipped = self._fitted_scores(scores, train, calibration)
        warn_if_seen(self.saved, features)
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
        counts = EntityCounts.from_spans(*self._entity_spans(features)) if has_tag_names(self.label_names) else None
        return GroupedEvaluation(words, evaluations, AGGREGATION, counts)

    def _entity_spans(self, features: Features) -> tuple[list[Span], list[Span]]:
        """Predicted and true entities of labeled words; none if the tags of the model have no names."""
        if not has_tag_names(self.label_names):
            return [], []
        assert features.labels is not None, "words have their true tags"
        assert features.clusters is not None, "words have their sentences as clusters"
        starts = [*np.flatnonzero(np.diff(features.clusters, prepend=-1)), len(features)]
        names, tags = np.asarray(self.label_names), TagSet(self.label_names)
        predicted, true = (tags.spans(names[rows].tolist(), starts) for rows in (features.predictions, features.labels))
        return predicted, true

    def groups(self, rows: Features) -> dict[str, Groups]:
        """Predicted entities and sentences of labeled words."""
        assert rows.clusters is not None, "words have their sentences as clusters"
        return {
            "entities": Groups.from_entities(*self._entity_spans(rows)),
            "sentences": Groups.from_clusters(rows.clusters, rows.errors),
        }

    def labeled_selection_units(self, features: Features) -> SelectionUnits:
        """Predicted entities, which a threshold accepts or defers, with the head's uncertainty and their errors.

        Raises:
            NotApplicableError: the tags of the model have no names.
        """
        self._check_names()
        return super().labeled_selection_units(features)

    def selection_units(self, rows: Features, uncertainty: NDArray[np.floating]) -> SelectionUnits:
        """Predicted entities, which a threshold accepts or defers, with the aggregated uncertainty of their words.

        Args:
            rows: labeled words.
            uncertainty: uncertainty of the words, ``[N]``.
        """
        predicted, true = self._entity_spans(rows)
        entities = Groups.from_entities(predicted, true)
        aggregated = entities.aggregate(uncertainty, AGGREGATION["entities"]).astype(np.float32)
        kinds = np.array([span.kind for span in predicted], dtype=np.str_)
        assert rows.clusters is not None, "words have their sentences as clusters"
        sentences = rows.clusters[np.array([span.first for span in predicted], dtype=np.int64)]
        return SelectionUnits(aggregated, entities.errors, kinds, clusters=sentences)

    def _sentence_units(self, calibration: Features, held_out: NDArray[np.float64]) -> SelectionUnits:
        """Labeled sentences of the calibration set, with the aggregated held-out uncertainty of their words."""
        sentences = self.groups(calibration)["sentences"]
        aggregated = sentences.aggregate(held_out, AGGREGATION["sentences"]).astype(np.float32)
        return SelectionUnits(aggregated, sentences.errors, np.full(len(sentences), ""))

    def _group_maps(self, calibration: Features, held_out: NDArray[np.float64]) -> dict[str, CalibrationMaps]:
        """Calibration maps of entities and sentences, as far as there are enough wrong and correct ones."""
        maps = {
            kind: group_maps(held_out, groups, AGGREGATION[kind], is_probability=True)
            for kind, groups in self.groups(calibration).items()
            if len(groups)
        }
        return {kind: fitted for kind, fitted in maps.items() if fitted is not None}


def _of_texts(progress: Progress, words: Words) -> Progress:
    """Function that takes a number of processed words, and reports texts: the first ones with as many words."""
    ends, done, reported = words.starts[1:], 0, 0

    def report(count: int) -> None:
        nonlocal done, reported
        done += count
        texts = int(np.searchsorted(ends, done, "right"))
        progress(texts - reported)
        reported = texts

    return report
