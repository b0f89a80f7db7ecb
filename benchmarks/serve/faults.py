"""Inject faults into `alien serve` on this machine and count lost, wrong and failed responses.

Prints a table and one JSON line; exits with 1 if a prediction was lost or wrong, or if a response was a 5xx that is not
documented.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
import time
import urllib.request
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from client import Client, serving
from safetensors.torch import load_file, save

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts
from aligned_entropy.store import read_feedback

Expected = dict[str, dict[str, tuple[str, float]]]  # label and uncertainty, by head version and text


def as_json(**content: Any) -> bytes:
    return json.dumps(content).encode()


def head_version(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/head") as response:
        return str(json.load(response)["head"])


def count_wrong(expected: Expected, texts: list[str], body: bytes) -> int:
    """Number of predictions that differ from those of predict with the head that they name."""
    predictions = json.loads(body)["predictions"]
    if len(predictions) != len(texts):
        return len(texts)
    wrong = 0
    for text, prediction in zip(texts, predictions, strict=True):
        label, uncertainty = expected[prediction["head"]][text]
        wrong += prediction["label"] != label or abs(prediction["uncertainty"] - uncertainty) > 1e-4
    return wrong


def random_bodies(model: str, head: str, count: int) -> dict[str, Any]:
    """Send bodies made from the schema: one half valid, the other half invalid."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.strategies import just

    statuses: Counter[int] = Counter()
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(model, "--head", head, "--feedback", f"{folder}/f") as (_, port),
    ):
        address = f"http://127.0.0.1:{port}"
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        client, loop = Client(port), asyncio.new_event_loop()

        def send(path: str, case: Any) -> None:
            body = case.body if isinstance(case.body, bytes) else json.dumps(case.body, default=str).encode()
            status, _, response = loop.run_until_complete(client.post(path, body))
            statuses[status] += 1
            if status >= 500 or (status >= 400 and not json.loads(response)["detail"]):
                problems.append(f"{path} {status}: {body!r:.200}")

        limits = settings(
            max_examples=count // 4,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        for path in ("/v1/predict", "/v1/feedback"):
            for mode in schemathesis.GenerationMode:
                bodies = schema[path]["POST"].as_strategy(generation_mode=mode)
                limits(given(path=just(path), case=bodies)(send))()
        client.close()
        loop.close()
        alive = head_version(port)
    return {
        "tried": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "failed": problems,
        "then": alive,
    }


def kills(model: str, rounds: int) -> dict[str, Any]:
    """Kill the server with SIGKILL while sixteen clients send feedback."""
    acknowledged, lost, twice = 0, 0, 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/feedback.sqlite"
            with serving(model, "--feedback", file) as (process, port):
                sent = asyncio.run(_feedback_until_killed(process, port, 0.3 + 0.1 * (number % 8)))
            stored = read_feedback(file)["text"] if Path(file).exists() and sent else []
            acknowledged += len(sent)
            lost += len(set(sent) - set(stored))
            twice += len(stored) - len(set(stored))
    return {
        "tried": rounds,
        "acknowledged": acknowledged,
        "lost": lost,
        "failed": [lost, twice] if lost + twice else [],
    }


async def _feedback_until_killed(process: Any, port: int, seconds: float) -> list[str]:
    """Texts of the feedback that the server acknowledged."""
    acknowledged: list[str] = []

    async def send(number: int) -> None:
        client = Client(port)
        for step in range(10**6):
            text = f"text {number} {step}"
            try:
                status, _, _ = await client.post("/v1/feedback", as_json(text=text, label=LABEL))
            except (OSError, asyncio.IncompleteReadError):
                return
            if status == 200:
                acknowledged.append(text)

    async def kill() -> None:
        await asyncio.sleep(seconds)
        process.kill()

    await asyncio.gather(kill(), *(send(number) for number in range(16)))
    return acknowledged


def swaps(model: str, heads: list[str], expected: Expected, texts: list[str], seconds: float) -> dict[str, Any]:
    """Exchange two heads as fast as possible while 32 clients send texts."""
    with serving(model, "--head", heads[0], ALIEN_ADMIN_KEY="root") as (_, port):
        return asyncio.run(_swaps(port, heads, expected, texts, seconds))


async def _swaps(port: int, heads: list[str], expected: Expected, texts: list[str], seconds: float) -> dict[str, Any]:
    ends, exchanged, predicted, wrong = time.perf_counter() + seconds, 0, 0, 0
    refused: list[int] = []
    versions: set[str] = set()

    async def swap() -> None:
        nonlocal exchanged
        client = Client(port)
        while time.perf_counter() < ends:
            body = as_json(folder=heads[(exchanged + 1) % 2])
            status, _, _ = await client.post("/v1/head", body, "Authorization: Bearer root")
            refused.extend([status] * (status != 200))
            exchanged += 1

    async def send(number: int) -> None:
        nonlocal predicted, wrong
        client, rng = Client(port), np.random.default_rng(number)
        while time.perf_counter() < ends:
            batch = [texts[row] for row in rng.integers(len(texts), size=3)]
            status, _, body = await client.post("/v1/predict", as_json(texts=batch))
            if status != 200:
                refused.append(status)
                continue
            predicted += len(batch)
            wrong += count_wrong(expected, batch, body)
            versions.update(prediction["head"] for prediction in json.loads(body)["predictions"])

    await asyncio.gather(swap(), *(send(number) for number in range(32)))
    return {
        "tried": exchanged,
        "answers": predicted,
        "heads": len(versions),
        "wrong": wrong,
        "failed": [*refused] or [0] * wrong,
    }


def corrupt_heads(model: str, head: str) -> dict[str, Any]:
    """Send damaged heads and heads of other models over the network; the server must refuse them."""
    rng, accepted = np.random.default_rng(0), []
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(model, "--head", head, ALIEN_ADMIN_KEY="root") as (_, port),
    ):
        before = head_version(port)
        offered = [*_damaged(Path(head), Path(directory), rng), "/nowhere", directory]
        client, loop = Client(port), asyncio.new_event_loop()
        for folder in offered:
            body = as_json(folder=folder)
            status, _, response = loop.run_until_complete(client.post("/v1/head", body, "Authorization: Bearer root"))
            if status != 409 or head_version(port) != before:
                accepted.append(f"{folder}: {status} {response!r:.200}")
        loop.close()
    return {"tried": len(offered), "refused": len(offered) - len(accepted), "failed": accepted}


def _damaged(head: Path, directory: Path, rng: np.random.Generator) -> list[str]:
    """Write damaged copies of a head; return their folders."""
    tensors = (head / "head.safetensors").read_bytes()
    config = json.loads((head / "config.json").read_text())
    folders: list[str] = []

    def add(name: str, weights: bytes | dict[str, torch.Tensor], settings: str = "") -> None:
        folder = directory / f"{len(folders)}-{name}"
        folder.mkdir()
        if isinstance(weights, dict):  # with a valid checksum, but with wrong tensors
            weights = save(weights)
            settings = json.dumps(config | {"sha256": hashlib.sha256(weights).hexdigest()})
        (folder / "head.safetensors").write_bytes(weights)
        (folder / "config.json").write_text(settings)
        folders.append(str(folder))

    config_text = json.dumps(config)
    for cut in rng.integers(len(tensors), size=10):
        add("cut", tensors[:cut], config_text)
    for cut in rng.integers(len(config_text), size=10):
        add("cut-config", tensors, config_text[:cut])
    for key in config:
        if key not in ("format", "multi_label", "width", "classes", "answers", "rule", "calibrated", "fit", "backbone"):
            add("without", tensors, json.dumps({name: value for name, value in config.items() if name != key}))
    add("later", tensors, json.dumps(config | {"format": 99}))
    add("unknown", tensors, json.dumps(config | {"base": "guess"}))
    arrays = load_file(head / "head.safetensors")
    add("nan", {name: value * torch.nan if value.is_floating_point() else value for name, value in arrays.items()})
    add("narrow", {name: value[..., :-1].contiguous() if value.ndim > 1 else value for name, value in arrays.items()})
    add("probe", arrays | {"probe.logits": arrays["probe.logits"] + 1})
    add("of another config", tensors, json.dumps(config | {"sha256": "0" * 64}))
    return folders


def overflow(model: str, head: str, expected: Expected, texts: list[str], requests: int) -> dict[str, Any]:
    """Send far more texts at once than the queue holds."""

    async def attempt(port: int) -> dict[str, Any]:
        statuses: Counter[int] = Counter()
        bad: list[str] = []

        async def send(number: int) -> None:
            client, batch = Client(port), [texts[(8 * number + i) % len(texts)] for i in range(8)]
            status, top, body = await client.post("/v1/predict", as_json(texts=batch))
            client.close()
            statuses[status] += 1
            if status == 200 and count_wrong(expected, batch, body):
                bad.append("a wrong prediction")
            if status != 200 and (status != 429 or "retry-after: " not in top):
                bad.append(f"{status}: {top!r}")

        await asyncio.gather(*(send(number) for number in range(requests)))
        return {"tried": requests, "statuses": dict(sorted(statuses.items())), "failed": bad}

    with serving(model, "--head", head, "--queue", 256) as (_, port):
        return asyncio.run(attempt(port))


def disconnects(model: str, head: str, expected: Expected, texts: list[str], seconds: float) -> dict[str, Any]:
    """Disconnect half of the clients early; the others must get correct predictions."""

    async def attempt(port: int) -> dict[str, Any]:
        ends, disconnected, answered, bad = time.perf_counter() + seconds, 0, 0, list[str]()

        async def leave(number: int) -> None:
            nonlocal disconnected
            rng = np.random.default_rng(number)
            while time.perf_counter() < ends:
                client = Client(port)
                request = asyncio.ensure_future(client.post("/v1/predict", as_json(texts=texts[:32])))
                await asyncio.sleep(float(rng.uniform(0.001, 0.05)))
                request.cancel()
                client.close()
                disconnected += 1

        async def stay(number: int) -> None:
            nonlocal answered
            client, rng = Client(port), np.random.default_rng(number)
            while time.perf_counter() < ends:
                batch = [texts[row] for row in rng.integers(len(texts), size=2)]
                status, _, body = await client.post("/v1/predict", as_json(texts=batch))
                if status != 200 or count_wrong(expected, batch, body):
                    bad.append(f"{status}: {body!r:.200}")
                answered += 1

        await asyncio.gather(*(leave(number) for number in range(8)), *(stay(number) for number in range(8)))
        return {"tried": disconnected, "answers": answered, "failed": bad}

    with serving(model, "--head", head) as (_, port):
        return asyncio.run(attempt(port))


def long_text(model: str, head: str) -> dict[str, Any]:
    """Send a text of 10 MB: refused by default, and predicted with raised limits."""
    text, responses = "not bad " * 1_250_000, {}
    for name, options in {"default": [], "raised": ["--max-body", 2 * 10**7, "--max-characters", 2 * 10**7]}.items():
        with serving(model, "--head", head, *options) as (_, port):

            async def attempt(port: int = port) -> tuple[int, float]:
                client, began = Client(port), time.perf_counter()
                status, _, _ = await client.post("/v1/predict", as_json(texts=[text]))
                seconds = time.perf_counter() - began
                again, _, _ = await Client(port).post("/v1/predict", as_json(texts=["not bad"]))
                return status if again == 200 else 0, seconds

            responses[name] = asyncio.run(attempt())
    failed = [
        f"{name}: {status}"
        for (name, (status, _)), code in zip(responses.items(), (413, 200), strict=True)
        if status != code
    ]
    return {
        "tried": 2,
        "statuses": {name: status for name, (status, _) in responses.items()},
        "seconds": {name: round(seconds, 2) for name, (_, seconds) in responses.items()},
        "failed": failed,
    }


LABEL = ""


def main() -> None:
    global LABEL
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="benchmarks/runs/minilm-sst2-0")
    parser.add_argument("--calibration", default="sst2:validation")
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--bodies", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    model = options.model
    directory = tempfile.mkdtemp()
    texts = list(plain_texts(load_data(options.data)))[:500]
    heads, expected = [], Expected()
    for number in range(2):
        classifier = UncertainClassifier.from_pretrained(model)
        labeled = classifier.read_labeled(options.calibration)
        classifier.fit(labeled.select(np.random.default_rng(number).permutation(len(labeled))[:500]))
        folder = classifier.save_pretrained(f"{directory}/head{number}")
        heads.append(str(folder or f"{directory}/head{number}"))
        LABEL = classifier.label_names[0]
        with serving(model, "--head", heads[-1]) as (_, port):
            name = head_version(port)
        expected[name] = {
            text: (row.label, row.uncertainty) for text, row in zip(texts, classifier.predict(texts), strict=True)
        }

    results = {
        "random bodies": random_bodies(model, heads[0], options.bodies),
        "kill -9 during feedback": kills(model, options.kills),
        "heads swapped under load": swaps(model, heads, expected, texts, options.seconds),
        "corrupt heads offered": corrupt_heads(model, heads[0]),
        "queue overflow": overflow(model, heads[0], expected, texts, 400),
        "clients that disconnect": disconnects(model, heads[0], expected, texts, options.seconds),
        "a text of 10 MB": long_text(model, heads[0]),
    }
    shutil.rmtree(directory)
    print("| fault | tried | outcome | lost, wrong or failed |\n|---|---:|---|---:|")
    for name, row in results.items():
        facts = ", ".join(f"{key} {value}" for key, value in row.items() if key not in ("tried", "failed", "then"))
        print(f"| {name} | {row['tried']} | {facts} | {len(row['failed'])} |")
    print(json.dumps(results))
    sys.exit(any(row["failed"] for row in results.values()))


if __name__ == "__main__":
    main()
