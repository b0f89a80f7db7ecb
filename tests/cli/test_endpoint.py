"""Commands on a language model behind an endpoint: from a file of texts to a threshold, predictions and a new head."""

import json
import time

import pytest

from aligned_entropy import UncertainClassifier
from aligned_entropy.cli.review_options import words_of_refit
from fixtures import tiny
from fixtures.command_line import in_process
from fixtures.endpoint import EVERY_TOKEN, LABELS, TEMPLATE, serving
from fixtures.processes import start_alien


@pytest.fixture(scope="module")
def server():
    with serving() as state:
        yield state


def write(server, path, count, seed):
    labeled = server.labeled(count, seed)
    rows = [
        {"id": number, "text": text, "label": label}
        for number, (text, label) in enumerate(zip(labeled["text"], labeled["label"], strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def options(server, *more):
    return ["--endpoint", server.url, "--top-logprobs", EVERY_TOKEN, *more]


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    """Folder with files of texts, and a head that was fitted on one of them."""
    folder = tmp_path_factory.mktemp("endpoint")
    for seed, name in enumerate(("held-out", "more", "test")):
        write(server, folder / f"{name}.jsonl", 200, seed)
    (folder / "prompt.json").write_text(json.dumps({"labels": LABELS, "template": TEMPLATE}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(folder / "cache"))
        done = in_process(
            "fit", folder / "held-out.jsonl", *options(server, "--model-name", "tiny"), "--prompt",
            folder / "prompt.json", "-o", folder / "head",
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "endpoint: 205 requests (0 of them retries)" in done.stderr
    assert "% of the probability fell on no label" in done.stderr
    assert f"next: alien evaluate {folder / 'test.jsonl'} --endpoint {server.url} --model-name tiny" in done.stderr
    assert "--top-logprobs 2000 --head" in done.stderr.splitlines()[-1]
    return folder


@pytest.fixture(autouse=True)
def one_cache(folder, monkeypatch):
    monkeypatch.setenv("ALIEN_CACHE", str(folder / "cache"))


def test_from_a_fit_to_predictions(server, folder, tmp_path):
    done = in_process(
        "threshold", folder / "more.jsonl", *options(server), "--head", folder / "head", "--coverage", "0.5",
        "-o", tmp_path / "head",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert f"next: alien predict NEW.csv --endpoint {server.url} --top-logprobs 2000 --head" in done.stderr
    output = tmp_path / "predictions.jsonl"
    done = in_process("predict", folder / "test.jsonl", *options(server), "--head", tmp_path / "head", "-o", output)
    assert done.exit_code == 0, done.output
    assert "200 of 200 rows predicted" in done.stderr
    written = list(map(json.loads, output.read_text().splitlines()))
    expected = UncertainClassifier.from_endpoint(server.url, head=tmp_path / "head", top_logprobs=EVERY_TOKEN).predict(
        [row["text"] for row in written]
    )
    assert [row["uncertainty"] for row in written] == pytest.approx(expected.uncertainty.tolist())
    assert [row["accepted"] for row in written] == expected.accepted.tolist()
    assert [row["id"] for row in written] == list(range(200))


def test_evaluate_and_its_scores(server, folder):
    done = in_process(
        "evaluate", folder / "test.jsonl", *options(server), "--head", folder / "head", "--resamples", 10, "--json",
        "--scores", "entropy,contextual calibration", "--calibration", folder / "held-out.jsonl",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {"entropy", "contextual calibration", "aligned entropy"} <= json.loads(done.stdout)["scores"].keys()


def test_refit_takes_labeled_texts_as_feedback(server, folder, tmp_path):
    done = in_process(
        "refit", folder / "more.jsonl", *options(server), "--head", folder / "head", "-o", tmp_path / "new",
        "--calibration", folder / "held-out.jsonl", "--json",
    )  # fmt: skip
    assert done.exit_code in (0, 1), done.output
    assert json.loads(done.stdout)["answers"] == 100


def test_a_row_without_a_reply_has_its_reason(server, folder, tmp_path, monkeypatch):
    write(server, tmp_path / "new.jsonl", 5, 7)
    monkeypatch.setattr(server, "fault", lambda prompt, number: (400, {}, "too long") if "73" in prompt else None)
    output = tmp_path / "out.jsonl"
    done = in_process("predict", tmp_path / "new.jsonl", *options(server), "--head", folder / "head", "-o", output)
    assert done.exit_code == 0, done.output
    reasons = [json.loads(line)["row_error"] for line in output.read_text().splitlines()]
    assert reasons == [None, None, None, "the server refuses the request with 400: too long", None]
    assert "4 of 5 rows predicted; 1 unreadable" in done.stderr


def test_a_bound_on_requests_stops_and_continues(server, folder, tmp_path):
    write(server, tmp_path / "new.jsonl", 30, 8)
    command = ["predict", tmp_path / "new.jsonl", *options(server), "--head", folder / "head", "-o", tmp_path / "o.csv"]
    before = len(server.requests)
    done = in_process(*command, "--max-requests", "15")
    assert done.exit_code != 0
    assert "the bound of 15 requests is reached" in str(done.exception)
    done = in_process(*command)
    assert done.exit_code == 0, done.output
    assert len(server.requests) - before == 30 + 2 * 3, "three trials at each start, and every text once"


def test_a_killed_run_continues_and_sends_no_text_twice(server, folder, tmp_path, monkeypatch):
    write(server, tmp_path / "new.jsonl", 40, 9)
    command = ["predict", tmp_path / "new.jsonl", *options(server), "--head", folder / "head", "-o", tmp_path / "o.csv"]
    before = len(server.requests)
    # The last replies are stored when every worker waits for another one.
    monkeypatch.setattr(server, "fault", lambda prompt, number: "hang" if number > before + 20 else None)
    process = start_alien(*command)
    try:
        deadline = time.monotonic() + 60
        while len(server.requests) < before + 20 + 8:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    monkeypatch.setattr(server, "fault", lambda prompt, number: None)
    done = in_process(*command)
    assert done.exit_code == 0, done.output
    assert "17 texts from the store" in done.stderr
    replied, later = server.prompts()[before : before + 20], server.prompts()[before + 28 :]
    assert not {prompt for prompt in replied if " 9" in prompt} & set(later)
    assert len(later) == 3 + 40 - 17


def test_a_fit_with_vectors_of_an_encoder_sends_no_text_again(server, folder, tmp_path):
    tiny.model("Bert").bert.save_pretrained(tmp_path / "encoder")
    tiny.tokenizer().save_pretrained(tmp_path / "encoder")
    before = len(server.requests)
    done = in_process(
        "fit", folder / "held-out.jsonl", *options(server, "--model-name", "tiny"), "--prompt", folder / "prompt.json",
        "--embeddings", tmp_path / "encoder", "-o", tmp_path / "head",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(server.requests) == before + 3
    facts = json.loads((tmp_path / "head" / "config.json").read_text())["backbone"]
    assert facts["embeddings"]["name"] == str(tmp_path / "encoder")
    shown = in_process("inspect", tmp_path / "head")
    assert shown.exit_code == 0, shown.output
    assert "backbone model class: language model behind an endpoint" in shown.stdout


def test_predictions_without_a_head(server, folder, tmp_path):
    done = in_process(
        "predict", folder / "test.jsonl", *options(server, "--model-name", "tiny"), "--prompt", folder / "prompt.json",
        "--concurrency", 2, "--endpoint-timeout", 20, "--retries", 1, "-o", "-", "--extra-body", '{"seed": 1}',
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) == 200
    assert server.requests[-1][2]["seed"] == 1


@pytest.mark.parametrize("command", ["fit", "threshold", "predict", "evaluate", "refit"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m", "d.csv", "--endpoint", "http://h/v1"], "--endpoint http://h/v1 takes the place of MODEL: leave out m"),
        (["d.csv", "--endpoint", "http://h/v1", "--outputs", "o"], "excludes --outputs and --label-names"),
        (["d.csv", "--endpoint", "http://h/v1", "--max-length", "9"], "--max-length 9: the server of --endpoint loads"),
        (["m", "d.csv", "--model-name", "n"], "--model-name n: this is for --endpoint URL"),
    ],
)
def test_options_that_exclude_each_other_are_refused(command, arguments, message, tmp_path):
    needed = {"threshold": ["--risk", "0.1", "--head"], "evaluate": ["--head"], "refit": ["--head", "h", "-o"]}
    done = in_process(command, *arguments, *needed.get(command, ["-o"]), tmp_path)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--truncated"], "--truncated: an endpoint does not tell"),
        (["--extra-body", "{"], "is not JSON"),
        (["--extra-body", "[]"], "a JSON object is needed"),
    ],
)
def test_options_that_do_not_fit_are_refused(server, folder, arguments, message):
    done = in_process("predict", folder / "test.jsonl", *options(server), "--head", folder / "head", *arguments)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_data_are_needed(server):
    done = in_process("fit", *options(server), "-o", "head")
    assert done.exit_code == 2
    assert "needs DATA" in done.stderr


def test_inspect_compares_a_head_with_an_endpoint(server, folder):
    before = len(server.requests)
    shown = in_process("inspect", folder / "head", *options(server))
    assert shown.exit_code == 0, shown.output
    assert len(server.requests) == before + 3
    assert f"fits: {server.url}: yes, its model gives the stored replies" in shown.stdout
    assert f"next: alien threshold MORE-HELD-OUT.csv --endpoint {server.url} --top-logprobs 2000" in shown.stderr
    assert "endpoint: 3 requests" in shown.stderr
    with serving(tiny.language_model("Llama", seed=3)) as another:
        shown = in_process("inspect", folder / "head", *options(another))
    assert shown.exit_code == 1
    assert "is not the one that this head was fitted for (tiny)" in str(shown.exception)
    assert words_of_refit(str(folder / "head"), "feedback.sqlite") == ["--endpoint", "URL", "feedback.sqlite"]
    refused = in_process("inspect", folder / "head", "model", *options(server))
    assert refused.exit_code == 2
    assert "takes the place of MODEL: leave out model" in " ".join(refused.stderr.replace("│", " ").split())


def test_a_head_of_an_endpoint_is_not_exported(folder, tmp_path):
    tiny.model("Bert").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    done = in_process("export", tmp_path / "model", "--head", folder / "head", "-o", tmp_path / "graph")
    assert done.exit_code == 1
    message = "a head for a language model behind an endpoint cannot be exported, because a graph contains the model"
    assert message in str(done.exception)
    assert "serve the head with alien serve --endpoint URL --head HEAD, or fit a head for" in str(done.exception)
    assert not (tmp_path / "graph").exists()
