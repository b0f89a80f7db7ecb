"""Tables of texts that a visitor of the page enters or uploads."""

import csv

import pytest

from aligned_entropy import DataError, UncertainClassifier
from aligned_entropy.batch.writing import write_rows
from aligned_entropy.serve.attribution import attributions
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import MAX_CELLS, read_file, read_lines
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.serving import shown_rows
from fixtures.token_models import sentences


@pytest.fixture
def server(served_classifier):
    return Server(served_classifier, None, Settings(characters=200, batch=4))


def read(server, path):
    return read_file(server, path.read_bytes(), path.name)


def values_of(upload):
    """Values of all rows by column name, added columns included."""
    return list(map(upload.added.joined, upload.rows, upload.predict(upload.rows)))


def test_lines_get_the_predictions_of_predict(server):
    texts = named(10, 7)["text"]
    rows = shown_rows(read_lines(server, "\n\n".join(texts) + "\n   \n"))
    expected = server.head.classifier.predict(texts)
    assert [row.text for row in rows] == texts
    assert [row.prediction for row in rows] == [row.label for row in rows] == expected.labels.tolist()
    assert [row.uncertainty for row in rows] == pytest.approx(expected.uncertainty.tolist(), abs=1e-5)
    assert [row.error_probability for row in rows] == pytest.approx(expected.error_probability.tolist(), abs=1e-5)


def test_a_line_ends_only_where_the_field_for_texts_breaks_it(server):
    upload = read_lines(server, "a great\u2028film\r\na dull\x85one\n\n")
    assert [row.columns for row in upload.rows] == [{"text": "a great\u2028film"}, {"text": "a dull\x85one"}]


def test_texts_that_were_truncated_are_marked(served_folder):
    server = Server(UncertainClassifier.from_pretrained(served_folder / "model", max_length=8), None, Settings())
    assert [row.truncated for row in shown_rows(read_lines(server, "good\n" + "good " * 50))] == [False, True]


def test_the_most_uncertain_texts_come_first(server):
    upload = read_lines(server, "\n".join(named(20, 7)["text"]) + "\n" + "x" * 300)
    predicted = upload.predict(upload.rows)
    texts = [row["text"] for row in sorted(values_of(upload)[:20], key=lambda row: -row["uncertainty"])]
    assert upload.most_uncertain(predicted, 5) == texts[:5]
    assert upload.most_uncertain(predicted, 50) == texts, "without the one that has no prediction"


def test_rows_without_a_prediction_keep_the_reason(server, tmp_path):
    (tmp_path / "a.csv").write_text(f'text,uncertainty\ngood film,mine\n"",mine\n{"x" * 300},mine\n')
    upload = read(server, tmp_path / "a.csv")
    assert upload.added.names[0] == "alien_predicted_label", "the file already has a column uncertainty"
    rows = shown_rows(upload)
    assert [row.cells[:2] for row in rows] == [["good film", "mine"], ["", "mine"], ["x" * 300, "mine"]]
    assert [bool(row.error) for row in rows] == [False, True, True]
    assert "empty" in rows[1].error
    assert [rows[1].uncertainty, rows[1].error_probability, rows[1].prediction] == [None, None, ""]
    assert rows[1].cells == ["", "mine", "", "", "", "", "", rows[1].error]


def test_a_text_on_which_the_model_fails_gets_a_reason_and_the_others_are_predicted(server, monkeypatch, caplog):
    predict = server.head.classifier.predict
    sizes = []

    def failing(texts):
        sizes.append(len(texts))
        if "secret" in "".join(texts):
            raise RuntimeError("cannot read secret")
        return predict(texts)

    monkeypatch.setattr(server.head.classifier, "predict", failing)
    rows = shown_rows(read_lines(server, "a film\na secret\na story"))
    assert [row.error for row in rows] == [None, "the model failed on this text", None]
    assert rows[2].uncertainty == pytest.approx(float(predict(["a story"]).uncertainty[0]), abs=1e-5)
    assert sizes == [3, 1, 1, 1]
    (record,) = [record for record in caplog.records if record.name == "aligned_entropy.serve"]
    assert record.facts == {"kind": "RuntimeError", "texts": 1}, "without the text"


@pytest.mark.parametrize("fitted", [True, False])
def test_uploaded_columns_are_not_confused_with_added_ones(served_folder, tmp_path, fitted):
    head = served_folder / "other" if fitted else None  # neither has a threshold
    server = Server(UncertainClassifier.from_pretrained(served_folder / "model", head=head), head, Settings())
    uploaded = {"text": "good film", "accepted": "by Anna", "error_probability": "high", "alien_accepted": "no"}
    (tmp_path / "a.csv").write_text(f"{','.join(uploaded)}\n{','.join(uploaded.values())}\n")
    upload = read(server, tmp_path / "a.csv")
    (row,) = shown_rows(upload)
    written = dict(zip(upload.file_columns, row.cells, strict=True))
    assert uploaded.items() <= written.items()
    assert written["alien_alien_accepted"] == "", "the page decides"
    assert (row.error_probability is not None) == fitted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "no single column with texts: the columns are 'a', 'b'; name one of them text"),
        ("a.txt", "", "there are no texts: enter at least one, or choose a file"),
        ("a.csv.gz", "text", "file a.csv.gz is compressed: choose the decompressed file"),
        ("a.pdf", "text", "convert the file to one of .csv"),
        ("a.parquet", "nonsense", "^a.parquet is not a Parquet file"),
        ("a.csv", 'text,text\n"a",b\n', "a.csv"),
        ("a.txt", "good\n" * 10_001, "more than 10000 rows"),
        ("../../b/a.pdf", "text", "a.pdf: the file ending"),
    ],
)
def test_files_that_are_refused(server, name, content, message):
    with pytest.raises(DataError, match=message) as refused:
        read_file(server, content.encode(), name)
    assert "/tmp" not in str(refused.value)


def test_rows_of_json_with_a_column_each_are_refused(server):
    count = int(MAX_CELLS**0.5) + 1
    content = "".join(f'{{"text": "a", "{number}": 1}}\n' for number in range(count))
    with pytest.raises(DataError, match=f"{count} rows with {count + 1} columns are too many values"):
        read_file(server, content.encode(), "a.jsonl")


HOSTILE = ["=1+1", "-5", "plain = text", "@SUM(A1)", 'quote " comma ,', "'apostrophe", "two\r\nlines", "سلام", ""]


def test_the_cells_are_those_of_a_file_that_a_spreadsheet_does_not_run(server, tmp_path):
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text", "=note"], *([text, text] for text in HOSTILE)])
    upload = read(server, tmp_path / "a.csv")
    rows, added = values_of(upload), upload.added
    decided = [row | {added.accepted: None} for row in rows]
    types = {name: added.types.get(name, bool) for name in upload.file_columns[2:]}
    write_rows(lambda: decided, dict.fromkeys(upload.columns), types, str(tmp_path / "b.csv"), "csv", safe=True)
    with open(tmp_path / "b.csv", newline="", encoding="utf-8") as stream:
        header, *expected = csv.reader(stream)
    assert header[1] == "'=note"
    assert [row.cells for row in shown_rows(upload)] == expected
    assert [cells[0] for cells in expected][:3] == ["'=1+1", "-5", "plain = text"]


def test_values_of_json_are_written_as_alien_predict_does(server):
    content = (
        b'{"text": "a film", "tags": ["x", 1], "size": 1.5, "none": null, "yes": true}\n{"text": "half \\ud800"}\n'
    )
    rows = shown_rows(read_file(server, content, "a.jsonl"))
    assert rows[0].cells[:5] == ["a film", '["x", 1]', "1.5", "", "True"]
    assert rows[1].error is not None


def test_entities_keep_their_uncertainty_and_words_their_weights(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    lines = [" ".join(words) for words in sentences(classifier, 5, 6)["tokens"]]
    upload = read_lines(Server(classifier, None, Settings()), "\n".join(lines))
    rows, expected = shown_rows(upload), classifier.predict(lines)
    assert [row.entities for row in rows] == [row.predicted for row in expected]
    assert sum(len(row.entities) for row in rows) > 3
    assert "accepted" not in upload.file_columns, "which is a field of the entities"
    pieces = attributions(upload.classifier, lines[0])
    assert "".join(piece for piece, _ in pieces) == lines[0]
    assert [weight for _, weight in pieces] == pytest.approx(expected[0].words.uncertainty.tolist())


def test_predicted_labels_are_joined(multilabel_model_folder):
    server = Server(UncertainClassifier.from_pretrained(multilabel_model_folder), None, Settings())
    upload = read_lines(server, "\n".join(multilabel_texts(4, 5)["text"]))
    expected = [", ".join(values["predicted_labels"]) or "none" for values in upload.predict(upload.rows)]
    assert [(row.prediction, row.label) for row in shown_rows(upload)] == [(labels, "") for labels in expected]
