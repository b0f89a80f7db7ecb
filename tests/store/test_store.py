"""Store over SQLite and PostgreSQL: predictions, queue, feedback, deletion, heads."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest

from aligned_entropy import ArgumentError
from aligned_entropy.features.texts import TextPair
from aligned_entropy.store import NewFeedback, QueueCounts, Store
from fixtures.waiting import waiting

NUMBERS = count()
TEXTS = ["a fine film", TextPair("a man sleeps", "nobody is awake"), ["New", "York"], "NUL \0, emoji 🐙, half \ud83d"]


@pytest.fixture
def store(store_url):
    opened = Store(store_url)
    yield opened
    opened.close()


def prediction(text="a fine film", **values):
    number = next(NUMBERS)
    plain = {"at": 1000.0 + number, "accepted": True, "queued": False, "inclusion": None}
    return waiting(number, text, **plain | values)


def label(text="a fine film", value="positive", **values):
    return NewFeedback(text=text, label=value, **values)


def test_predictions_are_looked_up_by_their_id(store, store_url):
    rows = [prediction(text) for text in TEXTS]
    rows += [prediction(None, predicted=[{"word": "York", "start": 4}], probabilities=None, accepted=None)]
    rows += [prediction(label_set=["positive", "mixed"], error_probability=None, queued=True, inclusion=0.05)]
    store.add_predictions(rows)
    store.add_predictions([])
    store.add_predictions([replace(rows[0], text="another")])  # an id is stored once
    other = Store(store_url)  # of another server
    for row in rows:
        assert store.prediction(row.id) == other.prediction(row.id) == row
    other.close()
    for unknown in ("none", "", "NUL \0", "half \ud83d", "'; DROP TABLE predictions"):
        assert store.prediction(unknown) is None
        assert store.delete_prediction(unknown) == 0


def test_feedback_is_read_by_its_prediction(store):
    numbers = [store.add_feedback(label(prediction=name)) for name in ("a", "b", "a", None)]
    assert [row.number for row in store.feedback_on("a")] == [numbers[0], numbers[2]]
    assert store.feedback_on("c") == store.feedback_on("half \ud83d") == []


def test_one_of_several_labels_at_once_is_stored(store):
    store.add_predictions([prediction(id="a", queued=True, inclusion=0.5)])
    program = store.add_feedback(label(prediction="a", source="api"))
    row = label(prediction="a", source="page", inclusion=0.5)
    with ThreadPoolExecutor(8) as threads:
        sent = [threads.submit(store.add_feedback, row, unless_from=["page", "import"]) for _ in range(8)]
    assert len({result.result() for result in sent}) == 1
    first = sent[0].result()
    assert [found.number for found in store.feedback_on("a")] == [program, first]
    assert store.add_feedback(label(prediction="b", source="page"), unless_from=["page"]) > first
    store.remove_feedback(first)
    assert store.add_feedback(row, unless_from=["page", "import"]) > first


def test_feedback_is_read_in_the_order_of_its_numbers(store):
    full = label(
        TEXTS[3],
        ["B-PER", "O"],
        prediction="x",
        predicted={"a": [1, None]},
        uncertainty=0.25,
        error_probability=0.5,
        accepted=False,
        head="h",
        wrong=True,
        inclusion=0.05,
        reviewer="Zoë",
        source="page",
    )
    rows = [label(TEXTS[1]), full, label(None)]
    before = time.time()
    numbers = [store.add_feedback(row) for row in rows]
    assert numbers == sorted(set(numbers))
    assert store.feedback_count() == 3
    stored = store.feedback()
    assert [row.number for row in stored] == numbers
    assert [NewFeedback(**{name: getattr(row, name) for name in vars(full)}) for row in stored] == rows
    assert all(before <= row.at <= time.time() for row in stored)
    assert store.feedback(after=numbers[0]) == stored[1:]
    assert store.feedback(after=numbers[-1]) == []


def test_numbers_of_removed_feedback_are_not_used_again(store):
    numbers = [store.add_feedback(label()) for _ in range(2)]
    store.remove_feedback(numbers[1])
    store.remove_feedback(999)
    assert store.feedback_count() == 1
    assert store.add_feedback(label()) > numbers[1]


def test_feedback_of_many_threads_becomes_visible_in_order(store, store_url):
    seen, ends = [], []

    def read():
        other = Store(store_url)
        while not ends or len(seen) < 80:
            seen.extend(row.number for row in other.feedback(after=seen[-1] if seen else 0))
        other.close()

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(read)
        list(threads.map(lambda number: store.add_feedback(label(f"text {number}")), range(80)))
        ends.append(True)
        reader.result(60)
    assert seen == sorted(row.number for row in store.feedback())


def test_the_queue_holds_what_was_drawn_and_nobody_has_labeled(store):
    deferred, drawn, other = (prediction(queued=True, inclusion=share) for share in (1.0, 0.05, 0.05))
    store.add_predictions([other, drawn, deferred, prediction(), prediction(inclusion=0.05)])
    assert store.queue_counts() == QueueCounts(waiting=3, labeled=0, skipped=0)
    assert [row.id for row in store.take_from_queue(2, reviewer="Ann")] == [deferred.id, drawn.id]
    assert store.take_from_queue(5, reviewer="Ben") == [other]
    assert store.take_from_queue(5, reviewer="Ann") == [deferred, drawn]
    assert store.take_from_queue(5) == []
    assert len(store.take_from_queue(5, reviewer="Ben", seconds=0)) == 3

    store.skip(deferred.id, "Ann")
    assert store.queue_counts() == QueueCounts(waiting=2, labeled=0, skipped=1)
    store.unskip(deferred.id)
    store.add_feedback(label(prediction=deferred.id))
    assert store.queue_counts().waiting == 3, "a label that somebody chose to send ends no review"
    number = store.add_feedback(label(prediction=deferred.id, inclusion=1.0))
    assert store.queue_counts() == QueueCounts(waiting=2, labeled=1, skipped=0)
    again = store.add_feedback(label(prediction=deferred.id, inclusion=1.0))
    store.remove_feedback(number)
    assert store.queue_counts().labeled == 1, "another label is there"
    store.remove_feedback(again)
    assert store.queue_counts() == QueueCounts(waiting=3, labeled=0, skipped=0)


def test_a_label_that_somebody_chose_leaves_a_random_draw_in_the_queue(store):
    drawn = prediction(queued=True, inclusion=0.05)
    store.add_predictions([drawn])
    store.add_feedback(label(prediction=drawn.id))
    assert store.queue_counts().waiting == 1
    store.add_feedback(label(prediction=drawn.id, inclusion=drawn.inclusion, source="page"))
    assert store.queue_counts() == QueueCounts(waiting=0, labeled=1, skipped=0)


def test_two_reviewers_at_once_are_shown_different_predictions(store, store_url):
    rows = [prediction(queued=True) for _ in range(40)]
    store.add_predictions(rows)
    other = Store(store_url)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda number: (store, other)[number % 2].take_from_queue(5), range(8)))
    other.close()
    ids = [row.id for rows in taken for row in rows]
    assert sorted(ids) == sorted(set(ids))
    remaining = store.take_from_queue(40)
    assert sorted(ids + [row.id for row in remaining]) == sorted(row.id for row in rows)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_deleted_from_predictions_and_feedback(store, text):
    rows = [prediction(text), prediction(text), prediction("another")]
    store.add_predictions(rows)
    store.add_feedback(label(text))
    store.add_feedback(label(["its", "words"], prediction=rows[0].id))
    store.add_feedback(label("another"))
    assert store.delete_text(text) == 4
    assert [store.prediction(row.id) for row in rows] == [None, None, rows[2]]
    assert [row.text for row in store.feedback()] == ["another"]
    assert store.delete_text(text) == 0


def test_a_prediction_is_deleted_with_its_feedback(store):
    rows = [prediction(), prediction()]
    store.add_predictions(rows)
    for row in rows:
        store.add_feedback(label(prediction=row.id))
    assert store.delete_prediction(rows[0].id) == 2
    assert [row.prediction for row in store.feedback()] == [rows[1].id]


def test_texts_are_hashed_or_left_out(store_url):
    hashed, omitted = Store(store_url, texts="hash"), Store(store_url, texts="omit")
    rows = [prediction("first"), prediction("second")]
    hashed.add_predictions(rows[:1])
    omitted.add_predictions(rows[1:])
    hashed.add_feedback(label("first"))
    omitted.add_feedback(label("second"))
    assert hashed.prediction(rows[0].id) == replace(rows[0], text=None)
    assert omitted.prediction(rows[1].id) == replace(rows[1], text=None)
    assert [row.text for row in hashed.feedback()] == [None, None]
    assert (hashed.delete_text("first"), hashed.delete_text("second")) == (2, 0)
    for opened in (hashed, omitted):
        opened.close()


def test_old_predictions_are_pruned_by_age_and_number(store):
    now = time.time()
    rows = [prediction(at=now - age) for age in (500, 400, 300, 200, 100)]
    store.add_predictions(rows)
    store.add_feedback(label(prediction=rows[0].id))
    assert store.prune(seconds=450) == 1
    assert store.prune(count=2) == 2
    assert store.prune(count=2, seconds=450) == 0
    assert [store.prediction(row.id) is not None for row in rows] == [False, False, False, True, True]
    assert store.feedback_count() == 1, "feedback stays"


def test_the_latest_head_counts(store, store_url):
    assert store.head() is None
    assert not store.has_had("first")
    changed = store.change_head("heads/new", "new", previous="first")
    other = Store(store_url)
    assert other.head() == changed == store.head()
    assert [other.has_had(version) for version in ("first", "new", "later")] == [True, True, False]
    later = other.change_head("", "untrained")
    other.close()
    assert store.head() == later
    assert later.number > changed.number


def test_names_that_no_database_can_store_are_refused(store):
    for call in (
        lambda: store.add_feedback(label(reviewer="a\0b")),
        lambda: store.add_feedback(label(prediction="\ud83d")),
        lambda: store.take_from_queue(1, reviewer="\0"),
        lambda: store.skip("x", "\0"),
        lambda: store.change_head("\0", "v"),
    ):
        with pytest.raises(ArgumentError, match="leave these characters out"):
            call()
    store.skip("\0")
    assert store.feedback_count() == 0
