"""Feedback as columns of labeled texts."""

import numpy as np
import pytest

from aligned_entropy import DataError
from aligned_entropy.features.texts import TextPair
from aligned_entropy.store import NewFeedback, Store, is_feedback, read_feedback


def write(store_url, *rows, **options):
    store = Store(store_url, **options)
    for text, label, *inclusion in rows:
        store.add_feedback(NewFeedback(text=text, label=label, inclusion=(inclusion or [None])[0]))
    store.close()


def test_the_latest_label_of_a_text_counts(store_url):
    write(store_url, ("a", "positive"), ("b", "positive"), ("a", "negative"))
    assert is_feedback(store_url)
    assert read_feedback(store_url) == {"text": ["a", "b"], "label": ["negative", "positive"]}


def test_pairs_and_lists(store_url):
    write(store_url, (TextPair("a", "b"), ["x", "y"]))
    assert read_feedback(store_url) == {"text": ["a"], "text_pair": ["b"], "label": [["x", "y"]]}
    write(store_url, ("a", ["x"]))
    with pytest.raises(DataError, match="holds labels of single texts and of pairs: collect them in one file for each"):
        read_feedback(store_url)


def test_inclusion_is_a_column_if_some_texts_were_drawn(store_url):
    write(store_url, ("a", "positive", 0.05), ("b", "positive", 1.0), ("c", "negative"))
    columns = {"text": ["a", "b", "c"], "label": ["positive", "positive", "negative"]}
    assert read_feedback(store_url) == columns | {"inclusion": [0.05, 1.0, None]}


def test_a_drawn_text_keeps_its_inclusion_if_it_is_chosen_later(store_url):
    write(store_url, ("a", "positive", 0.05), ("b", "positive"), ("a", "negative"), ("b", "positive", 0.2))
    columns = {"text": ["a", "b"], "label": ["negative", "positive"]}
    assert read_feedback(store_url) == columns | {"inclusion": [0.05, 0.2]}


def test_the_weights_of_a_text_in_several_draws_add_up(store_url):
    store = Store(store_url)
    for label, inclusion, facts in (
        ("positive", 0.5, {"draw": "first"}),
        ("negative", 0.5, {"draw": "first"}),  # corrected
        ("negative", 1.0, {"draw": "second"}),
        ("negative", 0.25, {"prediction": "id-1"}),  # of a server
        ("positive", 0.25, {"prediction": "id-1"}),
        ("positive", 0.25, {"prediction": "id-2"}),
        ("positive", None, {}),
    ):
        store.add_feedback(NewFeedback(text="a", label=label, inclusion=inclusion, **facts))
    store.close()
    write(store_url, ("b", "positive", 0.1), ("b", "positive", 0.2), ("b", "positive", 0.2))  # of an older store
    columns = read_feedback(store_url)
    assert columns["label"] == ["positive", "positive"]
    assert columns["inclusion"] == pytest.approx([1 / (2 + 1 + 4 + 4), 1 / (10 + 5)])


def test_two_draws_estimate_the_share_of_errors_without_bias(tmp_path):
    """An audit that draws wrong predictions more often, and a server that draws few of the right ones."""
    rng = np.random.default_rng(0)
    wrong = np.arange(2000) < 300
    draws = {"audit": np.where(wrong, 0.6, 0.2), "server": np.where(wrong, 0.8, 0.05)}
    store = Store(tmp_path / "store")
    for draw, inclusion in draws.items():
        for row in np.flatnonzero(rng.random(2000) < inclusion):
            facts = {"draw": draw, "inclusion": float(inclusion[row])}
            store.add_feedback(NewFeedback(text=f"text {row}", label=str(wrong[row]), **facts))
    store.close()
    columns = read_feedback(tmp_path / "store")
    weight = 1 / np.array(columns["inclusion"])
    is_wrong = np.array(columns["label"]) == "True"
    variance = sum(((1 - share) / share)[wrong].sum() for share in draws.values())  # of twice the number of errors
    assert abs(weight[is_wrong].sum() - 600) < 3 * np.sqrt(variance)
    assert weight[is_wrong].sum() / weight.sum() == pytest.approx(0.15, abs=0.02)


def test_feedback_without_texts_is_refused(store_url):
    write(store_url)
    with pytest.raises(DataError, match="holds no feedback yet: import labels with alien review import"):
        read_feedback(store_url)
    write(store_url, ("a", "positive"), texts="omit")
    with pytest.raises(DataError, match="holds no texts of its feedback: start the server with --store-texts keep"):
        read_feedback(store_url)
    write(store_url, ("b", "positive"))
    assert read_feedback(store_url)["text"] == ["b"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "data.csv").write_text("text,label\na,b\n")
    assert not is_feedback(tmp_path / "data.csv")
    assert not is_feedback(tmp_path / "none.sqlite")
    assert not is_feedback("hf://data/set")
    with pytest.raises(DataError, match=r"there is no feedback file .*none\.sqlite: alien serve writes one"):
        read_feedback(tmp_path / "none.sqlite")
    with pytest.raises(DataError, match=r"data\.csv is not a feedback file: file is not a database; name the file"):
        read_feedback(tmp_path / "data.csv")
    (tmp_path / "empty.sqlite").write_bytes(b"")
    with pytest.raises(DataError, match=r"empty\.sqlite is not a feedback file"):
        read_feedback(tmp_path / "empty.sqlite")
