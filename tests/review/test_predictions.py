"""Outputs of alien predict in every form, read as rows for review."""

import json

import pandas as pd
import pytest

from aligned_entropy import DataError
from aligned_entropy.review.predictions import SourceColumns, read_predictions, read_queue
from aligned_entropy.store import Store, StoredPrediction
from fixtures.review import LABELS, PERSON, TOKENS

NUMBERS = {"uncertainty": [0.25, 0.5], "error_probability": [0.25, 0.5], "row_error": [None, None]}


def test_marked_texts_are_restored_or_asked_about(tmp_path):
    path = tmp_path / "p.csv"
    frame = pd.DataFrame({"text": ["'=1+1", "''quoted"], "predicted_label": ["a", "b"], **NUMBERS})
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match="pass --safe-csv if it was, and --no-safe-csv"):
        read_predictions(path)
    for safe, texts in ((True, ["=1+1", "'quoted"]), (False, ["'=1+1", "''quoted"])):
        assert [row.text for row in read_predictions(path, SourceColumns(safe=safe)).rows] == texts


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_labels_and_entities_are_read_from_every_format(tmp_path, ending):
    entities = [[PERSON | {"accepted": False}], []]
    for column, values, task in (("predicted_labels", [["x", "y"], []], LABELS), ("entities", entities, TOKENS)):
        nested = values if ending == "jsonl" else [json.dumps(value) for value in values]
        frame = pd.DataFrame({"text": ["Barack Obama", "b"], f"p_{column}": nested})
        frame = frame.assign(**{f"p_{name}": numbers for name, numbers in NUMBERS.items()})
        path = tmp_path / f"{task}.{ending}"
        if ending == "jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            getattr(frame, f"to_{ending}")(path, index=False)
        read = read_predictions(path, SourceColumns(prefix="p_"))
        assert read.task.name == task
        assert [row.predicted for row in read.rows] == values
        assert [row.error_probability for row in read.rows] == [0.25, 0.5]
        assert [row.accepted for row in read.rows] == ([False, None] if task == TOKENS else [None, None])


def test_a_folder_of_parquet_files_is_read_and_rows_without_prediction_are_left_out(tmp_path):
    for part in range(2):
        frame = pd.DataFrame({"text": [f"{part}a", f"{part}b"], "predicted_label": ["a", None], **NUMBERS})
        frame.assign(row_error=[None, "the text is empty"]).to_parquet(tmp_path / f"part-00000{part}.parquet")
    read = read_predictions(tmp_path)
    assert ([row.text for row in read.rows], read.unreadable) == (["0a", "1a"], 2)
    assert [row.origin for row in read.rows] == ["row-0", "row-2"]


def test_other_files_are_refused(tmp_path):
    (tmp_path / "p.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match="has 0 of the columns"):
        read_predictions(tmp_path / "p.csv")
    with pytest.raises(DataError, match=r"there is no file .*none\.csv: check the path"):
        read_predictions(tmp_path / "none.csv")


def test_a_queue_without_rows_has_a_reason(tmp_path):
    place = tmp_path / "store.sqlite"
    store = Store(place)
    with pytest.raises(DataError, match="no prediction was drawn for review, since the server draws those that it def"):
        read_queue(str(place))
    facts = {"at": 1.0, "probabilities": None, "label_set": None, "uncertainty": 0.3, "error_probability": 0.2}
    row = StoredPrediction(
        id="a", text="a", predicted="x", accepted=False, head="h", queued=True, inclusion=1.0, **facts
    )
    store.add_predictions([row])
    store.take_from_queue(1, reviewer="Ada")
    with pytest.raises(DataError, match="1 prediction in the queue, shown to somebody now: wait ten minutes"):
        read_queue(str(place))
    store.skip("a")
    with pytest.raises(DataError, match="no prediction waits: of those that were drawn, 0 are labeled and 1 skipped"):
        read_queue(str(place))
    store.close()
