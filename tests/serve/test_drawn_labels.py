"""Accuracy and risk by the labels of drawn predictions, as the metrics show them."""

import time

import numpy as np
import pytest

from aligned_entropy.accuracy.risk_bound import observed_accuracy, risk_lower_bound, risk_upper_bound
from aligned_entropy.serve.drawn_labels import DrawnLabels
from aligned_entropy.store import NewFeedback, Store, StoredPrediction
from fixtures.serving import ADMIN


def add(store, *, wrong, inclusion=0.5, accepted=True, head="first", prediction=None):
    label = {"label": "x", "text": None, "predicted": "x"}
    row = NewFeedback(**label, wrong=wrong, inclusion=inclusion, accepted=accepted, head=head, prediction=prediction)
    return store.add_feedback(row)


def values(client):
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_labels_of_drawn_predictions_of_the_head_count(store_url):
    store = Store(store_url)
    try:
        drawn = DrawnLabels(store)
        empty = drawn.read("first")
        assert (empty.labels, empty.accepted, empty.risk_high, empty.risk_low) == (0, 0, 1.0, 0.0)
        assert np.isnan(empty.accuracy.value)
        for number in range(40):
            add(store, wrong=number % 8 == 0, inclusion=0.1)
        for number in range(10):
            add(store, wrong=number % 2 == 0, inclusion=1.0, accepted=False)
        add(store, wrong=True, inclusion=None)  # somebody chose it
        add(store, wrong=None)  # no prediction
        add(store, wrong=True, head="other")
        add(store, wrong=False, accepted=None)
        summary = drawn.read("first")
        errors = [number % 8 == 0 for number in range(40)]
        assert (summary.labels, summary.accepted) == (51, 40)
        assert summary.risk_high == risk_upper_bound(errors, [0.1] * 40)
        assert summary.risk_low == risk_lower_bound(errors, [0.1] * 40)
        everything = errors + [number % 2 == 0 for number in range(10)] + [0]
        assert summary.accuracy == observed_accuracy(everything, [0.1] * 40 + [1.0] * 10 + [0.5])
        assert drawn.read("other").labels == 1
        assert drawn.read("first") == summary == drawn.latest
    finally:
        store.close()


def test_only_new_labels_are_read_until_some_are_deleted(store_url, monkeypatch):
    store, starts = Store(store_url), []
    try:
        read = store.feedback
        monkeypatch.setattr(store, "feedback", lambda after=0: starts.append(after) or read(after))
        drawn, first = DrawnLabels(store), add(store, wrong=True, prediction="a")
        add(store, wrong=True, prediction="b")
        assert (drawn.read("first").labels, drawn.read("first").accuracy.value) == (2, 0)
        add(store, wrong=False, prediction="b")
        assert (drawn.read("first").labels, drawn.latest.accuracy.value) == (2, 0.5), "the latest label counts"
        assert starts == [0, first + 1, first + 1]
        store.remove_feedback(first)
        assert (drawn.read("first").labels, drawn.latest.accuracy.value) == (1, 1)
        add(store, wrong=True, prediction="c")
        assert (drawn.read("first").labels, starts[-2:]) == (2, [0, first + 2])
    finally:
        store.close()


def test_metrics_show_what_the_labels_say(client, served_folder):
    server = client.app.state.server
    before, version = values(client), server.head.version
    assert (before["alien_observed_labels"], before["alien_risk_upper_bound"]) == (0, 1)
    for number in range(200):
        add(server.store, wrong=number == 0, head=version)
    store_prediction = StoredPrediction(
        id="a", at=time.time(), text="fine", predicted="x", probabilities=None, label_set=None, uncertainty=0.1,
        error_probability=0.1, accepted=False, head=version, queued=True, inclusion=1.0,
    )  # fmt: skip
    server.store.add_predictions([store_prediction])
    after = values(client)
    assert after["alien_observed_labels"] == after["alien_risk_labels"] == 200
    assert after["alien_observed_accuracy"] == pytest.approx(0.995)
    assert 0.97 < after["alien_observed_accuracy_low"] < 0.995 < after["alien_observed_accuracy_high"] < 1
    assert 0 <= after["alien_risk_lower_bound"] < 0.005 < after["alien_risk_upper_bound"] < 0.05
    assert after['alien_review_predictions{state="waiting"}'] == 1
    client.post("/v1/head", json={"folder": str(served_folder / "other")}, headers=ADMIN)
    exchanged = values(client)
    assert (exchanged["alien_observed_labels"], exchanged["alien_risk_upper_bound"]) == (0, 1)


def test_without_a_usable_store_the_last_values_stay(client, monkeypatch):
    from aligned_entropy.errors import StoreError

    server = client.app.state.server
    add(server.store, wrong=False, head=server.head.version)
    assert values(client)["alien_observed_labels"] == 1

    def fail():
        raise StoreError("the store cannot be used now: gone.")

    monkeypatch.setattr(server.store, "feedback_count", fail)
    add(server.store, wrong=False, head=server.head.version)
    after = values(client)
    assert (after["alien_observed_labels"], after["alien_store_down"]) == (1, 1)
