"""Commands on labels that are a field of a JSON object: stored responses, and an endpoint."""

import json

import pytest

from aligned_entropy import UncertainClassifier
from fixtures.command_line import in_process
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE, serving
from fixtures.objects import failed_line, labeled_lines, write_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with responses, and a head that was fitted on some of them."""
    folder = tmp_path_factory.mktemp("fields")
    write_lines(folder / "held-out.jsonl", labeled_lines(300, 0))
    write_lines(folder / "test.jsonl", labeled_lines(100, 1))
    done = in_process(
        "fit", "--outputs", folder / "held-out.jsonl", "--field", "label", "--label-names", "negative,positive",
        "-o", folder / "head",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"next: alien evaluate --outputs {folder / 'test.jsonl'} --field label --head" in done.stderr
    return folder


def test_predict_has_the_reason_of_a_failed_line(folder, tmp_path):
    lines = list(labeled_lines(4, 2))
    write_lines(tmp_path / "new.jsonl", [lines[0], failed_line(1), *lines[1:]])
    output = tmp_path / "predictions.jsonl"
    done = in_process("predict", "--outputs", tmp_path / "new.jsonl", "--head", folder / "head", "-o", output)
    assert done.exit_code == 0, done.output
    assert "4 of 5 rows predicted" in done.stderr
    written = list(map(json.loads, output.read_text().splitlines()))
    reasons = [row["row_error"] for row in written]
    assert reasons == [None, "the request failed with 429: rate limit", None, None, None]
    assert [row["custom_id"] for row in written] == ["r0", "r1", "r1", "r2", "r3"]
    expected = UncertainClassifier.from_outputs(head=folder / "head").predict(lines).uncertainty
    assert [row["uncertainty"] for row in written if row["row_error"] is None] == pytest.approx(expected.tolist())


def test_evaluate_with_and_without_a_head(folder):
    plain = in_process(
        "evaluate", "--outputs", folder / "test.jsonl", "--field", "label", "--label-names", "negative,positive",
        "--resamples", 10, "--json",
    )  # fmt: skip
    assert plain.exit_code == 0, plain.output
    done = in_process(
        "evaluate", "--outputs", folder / "test.jsonl", "--head", folder / "head", "--resamples", 10, "--json"
    )
    assert done.exit_code == 0, done.output
    entropies = [json.loads(each.stdout)["scores"]["entropy"]["roc_auc"]["value"] for each in (plain, done)]
    assert entropies[0] == entropies[1]


def test_a_head_refuses_another_field(folder):
    done = in_process(
        "predict", "--outputs", folder / "test.jsonl", "--field", "topic", "--head", folder / "head", "-o", "-"
    )
    assert done.exit_code != 0
    assert "was fitted on the field 'label'" in str(done.exception)


def test_a_field_needs_outputs_or_an_endpoint(tmp_path):
    done = in_process("fit", tmp_path / "model", tmp_path / "data.csv", "--field", "label", "-o", tmp_path / "head")
    assert done.exit_code == 2
    assert "--field label is for --outputs FILE or --endpoint" in " ".join(done.stderr.replace("│", "").split())


def test_an_endpoint_is_asked_for_the_field(tmp_path):
    (tmp_path / "prompt.json").write_text(json.dumps({"labels": LABELS, "template": TEMPLATE}))
    with serving() as server:
        labeled = server.labeled(120, 0)
        rows = [dict(zip(labeled, row, strict=True)) for row in zip(*labeled.values(), strict=True)]
        write_lines(tmp_path / "held-out.jsonl", rows)
        options = ["--endpoint", server.url, "--top-logprobs", EVERY_TOKEN]
        done = in_process(
            "fit", tmp_path / "held-out.jsonl", *options, "--model-name", "tiny", "--field", "label", "--prompt",
            tmp_path / "prompt.json", "-o", tmp_path / "head",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert "endpoint: 123 requests" in done.stderr
        assert f"--endpoint {server.url} --model-name tiny --top-logprobs 2000" in done.stderr
        assert "--field label" in done.stderr
        write_lines(tmp_path / "new.jsonl", rows[:40])
        command = ["predict", tmp_path / "new.jsonl", *options, "--head", tmp_path / "head"]
        done = in_process(*command, "-o", tmp_path / "out.jsonl")
        assert done.exit_code == 0, done.output
        assert "40 of 40 rows predicted" in done.stderr
        done = in_process(*command, "--field", "topic", "-o", tmp_path / "other.jsonl")
        assert "was fitted for the prompt" in str(done.exception)
