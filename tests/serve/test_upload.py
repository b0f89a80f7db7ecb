"""Tables of texts that a visitor of the page enters or uploads."""

import csv

import numpy as np
import pytest

from aligned_entropy import DataError, UncertainClassifier
from aligned_entropy.report.html import load_template
from aligned_entropy.serve.attribution import attributions
from aligned_entropy.serve.server import Server, Settings
from aligned_entropy.serve.upload import read_file, read_lines
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.sentiment import named
from fixtures.serving import up_to
from fixtures.token_models import sentences


@pytest.fixture
def server(served_classifier):
    return Server(served_classifier, None, Settings(characters=200, batch=4))


# --- Tables.


def test_lines_get_the_predictions_of_predict(server):
    texts = named(10, 7)["text"]
    table = read_lines(server, "\n\n".join(texts) + "\n   \n")
    expected = server.head.classifier.predict(texts)
    assert [row["predicted_label"] for row in table.rows] == expected.labels.tolist()
    assert [row["uncertainty"] for row in table.rows] == pytest.approx(expected.uncertainty.tolist(), abs=1e-5)
    assert [row["accepted"] for row in table.rows] == expected.accepted.tolist()


def test_a_line_ends_only_where_the_field_for_texts_breaks_it(server):
    table = read_lines(server, "a great\u2028film\r\na dull\x85one\n\n")
    assert [row["text"] for row in table.rows] == ["a great\u2028film", "a dull\x85one"]


def test_texts_that_were_truncated_are_marked(served_folder):
    server = Server(UncertainClassifier.from_pretrained(served_folder / "model", max_length=8), None, Settings())
    table = read_lines(server, "good\n" + "good " * 50)
    assert [row["truncated"] for row in table.rows] == [False, True]
    shown = str(load_template("ui.html.j2").module.predictions(table.rows_to_show(9), table.summary(9), "Uncertainty"))
    assert shown.count("the model did not read all of it") == 1


def test_another_rule_changes_only_the_decisions(server, tmp_path):
    table = read_lines(server, "\n".join(named(20, 7)["text"]))
    uncertainty = [row["uncertainty"] for row in table.rows]
    median = float(np.median(uncertainty))
    decided = table.with_rule(up_to(median))
    assert [row["accepted"] for row in decided.rows] == [value <= median for value in uncertainty]
    assert [row["uncertainty"] for row in decided.rows] == uncertainty
    assert decided.added.names == (
        "predicted_label", "uncertainty", "error_probability", "truncated", "accepted", "row_error",
    )  # fmt: skip
    highest = sorted((row["error_probability"] for row in table.rows), reverse=True)[:5]
    assert [row.uncertainty for row in decided.rows_to_show(5)] == highest
    assert f"{sum(value <= median for value in uncertainty)} of 20 predictions are accepted" in decided.summary(5)
    assert table.most_uncertain(1) == [table.rows[int(np.argmax(uncertainty))]["text"]]


def test_rows_without_a_prediction_keep_the_reason(server, tmp_path):
    (tmp_path / "a.csv").write_text(f'text,uncertainty\ngood film,mine\n"",mine\n{"x" * 300},mine\n')
    table = read_file(server, str(tmp_path / "a.csv")).with_rule(up_to(1.0))
    assert table.added.names[0] == "alien_predicted_label", "the file already has a column uncertainty"
    assert [row["uncertainty"] for row in table.rows] == ["mine"] * 3
    assert [bool(row["alien_row_error"]) for row in table.rows] == [False, True, True]
    assert [row["alien_accepted"] for row in table.rows] == [True, False, False]
    assert "empty" in table.rows_to_show(100)[1].error
    assert table.summary(100).startswith("1 of 3 texts have a prediction; 1 of 1 ")
    table.write(tmp_path / "b.csv")
    with open(tmp_path / "b.csv", newline="") as stream:
        assert [row["alien_accepted"] for row in csv.DictReader(stream)] == ["True", "False", "False"]


@pytest.mark.parametrize("fitted", [True, False])
def test_uploaded_columns_are_not_confused_with_added_ones(served_folder, tmp_path, fitted):
    head = served_folder / "other" if fitted else None  # neither has a threshold
    server = Server(UncertainClassifier.from_pretrained(served_folder / "model", head=head), head, Settings())
    uploaded = {"text": "good film", "accepted": "by Anna", "error_probability": "high", "alien_accepted": "no"}
    (tmp_path / "a.csv").write_text(f"{','.join(uploaded)}\n{','.join(uploaded.values())}\n")
    table = read_file(server, str(tmp_path / "a.csv"))
    (row,) = table.rows_to_show(10)
    assert (row.accepted, table.summary(10)) == (None, "1 of 1 texts have a prediction.")
    table.with_rule(up_to(1.0)).write(tmp_path / "b.csv")
    with open(tmp_path / "b.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert uploaded.items() <= written.items()
    assert written["alien_alien_accepted"] == "True"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2\n", "no single column with texts: the columns are 'a', 'b'; name one of them text"),
        ("a.txt", "", "there are no texts"),
        ("a.csv.gz", "text", "a.csv.gz is compressed: upload the decompressed file"),
        ("a.pdf", "text", "convert the file to one of .csv"),
        ("a.parquet", "nonsense", "not a Parquet file"),
        ("a.txt", "good\n" * 10_001, "more than 10000 rows"),
    ],
)
def test_files_that_are_refused(server, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_file(server, str(tmp_path / name))


def test_a_spreadsheet_does_not_run_the_texts_of_the_download(server, tmp_path):
    texts = ["=1+1", "-5", "plain = text"]
    read_lines(server, "\n".join(texts)).write(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == ["'=1+1", "-5", "plain = text"]


def test_a_rule_selects_single_entities(token_model_folder):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    server = Server(classifier, None, Settings())
    lines = [" ".join(words) for words in sentences(classifier, 5, 6)["tokens"]]
    table = read_lines(server, "\n".join(lines))
    uncertainty = [entity["uncertainty"] for row in table.rows for entity in row["entities"]]
    median = float(np.median(uncertainty))
    decided = table.with_rule(up_to(median))
    accepted = [entity["accepted"] for row in decided.rows for entity in row["entities"]]
    assert accepted == [value <= median for value in uncertainty]
    assert f"{sum(accepted)} of {len(accepted)} entities are accepted" in decided.summary(100)
    templates = load_template("ui.html.j2").module
    shown = str(templates.predictions(decided.rows_to_show(100), decided.summary(100), "P(wrong)"))
    assert shown.count('<span class="yes">accepted</span>') == sum(accepted)
    assert shown.count('<span class="no">deferred</span>') == len(accepted) - sum(accepted)
    (row,) = classifier.predict([lines[0]])
    pieces = attributions(classifier, lines[0])
    assert "".join(piece for piece, _ in pieces) == lines[0]
    assert [weight for _, weight in pieces] == row.words.uncertainty.tolist()


def test_predicted_labels_are_joined(multilabel_model_folder):
    server = Server(UncertainClassifier.from_pretrained(multilabel_model_folder), None, Settings())
    table = read_lines(server, "\n".join(multilabel_texts(4, 5)["text"])).with_rule(up_to(1.0))
    expected = [", ".join(row["predicted_labels"]) or "none" for row in table.rows]
    assert [row.prediction for row in table.rows_to_show(100)] == expected
    assert "4 of 4 predictions are accepted" in table.summary(100)
