"""Review in Argilla: settings and records are read by its package, and its exports come back."""

import uuid
from unittest.mock import MagicMock

import pytest

from aligned_entropy import DataError
from aligned_entropy.review.argilla import Argilla
from aligned_entropy.review.importing import checked_labels
from aligned_entropy.review.rows import ReviewRow
from fixtures.review import LABELS, NAMES, ROWS, TEXT, TOKENS, question, read_json, row, write_json

USERS = [str(uuid.UUID(int=number)) for number in range(3)]
ANSWERS = {
    TEXT: ("negative", "negative"),
    LABELS: (["surprise", "joy"], ["joy", "surprise"]),
    TOKENS: ([{"label": "PER", "start": 7, "end": 12}], [(7, 12, "PER")]),
}


def written(folder, kind):
    path = folder / "records.json"
    Argilla().write(ROWS[kind], question(ROWS[kind][0].task), path)
    return path


def completed(path, values, status="completed"):
    """Give the first record of a file responses, as ``dataset.records.to_json`` writes them."""
    records = read_json(path)
    responses = [{"value": value, "user_id": user} for value, user in zip(values, USERS, strict=False)]
    records[0] |= {"responses": {"label": responses}, "status": status, "_server_id": USERS[0]}
    return write_json(path, records)


def flat(record, values, states, status="completed"):
    """Record as ``dataset.records.to_list(flatten=True)`` gives it."""
    names = {name: record[name] for name in ("id",)} | record["fields"] | record["metadata"]
    names |= {"status": status, "_server_id": USERS[0], "label.responses": values}
    return names | {"label.responses.users": USERS[: len(values)], "label.responses.status": states}


def read(path, kind):
    names = NAMES[ROWS[kind][0].task]
    return checked_labels(Argilla().read(path, names), names)


@pytest.fixture
def argilla(monkeypatch):
    """Package of Argilla with a client that reaches no server."""
    package = pytest.importorskip("argilla", reason="needs argilla")
    monkeypatch.setattr(package.Argilla, "_get_default", classmethod(lambda cls: MagicMock()))
    return package


@pytest.mark.parametrize("kind", ROWS)
def test_argilla_takes_settings_and_records(tmp_path, argilla, kind):
    path = written(tmp_path, kind)
    settings = argilla.Settings.from_json(path.with_suffix(".settings.json"))
    settings.validate()
    task = question(ROWS[kind][0].task)
    (label,) = settings.questions
    kinds = {TEXT: argilla.LabelQuestion, LABELS: argilla.MultiLabelQuestion, TOKENS: argilla.SpanQuestion}
    assert type(label) is kinds[task.task.name]
    assert list(label.labels) == list(task.options)
    assert [field.name for field in settings.fields] == ["text", "text_pair"][: len(ROWS[kind][0].parts)]
    assert settings.allow_extra_metadata
    for content, before in zip(read_json(path), ROWS[kind], strict=True):
        record = argilla.Record.from_dict(content)
        assert tuple(record.fields.values()) == before.parts
        assert record.api_model().metadata
        if before.predicted:
            suggestion = record.suggestions["label"]
            expected = [{"label": "PER", "start": 0, "end": 12}] if before.task == TOKENS else before.predicted
            assert suggestion.value == expected
            assert suggestion.api_model().agent == (before.head or "alien")


@pytest.mark.parametrize("kind", ANSWERS)
def test_records_that_argilla_writes_are_read(tmp_path, argilla, kind):
    value, label = ANSWERS[kind]
    records = [argilla.Record.from_dict(content) for content in read_json(written(tmp_path, kind))]
    records[0].responses.add(argilla.Response("label", value, uuid.UUID(int=5), status="submitted"))
    for record in records:
        record._model.status = "pending"
    records[0]._model.status = "completed"
    io = __import__("argilla.records._io", fromlist=["JsonIO"])
    io.JsonIO.to_json(records, tmp_path / "nested.json")
    write_json(tmp_path / "flat.json", io.GenericIO.to_list(records, flatten=True))
    for name in ("nested.json", "flat.json"):
        reviewed = read(tmp_path / name, kind)
        assert [labeled.label for labeled in reviewed.labeled] == [label]
        assert reviewed.labeled[0].reviewers == (str(uuid.UUID(int=5)),)
        assert reviewed.unlabeled == len(ROWS[kind]) - 1


@pytest.mark.parametrize("kind", ANSWERS)
def test_exported_records_are_read(tmp_path, kind):
    value, label = ANSWERS[kind]
    reviewed = read(completed(written(tmp_path, kind), [value]), kind)
    assert [(labeled.row.text, labeled.label) for labeled in reviewed.labeled] == [(ROWS[kind][0].text, label)]
    assert reviewed.labeled[0].wrong
    assert reviewed.unlabeled == len(ROWS[kind]) - 1
    assert not read(completed(written(tmp_path, kind), [value], status="pending"), kind).labeled, "may be a draft"
    record = read_json(written(tmp_path, kind))[0]
    reviewed = read(write_json(tmp_path / "flat.json", [flat(record, [value], ["submitted"])]), kind)
    assert [(labeled.label, labeled.reviewers) for labeled in reviewed.labeled] == [(label, (USERS[0],))]


def test_drafts_and_discarded_responses_do_not_count(tmp_path):
    record = read_json(written(tmp_path, TEXT))[0]
    states = ["draft", "submitted", "discarded"]
    path = write_json(tmp_path / "flat.json", [flat(record, ["negative", "positive", "negative"], states)])
    assert [labeled.label for labeled in read(path, TEXT).labeled] == ["positive"]
    path = completed(written(tmp_path, TEXT), ["negative", "positive", "negative"])
    with pytest.raises(DataError, match=r"does not tell which are drafts: .*to_list\(flatten=True\)"):
        read(path, TEXT)


def test_a_submitted_record_without_a_choice_has_no_labels(tmp_path):
    for kind, labels in ((LABELS, [[]]), (TEXT, [])):
        path = completed(written(tmp_path, kind), [])
        assert [labeled.label for labeled in read(path, kind).labeled] == labels
        record = read_json(written(tmp_path, kind))[0]
        path = write_json(tmp_path / "flat.json", [flat(record, [], [])])
        assert [labeled.label for labeled in read(path, kind).labeled] == labels


def test_characters_that_argilla_counts_twice_are_refused(tmp_path):
    rows = [row(0, "🚀 Barack Obama", [], TOKENS)]
    with pytest.raises(DataError, match=r"1 of 1 texts hold emoji .* use --format label-studio"):
        Argilla().write(rows, question(TOKENS), tmp_path / "records.json")
    Argilla().write([row(0, "🚀 to the moon", "positive")], question(TEXT), tmp_path / "records.json")


def test_records_that_were_changed_are_refused(tmp_path):
    path = completed(written(tmp_path, TEXT), ["positive"])
    records = read_json(path)
    records[0]["fields"]["text"] = "another film"
    with pytest.raises(DataError, match="is not the one that was exported"):
        read(write_json(path, records), TEXT)
    records[0].pop("metadata")
    with pytest.raises(DataError, match="has no metadata"):
        read(write_json(path, records), TEXT)


@pytest.mark.parametrize("kind", ROWS)
def test_rows_come_back_as_they_were(tmp_path, kind):
    read_back = Argilla().read(written(tmp_path, kind), NAMES[ROWS[kind][0].task])
    for before, reviewed in zip(ROWS[kind], read_back, strict=True):
        after = ReviewRow.from_facts(reviewed.facts, reviewed.parts)
        assert (after.text, after.predicted, after.accepted) == (before.text, before.predicted, before.accepted)
