"""Events of the predictions of visitors: their order, turns with other requests, and how they end."""

import asyncio
import json
import time

import pytest
from starlette.exceptions import HTTPException

from aligned_entropy import UncertainClassifier
from aligned_entropy.serve.pages import predictions
from aligned_entropy.serve.pages.predictions import Visitors, estimate_event
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_lines
from fixtures.sentiment import named

TEXTS = named(10, 7)["text"]


@pytest.fixture
def server(served_classifier, served_folder):
    return Server(served_classifier, served_folder / "head", Settings(batch=4))


def run(server, visit):
    """Result of a coroutine function while the server works."""

    async def main():
        server.batcher.start()
        try:
            return await visit()
        finally:
            await server.batcher.close()

    return asyncio.run(main())


async def events_of(stream):
    return [json.loads(line[6:]) async for line in stream if line.startswith("data: ")]


def test_events_tell_the_columns_the_rows_and_the_words(server):
    upload = read_lines(server, "\n".join(TEXTS))
    events = run(server, lambda: events_of(Visitors(server).stream(upload)))
    kinds = [event["kind"] for event in events]
    assert kinds == ["start", "rows", "rows", "rows", "estimate", "words", "words", "words", "end"], "batches of four"
    start, *_ = events
    rule = server.head.classifier.saved.rule
    assert (start["total"], start["head"], start["limits"]) == (
        10,
        server.head.version,
        {"": rule.thresholds[""].value},
    )
    rows = [row for event in events for row in event.get("rows", [])]
    expected = server.head.classifier.predict(TEXTS)
    assert [row["text"] for row in rows] == TEXTS
    assert [row["uncertainty"] for row in rows] == pytest.approx(expected.uncertainty.tolist(), abs=1e-5)
    assert all(len(row["cells"]) == len(start["columns"]) for row in rows)
    assert start["columns"][start["accepted_column"]] == "accepted"
    words = ["".join(piece["text"] for piece in event["pieces"]) for event in events if event["kind"] == "words"]
    assert words == [TEXTS[number] for number in expected.uncertainty.argsort()[::-1][:3]]
    assert all(0 <= piece["shade"] <= 100 for event in events[5:8] for piece in event["pieces"])


def test_batches_of_a_visitor_take_turns_with_requests(server, monkeypatch):
    order, predict = [], server.head.classifier.predict

    def slow(texts):
        order.append(len(texts))
        time.sleep(0.05)
        return predict(texts)

    monkeypatch.setattr(server.head.classifier, "predict", slow)

    async def visit():
        page = asyncio.create_task(events_of(Visitors(server).stream(read_lines(server, "\n".join(TEXTS * 4)))))
        while len(order) < 2:
            await asyncio.sleep(0.001)
        await server.predict(["fine"])
        served = len(order)
        await page
        return served

    assert run(server, visit) < 10, "the request did not wait for the ten batches of the page"
    assert order.count(1) == 1


def test_further_visitors_wait_and_too_many_are_refused(server, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_CONCURRENT_VISITORS", 1)
    monkeypatch.setattr(predictions, "MAX_WAITING_VISITORS", 1)
    visitors = Visitors(server)

    async def visit():
        streams = [visitors.stream(read_lines(server, "\n".join(TEXTS))) for _ in range(2)]
        visitors.check_room()
        first = [await anext(stream) for stream in streams]
        with pytest.raises(HTTPException, match="1 other visitors wait") as refused:
            visitors.check_room()
        assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "60"})
        rest = await asyncio.gather(*map(events_of, streams))
        visitors.check_room()
        return first, rest

    first, rest = run(server, visit)
    assert [json.loads(line[6:])["kind"] for line in first] == ["start", "waiting"]
    assert [events[-1]["kind"] for events in rest] == ["end", "end"]


def test_the_work_ends_when_the_visitor_leaves(server, monkeypatch):
    batches, predict = [], server.head.classifier.predict
    monkeypatch.setattr(server.head.classifier, "predict", lambda texts: batches.append(texts) or predict(texts))
    visitors = Visitors(server)

    async def visit():
        stream = visitors.stream(read_lines(server, "\n".join(TEXTS * 100)))
        await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0.2)
        return len(batches)

    assert run(server, visit) == len(batches) < 250
    assert visitors._present == 0


def test_a_connection_without_events_gets_a_pulse(server, monkeypatch):
    monkeypatch.setattr(predictions, "PULSE_SECONDS", 0.02)
    predict = server.head.classifier.predict
    monkeypatch.setattr(server.head.classifier, "predict", lambda texts: time.sleep(0.2) or predict(texts))

    async def visit():
        return [line async for line in Visitors(server).stream(read_lines(server, "fine\ngood"))]

    lines = run(server, visit)
    assert lines.count(predictions.PULSE) > 1
    assert json.loads(lines[-1][6:]) == {"kind": "end"}


def test_the_end_of_the_server_ends_the_work_with_a_reason(server):
    visitors = Visitors(server)

    async def visit():
        stream = visitors.stream(read_lines(server, "\n".join(TEXTS * 100)))
        await anext(stream)
        for function in server.on_shutdown:
            function()
        return await events_of(stream)

    events = run(server, visit)
    assert events[-1] == {"kind": "error", "reason": "the server is shutting down: try again in a moment."}
    assert len(events) < 100


def test_a_head_that_is_exchanged_meanwhile_does_not_mix_with_the_first_one(server, served_folder):
    visitors, version = Visitors(server), server.head.version

    async def visit():
        stream = visitors.stream(read_lines(server, "\n".join(TEXTS * 2)))
        first = json.loads((await anext(stream))[6:])
        await server.exchange_head(lambda: server.head.replace(served_folder / "other"))
        return [first, *await events_of(stream)]

    events = run(server, visit)
    assert server.head.version != version == events[0]["head"]
    rows = [row for event in events for row in event.get("rows", [])]
    server.head.roll_back()
    expected = server.head.classifier.predict(TEXTS * 2).uncertainty
    assert [row["uncertainty"] for row in rows] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("error", [RuntimeError("secret"), ValueError("secret")])
def test_an_error_of_the_server_is_told_without_a_text(server, monkeypatch, caplog, error):
    upload = read_lines(server, "secret")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(predictions, "start_event", fail)
    (event,) = run(server, lambda: events_of(Visitors(server).stream(upload)))
    assert (event["kind"], "secret" in event["reason"]) == ("error", False)
    assert "secret" not in str([record.__dict__ for record in caplog.records if "serve" in record.name])


def test_a_text_whose_words_cannot_be_compared_has_no_words(server, monkeypatch):
    def fail(*arguments):
        raise RuntimeError

    monkeypatch.setattr(predictions, "attributions", fail)
    events = run(server, lambda: events_of(Visitors(server).stream(read_lines(server, "a film\nthe story"))))
    assert [event["kind"] for event in events] == ["start", "rows", "estimate", "end"]


def test_the_estimated_accuracy_is_that_of_the_predictions(server):
    upload = read_lines(server, "\n".join([*TEXTS, "x" * 200_000]))
    event = estimate_event(upload, upload.predict(upload.rows))
    expected = server.head.classifier.predict(TEXTS).estimated_accuracy.overall
    (estimate,) = event["estimates"]
    assert (estimate["subject"], estimate["count"]) == ("predictions", 10)
    numbers = [estimate[name] for name in ("value", "low", "high")]
    assert numbers == pytest.approx([expected.value, expected.low, expected.high], abs=1e-6)
    assert any("number of predictions, 10, is below 50" in reason for reason in event["reasons"]), "ten are too few"


def test_an_untrained_head_and_failed_texts_have_no_estimate(server, served_folder):
    upload = read_lines(server, "x" * 200_000)
    assert estimate_event(upload, upload.predict(upload.rows)) is None
    untrained = UncertainClassifier.from_pretrained(served_folder / "model")
    upload = read_lines(Server(untrained, None, Settings()), "a film")
    assert estimate_event(upload, upload.predict(upload.rows)) is None
