"""Entities and their counts, compared with seqeval; aggregation, compared with its definition; keys of scores."""

import numpy as np
import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from aligned_entropy import ArgumentError, NotApplicableError
from aligned_entropy.data.tags import Span, TagSet
from aligned_entropy.evaluation.entities import EntityCounts
from aligned_entropy.evaluation.groups import AGGREGATIONS, Groups, ScoreKey

IOB = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]
IOBES = [*IOB, "E-PER", "S-PER", "E-ORG", "S-ORG"]


def sentences(rng, tags, count=200):
    return [rng.choice(tags, rng.integers(1, 9)).tolist() for _ in range(count)]


def spans(tags, starts):
    return TagSet(tags).spans(tags, starts)


def flat(nested):
    return [tag for tags in nested for tag in tags], np.cumsum([0, *map(len, nested)])


@pytest.mark.parametrize("tags", [IOB, IOBES, ["O", "B", "I"], ["O", "B", "I", "E", "S"]])
def test_any_sequence_of_tags_is_read_as_seqeval_reads_it(tags):
    for seed in range(20):
        nested = sentences(np.random.default_rng(seed), tags)
        words, starts = flat(nested)
        expected = [
            Span(int(first + start), int(last + start + 1), kind)
            for sentence, start in zip(nested, starts, strict=False)
            for kind, first, last in get_entities(sentence)
        ]
        assert spans(words, starts) == expected


def test_tags_of_other_schemes():
    assert spans(["PER", "PER", "O", "LOC", "PER"], [0, 5]) == [Span(0, 2, "PER"), Span(3, 4, "LOC"), Span(4, 5, "PER")]
    assert spans(["B-PER", "L-PER", "U-LOC", "U-LOC"], [0, 4]) == [
        Span(0, 2, "PER"), Span(2, 3, "LOC"), Span(3, 4, "LOC"),
    ]  # fmt: skip
    assert spans(["B-creative-work", "I-creative-work"], [0, 2]) == [Span(0, 2, "creative-work")]
    assert spans(["geo-loc"], [0, 1]) == [Span(0, 1, "geo-loc")]
    assert spans(["B-PER", "I-PER"], [0, 1, 2]) == [
        Span(0, 1, "PER"),
        Span(1, 2, "PER"),
    ]  # the sentence ends
    assert spans([], [0]) == spans([], [0, 0]) == []


def test_counts_are_seqevals():
    rng = np.random.default_rng(0)
    true = sentences(rng, IOB)
    predicted = [[tag if rng.random() < 0.7 else str(rng.choice(IOB)) for tag in tags] for tags in true]
    starts = flat(true)[1]
    counts = EntityCounts.from_spans(spans(flat(predicted)[0], starts), spans(flat(true)[0], starts))
    assert counts.f1 == pytest.approx(f1_score(true, predicted))
    assert counts.precision == pytest.approx(precision_score(true, predicted))
    assert counts.recall == pytest.approx(recall_score(true, predicted))


def test_a_missed_entity_shares_no_word_with_a_predicted_one():
    true = [Span(0, 2, "PER"), Span(4, 5, "LOC"), Span(6, 7, "LOC")]
    predicted = [Span(1, 2, "PER"), Span(4, 5, "ORG"), Span(8, 9, "ORG")]
    assert EntityCounts.from_spans(predicted, true) == EntityCounts(3, 0, 3, 1)
    nothing = EntityCounts.from_spans([], [])
    assert np.isnan([nothing.f1, nothing.precision, nothing.recall]).all()
    assert Groups.from_entities(predicted, true).errors.tolist() == [1, 1, 1]


def test_groups_aggregate_the_uncertainty_of_their_members():
    uncertainty = np.array([0.1, 0.2, 0.9, 0.5, 0.4])
    groups = Groups.from_entities([Span(0, 2, "A"), Span(3, 5, "A")], [Span(0, 2, "A")])
    assert groups.errors.tolist() == [0, 1]
    aggregated = {name: groups.aggregate(uncertainty, name).tolist() for name in AGGREGATIONS}
    assert aggregated == {
        "max": [0.2, 0.5],
        "mean": pytest.approx([0.15, 0.45]),
        "first": [0.1, 0.5],
        "product": pytest.approx([1 - 0.9 * 0.8, 1 - 0.5 * 0.6]),
    }


def test_groups_are_wrong_where_any_part_is():
    groups = Groups.from_clusters(np.array([7, 2, 7, 5]), np.array([0.0, 0.0, 1.0, 0.0]))
    assert groups.errors.tolist() == [0, 0, 1]  # of 2, 5 and 7
    assert groups.aggregate(np.array([0.1, 0.2, 0.3, 0.4]), "max").tolist() == [0.2, 0.4, 0.3]
    assert groups.aggregate(np.array([0.1, 0.2, 0.3, 0.4]), "first").tolist() == [0.2, 0.4, 0.1]
    assert len(Groups.from_clusters(np.zeros(0, int), np.zeros(0))) == 0


def test_the_product_keeps_its_precision_for_certain_members_and_is_one_for_a_certain_error():
    groups = Groups.from_clusters(np.array([0, 0, 1, 1]), np.zeros(4))
    assert groups.aggregate(np.array([1e-12, 1e-12, 1.0, 0.3]), "product") == pytest.approx([2e-12, 1.0], rel=1e-9)


def test_no_product_of_distances_and_no_unknown_aggregation():
    groups = Groups.from_clusters(np.array([0, 0]), np.zeros(2))
    with pytest.raises(NotApplicableError, match=r"values in \[0, 1\]"):
        groups.aggregate(np.array([3.0, 0.1]), "product")
    with pytest.raises(ArgumentError, match="no aggregation 'sum'; there are max, mean, first, product"):
        groups.aggregate(np.array([0.3, 0.1]), "sum")
    assert groups.aggregate(np.array([3.0, 0.1]), "max").tolist() == [3.0]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("entropy", ScoreKey("entropy")),
        ("entropy, mean", ScoreKey("entropy", "mean")),
        ("aligned entropy, product", ScoreKey("aligned entropy", "product")),
        ("entropy, untrained", ScoreKey("entropy, untrained")),
        ("entropy, the plain one, max", ScoreKey("entropy, the plain one", "max")),
        ("mean", ScoreKey("mean")),
    ],
)
def test_the_key_of_a_score_is_read_from_its_text(text, key):
    assert ScoreKey.parse(text) == key
    assert str(key) == text
