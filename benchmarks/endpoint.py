"""A language model behind an endpoint next to the same model in this process, on SST-2.

The head is fitted on the validation split (872 texts) and measured on the test split, zero-shot and with the four
examples of ``benchmarks/configs/tasks.yaml``. Prints, for endpoint and process, accuracy and ROC-AUC of error
detection before and after the fit, in hundredths, also with vectors of an encoder; the differences of the labels'
log-probabilities; requests a second with 1 and with 16 at once; and what is sent again by a run that was killed. The
server must give enough tokens for ``--top-logprobs``, or honor ``logit_bias`` as llama.cpp does:

    llama-cpp-server -m SmolLM2-135M-Instruct.Q4_1.gguf --host 127.0.0.1 --port 8080 --parallel 16 -c 16384
    ALIEN_DATA=DATA python benchmarks/endpoint.py http://127.0.0.1:8080/v1 --top-logprobs 500
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from aligned_entropy import LabeledTexts, UncertainClassifier, labeled_texts, load_data
from aligned_entropy.features.arrays import Features
from aligned_entropy.metrics import roc_auc
from aligned_entropy.scores import SCORES

TASKS = Path(__file__).parent / "configs" / "tasks.yaml"
AT_ONCE = (1, 16)
COMMAND = [sys.executable, "-c", "from aligned_entropy.cli import main; main()"]


def split(name: str, count: int | None) -> LabeledTexts:
    """Read a split of SST-2, or its first texts."""
    texts = labeled_texts(load_data(f"sst2:{name}"), ["negative", "positive"])
    rows = slice(0, count)
    return LabeledTexts(list(texts.texts)[rows], texts.labels[rows], texts.label_names)


def measured(classifier: UncertainClassifier, fit_set: LabeledTexts, test: LabeledTexts) -> tuple[Features, list[str]]:
    """Fit a head; return the features of the test set, and cells of a table."""
    calibration, features = classifier.features(fit_set, views=True), classifier.features(test, views=True)
    before = [roc_auc(features.errors, SCORES[name]().score(features)) for name in ("entropy", "softmax response")]
    classifier.fit_features(calibration)
    after = roc_auc(features.errors, classifier.predict_features(features).uncertainty.astype(np.float64))
    return features, [f"{100 * value:.2f}" for value in (1 - features.errors.mean(), *before, after)]


def compare(options: argparse.Namespace, prompt: dict[str, Any], name: str) -> None:
    """Print the table of an endpoint and of the same model in this process, and how far their numbers differ."""
    fit_set, test = split("validation", options.texts), split("test", options.texts)
    remote = endpoint(options, prompt)
    seen, cells = measured(remote, fit_set, test)
    print(f"\n## {name}\n\n| | accuracy | entropy | softmax response | head |\n|---|---:|---:|---:|---:|")
    print(f"| endpoint | {' | '.join(cells)} |")
    with_vectors = endpoint(options, prompt, embeddings="minilm")
    print(f"| endpoint with vectors of minilm | {' | '.join(measured(with_vectors, fit_set, test)[1])} |")
    if options.local is None:
        print(f"\n{remote.backbone.report}")
        return
    local, cells = measured(UncertainClassifier.from_pretrained(options.local, **prompt), fit_set, test)
    print(f"| process | {' | '.join(cells)} |")
    log_p = [part.logits - np.logaddexp.reduce(part.logits, axis=1, keepdims=True) for part in (seen, local)]
    difference = np.abs(log_p[0] - log_p[1]).max(1)
    same = float(np.mean(seen.predictions == local.predictions))
    print(
        f"\n{remote.backbone.report}\n\nlog-probabilities of the labels differ by {np.median(difference):.2g} "
        f"(median), {np.quantile(difference, 0.99):.2g} (99%), {difference.max():.2g} (largest); {same:.1%} of the "
        "predictions are the same"
    )


def endpoint(options: argparse.Namespace, prompt: dict[str, Any], **more: Any) -> UncertainClassifier:
    """Classifier of the endpoint."""
    given = {"model": options.model_name, "top_logprobs": options.top_logprobs, **more}
    return UncertainClassifier.from_endpoint(options.url, **prompt, **given)


def measure_speed(options: argparse.Namespace, prompt: dict[str, Any], count: int) -> None:
    """Print the requests a second for different numbers of requests at once; each has texts of its own."""
    texts = list(split("train", 2 * count).texts)
    print("\n## Speed\n\n| requests at once | requests a second |\n|---:|---:|")
    for number, concurrency in enumerate(AT_ONCE):
        classifier = endpoint(options, prompt, concurrency=concurrency)
        before, start = classifier.backbone.client.usage.requests, time.perf_counter()
        classifier.predict(texts[number * count : (number + 1) * count])
        sent = classifier.backbone.client.usage.requests - before
        print(f"| {concurrency} | {sent / (time.perf_counter() - start):.1f} |")


def kill_and_resume(options: argparse.Namespace, prompt: dict[str, Any], folder: Path, count: int) -> None:
    """Kill ``alien predict`` when half of the texts have replies, run it again, and print what was sent again."""
    texts = list(dict.fromkeys(split("train", None).texts))[-count:]
    (folder / "new.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "prompt.json").write_text(json.dumps(prompt))
    command = [
        *COMMAND, "predict", folder / "new.jsonl", "--endpoint", options.url, "--model-name", options.model_name,
        "--prompt", folder / "prompt.json", "--top-logprobs", options.top_logprobs, "-o", folder / "out.jsonl",
    ]  # fmt: skip
    words, environment = list(map(str, command)), os.environ | {"ALIEN_CACHE": str(folder / "killed")}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    while stored(folder / "killed") < count // 2:
        time.sleep(0.05)
        assert process.poll() is None, "the run ended before it was killed"
    process.kill()
    process.wait()
    replies = stored(folder / "killed")
    again = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"endpoint: ([\d,]+) requests", again.stderr)
    assert found is not None, again.stderr
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    print(
        f"\n## Killed and resumed\n\n{replies} of {count} texts had a reply when the run was killed. The second run "
        f"sent {found[1]} requests: {count - replies} texts without a reply, the rest trials and second requests for "
        f"labels. {sum(row['row_error'] is None for row in rows)} rows are predicted."
    )


def stored(folder: Path) -> int:
    """Number of replies in the stores of a cache folder."""
    counts = 0
    for path in (folder / "endpoints").glob("*.sqlite"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                counts += connection.execute("SELECT count(*) FROM replies").fetchone()[0]
            connection.close()
        except sqlite3.Error:  # the file is being created
            continue
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="address of the API, such as http://127.0.0.1:8080/v1")
    parser.add_argument("--model-name", default="smollm2", help="name of the model that the endpoint offers")
    parser.add_argument("--local", default="smollm2", help="the same model in this process; an empty name for none")
    parser.add_argument("--top-logprobs", type=int, default=500, help="number of most probable tokens to ask for")
    parser.add_argument("--texts", type=int, default=None, help="number of texts of each split; all by default")
    parser.add_argument("--timed", type=int, default=400, help="texts for the speed, and for the run that is killed")
    options = parser.parse_args()
    options.local = options.local or None
    warnings.simplefilter("ignore")
    few = yaml.safe_load(TASKS.read_text(encoding="utf-8"))["datasets"]["sst2"]["prompt"]
    zero = {name: value for name, value in few.items() if name != "examples"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("ALIEN_CACHE", folder)
        for name, prompt in (("Zero-shot", zero), ("Few-shot", few)):
            compare(options, prompt, name)
        measure_speed(options, zero, options.timed)
        kill_and_resume(options, zero, Path(folder), options.timed)


if __name__ == "__main__":
    main()
