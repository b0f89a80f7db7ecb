"""``alien review``: predictions go to people as a file, and their labels come back into the store of feedback."""

import csv
import json

import pytest

from aligned_entropy.store import Store, StoredPrediction, read_feedback
from fixtures.command_line import in_process
from fixtures.review import saved_by_a_spreadsheet


@pytest.fixture(scope="module")
def predicted(workplace, tmp_path_factory):
    """Folder with a head that has a threshold, and predictions of a few texts."""
    folder = tmp_path_factory.mktemp("review")
    head, goal = folder / "head", ("--coverage", "0.7")
    model = workplace / "model"
    arguments = ("threshold", model, workplace / "test.jsonl", "--head", workplace / "head", *goal, "-o", head)
    assert in_process(*arguments).exit_code == 0
    rows = [json.loads(line) for line in (workplace / "train.jsonl").read_text().splitlines()[:60]]
    rows[7]["text"] = "=1+1 a fine film"
    rows[9]["text"] = " "  # which cannot be predicted
    (folder / "new.jsonl").write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    for name in ("predictions.csv", "predictions.jsonl", "predictions.parquet"):
        done = in_process("predict", model, folder / "new.jsonl", "--head", head, "-o", folder / name)
        assert done.exit_code == 0, done.output
    done = in_process("predict", model, folder / "new.jsonl", "--head", head, "-o", folder / "p.csv", "--probabilities")
    assert done.exit_code == 0
    return folder


def exported(*arguments):
    done = in_process("review", "export", *arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def read_csv(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_deferred_predictions_are_written_and_their_labels_come_back(predicted, tmp_path, ending):
    source, review, store = predicted / f"predictions.{ending}", tmp_path / "review.csv", tmp_path / "feedback.sqlite"
    facts = exported(source, "-o", review, "--head", predicted / "head")
    rows = read_csv(review)
    assert facts == {"rows": len(rows), "of": 59, "unreadable": 1, "drawn": 0, "files": [str(review)]}
    assert 0 < len(rows) < 59
    assert {row["decision"] for row in rows} == {"deferred"}
    assert "inclusion" not in rows[0], "accepted predictions could not be drawn"
    saved_by_a_spreadsheet(review, {(0, "label"): "Positive", (1, "label"): "negative", (1, "reviewer"): "Ada"})
    done = in_process("review", "import", review, "--store", store, "--head", predicted / "head", "--json")
    assert done.exit_code == 0, done.output
    wrong = (rows[0]["prediction"] != "positive") + (rows[1]["prediction"] != "negative")
    facts = {"imported": 2, "wrong": wrong, "drawn": 0, "unlabeled": len(rows) - 2, "settled": 0}
    facts["replaced"] = 0
    assert json.loads(done.stdout) == facts
    feedback = read_feedback(store)
    assert feedback == {"text": [row["text"].removeprefix("'") for row in rows[:2]], "label": ["positive", "negative"]}
    again = exported(source, "-o", tmp_path / "again.csv", "--head", predicted / "head", "--store", store)
    assert again["rows"] == len(rows) - 2, "those that have a label are left out"
    assert [row["id"] for row in read_csv(tmp_path / "again.csv")] == [row["id"] for row in rows[2:]]
    opened = Store(store)
    first, second = opened.feedback()
    opened.close()
    assert (first.source, first.accepted, first.reviewer, second.reviewer) == ("import", False, None, "Ada")
    assert first.wrong == (rows[0]["prediction"] != "positive")


def test_rows_drawn_at_random_keep_their_probability(predicted, tmp_path):
    review, store = tmp_path / "review.csv", tmp_path / "feedback.sqlite"
    names = ("--label-names", "negative,positive")
    facts = exported(predicted / "predictions.csv", "-o", review, "--choose", "all", "--count", 20, *names)
    assert (facts["rows"], facts["drawn"]) == (20, 20)
    rows = read_csv(review)
    assert {row["inclusion"] for row in rows} == {"0.338983"}, "20 of 59, with six digits"
    changes = {(number, "label"): row["prediction"] for number, row in enumerate(rows)}
    saved_by_a_spreadsheet(review, changes)
    done = in_process("review", "import", review, "--store", store, *names)
    assert done.exit_code == 0, done.output
    assert "20 labels imported" in done.stdout
    assert read_feedback(store)["inclusion"] == [0.338983] * 20


def test_probability_columns_name_the_classes_and_give_alternatives(predicted, tmp_path):
    exported(predicted / "p.csv", "-o", tmp_path / "review.csv", "--choose", "all")
    rows = read_csv(tmp_path / "review.csv")
    assert all(row["alternatives"].split()[0] != row["prediction"] for row in rows)
    assert len(rows) == 59
    facts = exported(predicted / "p.csv", "-o", tmp_path / "tasks.json", "--choose", "all", "--format", "label-studio")
    assert facts["files"] == [str(tmp_path / "tasks.json"), str(tmp_path / "tasks.xml")]
    assert '<Choice value="positive"/>' in (tmp_path / "tasks.xml").read_text()


def test_columns_of_the_predictions_are_kept(predicted, tmp_path):
    source, review, store = tmp_path / "predictions.csv", tmp_path / "review.csv", tmp_path / "feedback.sqlite"
    with open(predicted / "predictions.csv", newline="") as file:
        rows = [{"ticket": f"={number}", "label": "?"} | row for number, row in enumerate(csv.DictReader(file))]
    with open(source, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    names = ("--head", predicted / "head")
    exported(source, "-o", review, *names, "--keep", "ticket, label,")
    written = read_csv(review)
    tickets = [f"'{row['ticket']}" for row in rows if row["accepted"].lower() == "false"]
    assert [(row["ticket"], row["source_label"], row["label"]) for row in written] == [(t, "?", "") for t in tickets]
    saved_by_a_spreadsheet(review, {(0, "label"): "positive", (1, "ticket"): "changed"})
    done = in_process("review", "import", review, "--store", store, *names)
    assert "1 label imported" in done.stdout, done.output
    drawn = in_process("audit", "select", source, "-o", tmp_path / "a.csv", "--budget", 9, *names, "--keep", "ticket")
    assert read_csv(tmp_path / "a.csv")[0]["ticket"].startswith("'=")
    assert "--keep" not in drawn.stderr
    refused = in_process("review", "export", source, "-o", tmp_path / "r.json", *names, "--keep", "ticket")
    assert "--keep ticket is for a CSV file of an output" in " ".join(refused.stderr.replace("│", "").split())
    refused = in_process("review", "export", source, "-o", tmp_path / "r.csv", *names, "--keep", "tiket")
    assert "no column 'tiket' (did you mean 'ticket'?)" in str(refused.exception)


def test_informative_rows_need_vectors_and_some_are_drawn(predicted, workplace, tmp_path):
    source, review = predicted / "predictions.csv", tmp_path / "review.csv"
    chosen = ("--choose", "informative", "--count", 10, "--head", predicted / "head")
    refused = in_process("review", "export", source, "-o", review, *chosen)
    assert refused.exit_code == 2
    assert "--model MODEL" in refused.stderr
    facts = exported(source, "-o", review, *chosen, "--model", workplace / "model")
    assert (facts["rows"], facts["drawn"]) == (10, 2)
    assert len({row["id"] for row in read_csv(review)}) == 10


def test_an_import_with_a_problem_stores_nothing(predicted, tmp_path):
    review, store = tmp_path / "review.csv", tmp_path / "feedback.sqlite"
    exported(predicted / "predictions.csv", "-o", review, "--head", predicted / "head")
    saved_by_a_spreadsheet(review, {(0, "label"): "positive", (1, "label"): "perhaps"})
    refused = in_process("review", "import", review, "--store", store, "--head", predicted / "head")
    assert refused.exit_code == 1
    assert "'perhaps' is none of negative, positive" in str(refused.exception)
    assert not store.exists()


def test_a_file_without_labels_and_drawn_rows_without_one(predicted, tmp_path):
    review, store = tmp_path / "review.csv", tmp_path / "feedback.sqlite"
    names = ("--label-names", "negative,positive")
    exported(predicted / "predictions.csv", "-o", review, "--choose", "all", "--count", 30, *names)
    refused = in_process("review", "import", review, "--store", store, *names)
    assert "has no label in any of its 30 rows" in str(refused.exception)
    assert not store.exists()
    saved_by_a_spreadsheet(review, {(number, "label"): "positive" for number in range(4)})
    done = in_process("review", "import", review, "--store", store, *names)
    assert "drawn rows without a label: 26. Import the file again" in " ".join(done.stderr.split())


def test_a_file_that_may_hold_labels_is_replaced_on_request(predicted, tmp_path):
    source, review = predicted / "predictions.csv", tmp_path / "review.csv"
    arguments = ("review", "export", source, "--head", predicted / "head", "-o", review)
    assert in_process(*arguments).exit_code == 0
    first = review.read_bytes()
    refused = in_process(*arguments, "--count", 1)
    assert refused.exit_code == 2
    assert "may hold labels of people" in " ".join(refused.stderr.replace("│", "").split())
    assert review.read_bytes() == first
    assert in_process(*arguments, "--count", 1, "--force").exit_code == 0
    assert len(read_csv(review)) == 1


def test_what_is_missing_is_named(predicted, tmp_path):
    source, review = predicted / "predictions.csv", tmp_path / "review.csv"
    for arguments, message in (
        (("-o", review), "names of the classes"),
        (("-o", tmp_path / "review.json.txt", "--head", predicted / "head"), "--format is needed"),
        (("-o", source, "--head", predicted / "head"), "which would be replaced"),
        (("-o", review, "--head", predicted / "head", "--label-names", "a,b"), "exclude each other"),
    ):
        refused = in_process("review", "export", source, *arguments)
        assert refused.exit_code != 0
        assert message in f"{refused.stderr} {refused.exception}", message


def test_labels_that_look_wrong_are_written_with_the_given_one(workplace, tmp_path):
    lines = (workplace / "calibration.jsonl").read_text().splitlines()
    (tmp_path / "labeled.jsonl").write_text("\n".join(lines))
    review = tmp_path / "review.csv"
    arguments = (tmp_path / "labeled.jsonl", "-o", review, "--suspects", "--count", 12)
    facts = exported(*arguments, "--model", workplace / "model")
    assert (facts["rows"], facts["drawn"]) == (12, 0)
    rows = read_csv(review)
    numbers = [int(row["id"].partition("#")[0].removeprefix("row-")) for row in rows]
    given = [json.loads(lines[number]) for number in numbers]
    assert [(row["text"], row["given"]) for row in rows] == [(row["text"], row["label"]) for row in given]
    shares = [float(row["alternatives"].split()[1]) for row in rows if row["given"] != row["prediction"]]
    assert shares == sorted(shares), "the least probable label comes first"
    assert "--model MODEL" in in_process("review", "export", *arguments, "--force").stderr
    shown = in_process("review", "export", *arguments, "--model", workplace / "model", "--force")
    assert f"correct the label in {tmp_path / 'labeled.jsonl'}; then fit again" in shown.stderr


def test_the_queue_of_a_server_is_written_and_labeled(predicted, tmp_path):
    place, review = tmp_path / "store.sqlite", tmp_path / "review.csv"
    store = Store(place)
    facts = {"at": 1.0, "probabilities": {"positive": 0.8, "negative": 0.2}, "label_set": None, "head": "abc"}
    facts |= {"uncertainty": 0.3, "error_probability": 0.2, "predicted": "positive", "queued": True}
    for number in range(4):
        drawn = {"accepted": number > 1, "inclusion": 0.05 if number > 1 else 1.0}
        text = None if number == 3 else f"=text {number}"
        store.add_predictions([StoredPrediction(id=f"id-{number}", text=text, **facts, **drawn)])
    facts = exported(place, "-o", review, "--head", predicted / "head")
    assert (facts["rows"], facts["unreadable"], facts["drawn"]) == (3, 1, 3)
    shown = in_process("review", "export", place, "-o", review, "--head", predicted / "head", "--force")
    assert f"next: alien review import {review} --store {place}" in shown.stderr
    rows = read_csv(review)
    assert [(row["inclusion"], row["head"]) for row in rows] == [("1.0", "abc"), ("1.0", "abc"), ("0.05", "abc")]
    saved_by_a_spreadsheet(review, {(0, "label"): "negative", (2, "label"): "positive"})
    done = in_process("review", "import", review, "--store", place, "--head", predicted / "head")
    assert done.exit_code == 0, done.output
    labels = [(row.prediction, row.text, row.label, row.wrong, row.inclusion) for row in store.feedback()]
    assert labels == [("id-0", "=text 0", "negative", True, 1.0), ("id-2", "=text 2", "positive", False, 0.05)]
    assert store.queue_counts().waiting == 2, "labeled predictions leave the queue"
    store.close()
