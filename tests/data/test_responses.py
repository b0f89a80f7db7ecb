"""Responses of batch files and completion objects as outputs; a line that has failed is named, or has its reason."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aligned_entropy.data.outputs import load_outputs
from aligned_entropy.errors import DataError
from fixtures.objects import batch_line, completion, failed_line, label_object, write_lines

NAMES = ["negative", "positive"]
REPLY = label_object("label", {"positive": 0.6, "negative": 0.3}, rest=0.1)


def read(rows, field="label", names=NAMES, **options):
    return load_outputs(rows, options.pop("labeled", False), label_names=names, field=field, **options)


def probabilities(rows, field="label", names=NAMES):
    return np.exp(read(rows, field, names).logits).tolist()


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_lines_of_a_batch_and_completion_objects_give_the_same(kind):
    assert probabilities([batch_line(0, REPLY, kind=kind)]) == [pytest.approx([0.3, 0.6])]
    assert probabilities([REPLY, REPLY]) == [pytest.approx([0.3, 0.6])] * 2
    assert probabilities([{"custom_id": "r", "response": REPLY}]) == [pytest.approx([0.3, 0.6])]


def test_files_of_all_kinds_give_the_same(tmp_path):
    lines = [batch_line(number, REPLY) | {"label": "positive"} for number in range(3)]
    write_lines(tmp_path / "lines.jsonl", lines)
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "lines.parquet")
    quoted = [json.dumps(line["response"]).replace('"', '""') for line in lines]
    (tmp_path / "lines.csv").write_text("\n".join(["response,label", *(f'"{row}",positive' for row in quoted)]))
    for name in ("lines.jsonl", "lines.parquet", "lines.csv"):
        features = read(tmp_path / name, labeled=True)
        np.testing.assert_allclose(np.exp(features.logits), [[0.3, 0.6]] * 3, rtol=1e-6)
        assert features.labels.tolist() == [1, 1, 1]


def test_one_token_is_read_without_a_field():
    token = (" Positive", {" Positive": 0.4, "positive": 0.2, "Negative": 0.3, "The": 0.1})
    for older in (False, True):
        assert probabilities([batch_line(0, completion(token, older=older))], None) == [pytest.approx([0.3, 0.6])]
    with pytest.raises(
        DataError, match=r"the reply is '\{\"label\": \"positive\"\}', which is more than its first .* --f"
    ):
        probabilities([batch_line(0, REPLY)], None)
    with pytest.raises(DataError, match=r"row 0 of column 'response' \(custom_id 'r0'\): .* none of which is a class"):
        probabilities([batch_line(0, completion("yes"))], None)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (failed_line(1), "the request failed with 429: rate limit"),
        (failed_line(1, kind="vllm"), "the request failed with 400: too long"),
        (
            batch_line(1, None) | {"response": None, "error": {"code": "expired", "message": "no time"}},
            "failed: no time",
        ),
        (batch_line(1, None, kind="vllm") | {"error": "stream mode"}, "the request failed: stream mode"),
        (batch_line(1, None), "a completion with choices is needed"),
        (batch_line(1, {"object": "list", "data": []}), "a completion with choices is needed"),
        (batch_line(1, completion("no object")), "the reply is no JSON object but 'no object'"),
        (batch_line(1, label_object("topic", {"positive": 0.6, "negative": 0.4})), "has 'topic': the field 'label'"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_or_has_its_reason(line, reason):
    lines = [batch_line(0, REPLY), line, batch_line(2, REPLY)]
    with pytest.raises(DataError, match=rf"row 1 of column 'response' \(custom_id 'r1'\): .*{reason}"):
        read([each | {"label": "positive"} for each in lines], labeled=True)
    features = read(lines, with_row_errors=True)
    assert [each is None for each in features.row_errors] == [True, False, True]
    assert reason in features.row_errors[1]
    assert np.isnan(features.logits[1]).all()
    np.testing.assert_allclose(np.exp(features.logits[[0, 2]]), [[0.3, 0.6]] * 2, rtol=1e-6)


def test_a_file_of_failed_lines_alone_has_their_reasons():
    rows = [{"custom_id": "r0", "error": {"message": "no time"}}]
    assert read(rows, with_row_errors=True).row_errors.tolist() == ["the request failed: no time"]
    with pytest.raises(DataError, match="needed are 'logits' or"):
        read([{"error": "no time"}])


def test_a_missing_class_is_warned_of():
    few = label_object("label", {"positive": 0.9}, rest=0.06)
    with pytest.warns(UserWarning, match="column 'response' lacks classes in some rows"):
        assert probabilities([batch_line(0, few)]) == [pytest.approx([0.04, 0.9])]


def test_the_classes_need_names():
    with pytest.raises(DataError, match="column 'response' has tokens, so the classes need names"):
        read([batch_line(0, REPLY)], names=None)


def test_lists_of_numbers_are_read_before_responses():
    assert probabilities([batch_line(0, REPLY) | {"probabilities": [0.5, 0.5]}]) == [pytest.approx([0.5, 0.5])]
