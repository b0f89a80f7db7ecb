"""Choice of rows for review: the probabilities with which they were drawn are right, or are not given."""

import numpy as np
import pytest

from aligned_entropy import ArgumentError, DataError
from aligned_entropy.review.choosing import choose_rows, gradient_vectors, have_labels, spread_rows
from aligned_entropy.store import text_key
from fixtures.review import row

RNG = np.random.default_rng(0)
Q = RNG.beta(0.5, 2, 60).round(6)
ROWS = [
    row(k, f"text {k}", "positive", error_probability=q, accepted=q < 0.3, inclusion=1.0)
    for k, q in enumerate(Q.tolist())
]
VECTORS = RNG.normal(size=(60, 5))


def numbers(rows):
    return [int(chosen.origin.removeprefix("row-").partition("@")[0]) for chosen in rows]


@pytest.mark.parametrize(("choice", "count"), [("all", 15), ("audit", 15), ("informative", 20)])
def test_inclusion_probabilities_are_the_shares_of_draws(choice, count):
    draws, given = np.zeros(60), {}
    for seed in range(400):
        for chosen in choose_rows(ROWS, choice, count, seed=seed, vectors=VECTORS):
            if chosen.inclusion is not None:
                number = numbers([chosen])[0]
                draws[number] += 1 / 400
                given.setdefault(number, []).append(chosen.inclusion)
    assert len(given) > 55
    expected = np.array([np.mean(given.get(number, [0])) for number in range(60)])
    error = np.sqrt(np.maximum(expected * (1 - expected), 0.01) / 400)
    assert np.all(np.abs(draws - expected) < 4.5 * error)
    assert draws.sum() == pytest.approx(count if choice != "informative" else 4)


def test_probabilities_multiply_those_of_the_server():
    rows = [row(k, "t", "positive", inclusion=None if k == 0 else 0.1 * k) for k in range(1, 5)]
    rows.append(row(5, "t", "positive", inclusion=None))
    chosen = choose_rows(rows, "all", 4, seed=1)
    for after in chosen:
        before = rows[numbers([after])[0] - 1].inclusion
        assert after.inclusion == (None if before is None else pytest.approx(0.8 * before))
    assert [r.inclusion for r in choose_rows(rows, "all")] == [r.inclusion for r in rows]


def test_deferred_rows_were_not_drawn():
    chosen = choose_rows(ROWS, "deferred")
    assert numbers(chosen) == np.flatnonzero(Q >= 0.3).tolist()
    assert {r.inclusion for r in chosen} == {None}
    assert numbers(choose_rows(ROWS, "deferred", 3)) == np.argsort(-Q)[:3].tolist()
    with pytest.raises(DataError, match="has no threshold"):
        choose_rows([row(0, "t", "positive", accepted=None)], "deferred")
    with pytest.raises(DataError, match="no prediction without a label is deferred"):
        choose_rows([row(0, "t", "positive", accepted=True)], "deferred")


def test_rows_with_labels_are_not_chosen_again_but_can_be_drawn():
    labeled = have_labels(ROWS, {text_key(f"text {k}") for k in range(40)})
    assert np.flatnonzero(labeled).tolist() == list(range(40))
    deferred = choose_rows(ROWS, "deferred", labeled=labeled)
    assert numbers(deferred) == [k for k in np.flatnonzero(Q >= 0.3) if k >= 40]
    drawn = set()
    for seed in range(50):
        rows = choose_rows(ROWS, "informative", 20, seed=seed, vectors=VECTORS, labeled=labeled)
        chosen = [number for number, r in zip(numbers(rows), rows, strict=True) if r.inclusion is None]
        assert min(chosen) >= 40
        assert len(rows) == len(set(numbers(rows))) == 20
        drawn |= set(numbers(rows)) - set(chosen)
    assert min(drawn) < 40, "the random fifth is drawn from all"
    assert numbers(choose_rows(ROWS, "audit", 15, labeled=labeled)) == numbers(choose_rows(ROWS, "audit", 15))


def test_informative_rows_are_uncertain_and_spread_out():
    rng = np.random.default_rng(1)
    centers = 10 * rng.normal(size=(8, 6))
    cluster = np.repeat(np.arange(8), [180, 3, 3, 3, 3, 3, 3, 2])
    vectors, q = centers[cluster] + rng.normal(0, 0.1, (200, 6)), np.where(np.arange(200) % 2, 0.5, 0.001)
    chosen = [set(cluster[spread_rows(gradient_vectors(vectors, q), 8, np.random.default_rng(k))]) for k in range(50)]
    at_random = [set(cluster[np.random.default_rng(k).choice(200, 8, replace=False)]) for k in range(50)]
    assert np.mean(list(map(len, chosen))) > 5
    assert np.mean(list(map(len, at_random))) < 3
    drawn = np.concatenate([spread_rows(gradient_vectors(vectors, q), 8, np.random.default_rng(k)) for k in range(50)])
    assert np.mean(q[drawn]) > 0.45


def test_rows_are_drawn_once_even_if_all_are_alike():
    rows = spread_rows(np.ones((5, 3)), 9, np.random.default_rng(0))
    assert sorted(rows.tolist()) == [0, 1, 2, 3, 4]
    assert sorted(spread_rows(np.zeros((5, 3)), 3, np.random.default_rng(0)).tolist())


def test_what_a_choice_needs_is_named():
    with pytest.raises(ArgumentError, match="needs a number of rows"):
        choose_rows(ROWS, "audit")
    with pytest.raises(ArgumentError, match="needs the vectors"):
        choose_rows(ROWS, "informative", 5)
    with pytest.raises(DataError, match="row-0 has no error probability"):
        choose_rows([row(0, "t", "positive", error_probability=None)], "audit", 5)


def test_every_draw_has_a_name():
    """Labels of one row of a draw replace each other, and weights of several add up."""
    names = [
        {r.draw.partition("@")[2] for r in choose_rows(rows, choice, 15, seed=seed)}
        for rows, choice, seed in ((ROWS, "all", 0), (ROWS, "all", 1), (ROWS[:50], "all", 0), (ROWS, "audit", 0))
    ]
    assert all(len(of_draw) == 1 for of_draw in names)
    assert len(set.union(*names)) == 4
    first, again = ([r.draw for r in choose_rows(ROWS, "all", 15)] for _ in range(2))
    assert first == again
    assert len(set(first)) == 15
    assert {r.draw for r in choose_rows(ROWS, "deferred")} == {None}
