"""``alien audit``: rows are drawn, labeled in a spreadsheet, and give the accuracy; other rows are refused."""

import csv
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy.store import read_feedback
from fixtures.command_line import in_process
from fixtures.review import saved_by_a_spreadsheet

ROWS = 800
NAMES = ("law", "sports", "trade")


def predictions():
    """Columns of an output of ``alien predict`` with true labels; a row in the middle has no prediction."""
    rng = np.random.default_rng(0)
    probability = 1 / (1 + np.exp(3 - 2 * rng.standard_normal(ROWS)))
    predicted, others = rng.choice(NAMES, ROWS, p=[0.1, 0.6, 0.3]), rng.choice(NAMES, ROWS)
    true = np.where(rng.random(ROWS) < probability, others, predicted)
    columns = {
        "text": [f"text {number} of many" for number in range(ROWS)],
        "predicted_label": predicted.tolist(),
        "uncertainty": probability.tolist(),
        "error_probability": probability.tolist(),
        "accepted": (probability < 0.2).tolist(),
        "row_error": [None] * ROWS,
    }
    columns["text"][3] = "=1+1 is a formula"
    columns |= {name: [*values[:400], None, *values[400:]] for name, values in columns.items()}
    columns["text"][400], columns["row_error"][400] = " ", "the text is empty"
    return columns, [*true[:400].tolist(), None, *true[400:].tolist()]


COLUMNS, TRUE = predictions()


def write(path, columns):
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("audit") / "predictions.csv", COLUMNS)


def number_of(row):
    """Number of a drawn row in the file of predictions."""
    return int(re.match(r"row-(\d+)@", row["id"])[1])


def rows_of(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def select(source, path, *options):
    done = in_process("audit", "select", source, "-o", path, "--force", *options)
    assert done.exit_code == 0, done.output
    return done


def labeled(source, path, *options, changes=None):
    """Sample with the true labels, saved by a spreadsheet."""
    select(source, path, *options)
    labels = {(k, "label"): TRUE[number_of(row)] for k, row in enumerate(rows_of(path))}
    saved_by_a_spreadsheet(path, labels | (changes or {}))
    return path


def report(*arguments):
    done = in_process("audit", "report", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refusal(*arguments):
    from aligned_entropy.errors import AlignedEntropyError

    done = in_process("audit", *arguments)
    assert done.exit_code, done.output
    return str(done.exception) if isinstance(done.exception, AlignedEntropyError) else " ".join(done.output.split())


def test_a_sample_is_labeled_and_gives_the_accuracy(source, tmp_path):
    done = select(source, tmp_path / "to-label.csv", "--budget", 150)
    assert "150 of 800 predictions drawn" in done.stdout
    assert "rows without a prediction, which are left out: 1" in done.stderr
    assert f"next: alien audit report {source} {tmp_path / 'to-label.csv'}" in done.stderr
    sample = labeled(source, tmp_path / "to-label.csv", "--budget", 150)
    facts = report(source, sample)
    truth = np.mean([a == b for a, b in zip(TRUE, COLUMNS["predicted_label"], strict=True) if a is not None])
    assert facts["accuracy"]["low"] < truth < facts["accuracy"]["high"]
    assert (facts["rows"], facts["labeled"], facts["unreadable"]) == (800, 150, 1)
    assert facts["accepted"] == sum(accepted is True for accepted in COLUMNS["accepted"])
    assert set(facts["classes"]) == set(NAMES)
    assert facts["classes"]["sports"]["recall"]["value"] > 0.5
    done = in_process("audit", "report", source, sample)
    shown = f"accuracy on these 800 texts: {100 * facts['accuracy']['value']:.1f}%"
    assert shown in done.stdout
    assert (
        f"in {facts['errors']} of them the prediction is wrong\n(uncertain texts were drawn more often" in done.stdout
    )
    assert f"risk of the {facts['accepted']} accepted predictions" in done.stdout
    assert f"would have needed {facts['random_labels']} labels" in done.stdout
    assert f"next: alien review import {sample} --store feedback.sqlite" in done.stderr


def test_labels_of_all_rows_have_no_note_on_the_draw(source, tmp_path):
    done = in_process("audit", "report", source, labeled(source, tmp_path / "all.csv", "--budget", ROWS))
    assert re.search(r"in \d+ of them the prediction is wrong\naccuracy on further texts", done.stdout)


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_every_format_of_predictions_gives_the_same_sample(source, tmp_path, ending):
    other = write(tmp_path / f"predictions.{ending}", COLUMNS)
    select(source, tmp_path / "a.csv", "--budget", 60)
    select(other, tmp_path / "b.csv", "--budget", 60)
    assert rows_of(tmp_path / "a.csv") == rows_of(tmp_path / "b.csv")


def test_settings_of_a_sample_are_in_its_rows(source, tmp_path):
    options = ("--per-class", "--random-share", 0.25, "--seed", 7, "--budget", 60)
    sample = labeled(source, tmp_path / "s.csv", *options)
    assert {row["id"].partition("@")[2].partition("#")[0].partition(":")[2] for row in saved_rows(sample)} == {
        "60:7:0.25:1"
    }
    assert report(source, sample)["labeled"] == 60


def saved_rows(path):
    """Rows of a file that a spreadsheet has saved with semicolons."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def test_yes_and_no_in_place_of_labels(source, tmp_path):
    with_labels = report(source, labeled(source, tmp_path / "a.csv", "--budget", 60))
    select(source, tmp_path / "b.csv", "--budget", 60)
    cells = {
        (k, "is_correct"): ["no", "Yes"][TRUE[number_of(row)] == row["prediction"]]
        for k, row in enumerate(rows_of(tmp_path / "b.csv"))
    }
    saved_by_a_spreadsheet(tmp_path / "b.csv", cells)
    without = report(source, tmp_path / "b.csv")
    assert without["accuracy"] == with_labels["accuracy"]
    assert all(figures["recall"] is None for figures in without["classes"].values())
    shown = in_process("audit", "report", source, tmp_path / "b.csv")
    assert "recall" not in shown.stdout
    assert "review import" not in shown.stderr, "there are no labels to import"


def test_labels_that_are_the_predictions_or_sorted_alone_are_warned_of(source, tmp_path):
    select(source, tmp_path / "a.csv", "--budget", 200)
    rows = rows_of(tmp_path / "a.csv")
    expected = round(sum(float(row["error_probability"]) for row in rows))
    ways = {
        "all 200 labels are the predicted ones": [row["prediction"] for row in rows],
        "do not agree clearly more often than by chance": sorted(TRUE[number_of(row)] for row in rows),
    }
    for message, labels in ways.items():
        select(source, tmp_path / "a.csv", "--budget", 200)
        saved_by_a_spreadsheet(tmp_path / "a.csv", {(k, "label"): label for k, label in enumerate(labels)})
        stores = ("--store", tmp_path / "feedback.sqlite", "--label-names", ",".join(NAMES))
        for command in (
            ("audit", "report", source, tmp_path / "a.csv"),
            ("review", "import", tmp_path / "a.csv", *stores),
        ):
            with pytest.warns(UserWarning, match=f"{message}.*" if "all" in message else message) as caught:
                assert in_process(*command).exit_code == 0
            assert f"the head expects {expected}" in str(caught[0].message)


def test_labels_spelled_otherwise(source, tmp_path):
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50)
    before = report(source, sample)
    rows = saved_rows(sample)
    saved = {(k, "label"): f" {row['label'].upper()}" for k, row in enumerate(rows)}
    select(source, sample, "--budget", 50)
    saved_by_a_spreadsheet(sample, saved)
    assert report(source, sample) == before


def test_the_labels_serve_a_refit_too(source, tmp_path):
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50)
    store = tmp_path / "feedback.sqlite"
    done = in_process("review", "import", sample, "--store", store, "--label-names", ",".join(NAMES))
    assert done.exit_code == 0, done.output
    feedback = read_feedback(store)
    assert len(feedback["text"]) == 50
    assert min(feedback["inclusion"]) > 0.02


REFUSED = {
    "unlabeled": ({(4, "label"): ""}, "rows without a label: 1 of 50, as line 6. Label all"),
    "unknown label": ({(4, "label"): "sprots"}, "line 6: the label 'sprots' is none of law, sports, trade"),
    "changed text": ({(4, "text"): "another text"}, "line 6: the text, or a value beside it, is not the one"),
    "changed prediction": ({(4, "prediction"): "art"}, "line 6: the text, or a value beside it, is not the one"),
    "neither yes nor no": ({(4, "is_correct"): "maybe"}, "line 6: is_correct is 'maybe': write yes or no"),
    "other id": ({(4, "id"): "row-7"}, "line 6 was not drawn from these predictions, but is 'row-7'"),
    "no id": ({(0, "id"): ""}, "line 2 was not drawn by alien audit select"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_are_refused(source, tmp_path, name):
    changes, message = REFUSED[name]
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50, changes=changes)
    assert message in refusal("report", source, sample)


def test_a_label_and_a_yes_that_differ(source, tmp_path):
    select(source, tmp_path / "s.csv", "--budget", 50)
    first = rows_of(tmp_path / "s.csv")[0]["prediction"]
    other = next(name for name in NAMES if name != first)
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50, changes={(0, "label"): other, (0, "is_correct"): "1"})
    assert f"line 2: is_correct is '1', but the prediction is '{first}'" in refusal("report", source, sample)


def test_missing_and_repeated_rows(source, tmp_path):
    lines = labeled(source, tmp_path / "s.csv", "--budget", 50).read_text().splitlines(keepends=True)
    (tmp_path / "missing.csv").write_text("".join(lines[:-2]))
    assert "2 of the 50 rows that were drawn are not in the file" in refusal("report", source, tmp_path / "missing.csv")
    (tmp_path / "twice.csv").write_text("".join([*lines, lines[1]]))
    assert "line 52 is the row of line 2 again" in refusal("report", source, tmp_path / "twice.csv")
    (tmp_path / "empty.csv").write_text(lines[0])
    assert "the file holds no rows" in refusal("report", source, tmp_path / "empty.csv")


@pytest.mark.parametrize("column", ["text", "predicted_label", "error_probability", "accepted"])
def test_predictions_that_have_changed(source, tmp_path, column):
    """One value of a row that was not drawn."""
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50)
    drawn = {number_of(row) for row in saved_rows(sample)}
    number = next(number for number in range(ROWS) if number not in drawn)
    values = list(COLUMNS[column])
    values[number] = {"error_probability": 0.123, "accepted": not values[number]}.get(column, "trade, or not")
    other = write(tmp_path / "other.csv", COLUMNS | {column: values})
    assert "line 2 was not drawn from these predictions" in refusal("report", other, sample, "--no-safe-csv")


def test_a_class_that_was_never_predicted(source, tmp_path):
    sample = labeled(source, tmp_path / "s.csv", "--budget", 50, changes={(4, "label"): "art"})
    assert "--label-names or --head names classes that were never predicted" in refusal("report", source, sample)
    assert report(source, sample, "--label-names", "art,law,sports,trade")["labeled"] == 50
    assert "the predictions hold trade, but the classes are art, law, sports" in refusal(
        "report", source, sample, "--label-names", "art,law,sports"
    )


def test_files_without_error_probabilities(tmp_path):
    columns = {name: values for name, values in COLUMNS.items() if name != "error_probability"}
    source = write(tmp_path / "predictions.csv", columns)
    message = refusal("select", source, "-o", tmp_path / "s.csv")
    assert "row-0 has no error probability: predict with a fitted head" in message
    assert "a label column" not in message


def test_a_budget_of_all_rows(source, tmp_path):
    done = select(source, tmp_path / "s.csv", "--budget", 5000)
    assert "800 of 800 predictions drawn" in done.stdout
    assert "there are no more predictions" in done.stderr
    facts = report(source, labeled(source, tmp_path / "s.csv", "--budget", 5000))
    assert facts["accuracy"]["low"] == facts["accuracy"]["high"]


def test_the_input_is_not_replaced(source):
    assert "would be replaced" in refusal("select", source, "-o", source)
    assert "--format is needed" in refusal("select", source, "-o", source.with_suffix(".txt"))


def multilabel():
    rng = np.random.default_rng(1)
    probability = rng.beta(0.5, 3, 300)
    labels = [json.dumps([name for name in NAMES if rng.random() < 0.4]) for _ in range(300)]
    texts = [f"text {number} of many" for number in range(300)]
    columns = {"text": texts, "predicted_labels": labels, "uncertainty": probability, "error_probability": probability}
    return columns | {"accepted": probability < 0.1, "row_error": [""] * 300}


def test_multi_label_texts(tmp_path):
    source = write(tmp_path / "predictions.csv", multilabel())
    assert "no predicted class to stratify by" in refusal("select", source, "-o", tmp_path / "s.csv", "--per-class")
    select(source, tmp_path / "s.csv", "--budget", 60)
    rows = rows_of(tmp_path / "s.csv")
    wrong = {k for k, row in enumerate(rows) if float(row["error_probability"]) > 0.3}
    cells = {(k, "label"): row["prediction"] for k, row in enumerate(rows)}
    cells |= {(k, "label"): "[]" if rows[k]["prediction"] != "[]" else "law; trade" for k in wrong}
    saved_by_a_spreadsheet(tmp_path / "s.csv", cells)
    facts = report(source, tmp_path / "s.csv")
    assert (facts["labeled"], facts["errors"], facts["classes"]) == (60, len(wrong), {})
    assert facts["risk"]["value"] == pytest.approx(0, abs=0.02)


def test_sentences_are_right_or_wrong(tmp_path):
    probability = np.random.default_rng(2).beta(0.5, 3, 200)
    entity = {"entity_group": "PER", "score": 0.9, "word": "Ada", "start": 0, "end": 3, "uncertainty": 0.1}
    entity |= {"error_probability": 0.1, "accepted": True}
    entities = [json.dumps([entity] if number % 2 else []) for number in range(200)]
    texts = [f"Ada met {number} people" for number in range(200)]
    columns = {"text": texts, "entities": entities, "uncertainty": probability, "error_probability": probability}
    source = write(tmp_path / "predictions.csv", columns | {"row_error": [""] * 200})
    select(source, tmp_path / "s.csv", "--budget", 50)
    rows = rows_of(tmp_path / "s.csv")
    cells = {(k, "is_correct"): "yes" if k % 5 else "no" for k in range(50)}
    cells |= {(0, "is_correct"): "", (0, "label"): "[]" if rows[0]["prediction"] != "[]" else json.dumps([entity])}
    saved_by_a_spreadsheet(tmp_path / "s.csv", cells)
    facts = report(source, tmp_path / "s.csv")
    assert (facts["errors"], facts["risk"], facts["classes"]) == (10, None, {})
    assert "accuracy on these 200 sentences" in in_process("audit", "report", source, tmp_path / "s.csv").stdout


def test_label_studio_tasks_of_an_audit(source, tmp_path):
    select(source, tmp_path / "tasks.json", "--budget", 50)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert len(tasks) == 50
    for task in tasks:
        name = TRUE[int(re.match(r"row-(\d+)@", json.dumps(task).partition('"id": "')[2])[1])]
        choice = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [name]}}
        task["annotations"] = [{"result": [choice]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    facts = report(source, tmp_path / "export.json")
    assert facts["accuracy"] == report(source, labeled(source, tmp_path / "s.csv", "--budget", 50))["accuracy"]


def test_a_file_that_may_hold_labels_is_replaced_on_request(source, tmp_path):
    path = tmp_path / "to-label.csv"
    select(source, path)
    first = path.read_bytes()
    refused = in_process("audit", "select", source, "-o", path, "--budget", 5)
    assert refused.exit_code == 2
    assert "may hold labels of people" in " ".join(refused.stderr.replace("│", "").split())
    assert path.read_bytes() == first
