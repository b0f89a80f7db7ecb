"""Two servers on one PostgreSQL behind nginx: faults under load, and throughput next to that of one server.

    python benchmarks/serve/replicas.py --head HEAD --other-head OTHER --store postgresql://USER@HOST/EMPTY_DATABASE

Clients predict texts and give feedback on some of the predictions. One server is killed with SIGKILL and started again,
then a head is exchanged on the other server. Prints a table and one JSON line; exits with 1 if feedback that was
acknowledged is lost, an id is unknown, a prediction is wrong, or a server does not take over the head.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from client import Client, free_port, serving

from aligned_entropy import UncertainClassifier
from aligned_entropy.data import load_data, plain_texts
from aligned_entropy.serve.heads import head_version
from aligned_entropy.store import Store

Expected = dict[str, dict[str, tuple[str, float]]]  # label and uncertainty, by head version and text
CLIENTS, TEXTS = 32, 2  # texts in a request
LIMIT = 600  # seconds that everything may take
NGINX = """
daemon off; pid FOLDER/pid; worker_processes 1; error_log FOLDER/error.log;
events { worker_connections 512; }
http {
    access_log off; proxy_max_temp_file_size 0;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
    keepalive_requests 1000000;
    upstream alien { SERVERS keepalive 32; }
    server {
        listen 127.0.0.1:PORT;
        location / { proxy_pass http://alien; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
"""


@dataclass
class Counts:
    """Responses to all clients, and what must be in the store.

    Attributes:
        statuses: number of responses by status; 0 for connections that broke.
        ids: id of every prediction.
        acknowledged: label that was sent by the id of its prediction.
        unknown: ids that a server did not know.
        wrong: number of predictions that differ from those of the head that they name.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    wrong: int = 0


@contextmanager
def nginx(folder: Path, servers: list[int]) -> Iterator[int]:
    """Start nginx in front of servers; yield its port."""
    folder.mkdir()
    folder.chmod(0o777)  # its workers are of another user
    port = free_port()
    upstreams = " ".join(f"server 127.0.0.1:{server} max_fails=1 fail_timeout=1s;" for server in servers)
    config = NGINX.replace("FOLDER", str(folder)).replace("SERVERS", upstreams).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(config)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def head_in_use(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/head", timeout=30) as response:
        return str(json.load(response)["head"])


async def work(
    number: int, port: int, texts: list[str], expected: Expected, counts: Counts, end: asyncio.Event
) -> None:
    """Send texts, and feedback on half of the predictions, until the end."""
    client, rng = Client(port), np.random.default_rng(number)
    labels = sorted({label for rows in expected.values() for label, _ in rows.values()})

    async def post(path: str, **content: Any) -> Any:
        try:
            status, _, body = await client.post(path, json.dumps(content).encode())
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            client.close()
            status, body = 0, b""
        counts.statuses[status] += 1
        if status not in (200, 404):
            await asyncio.sleep(0.05)
        return status, json.loads(body) if status == 200 else None

    while not end.is_set():
        sent = [texts[row] for row in rng.integers(len(texts), size=TEXTS)]
        status, content = await post("/v1/predict", texts=sent, probabilities=False)
        if status != 200:
            continue
        for text, prediction in zip(sent, content["predictions"], strict=True):
            counts.ids.append(prediction["id"])
            label, uncertainty = expected[prediction["head"]][text]
            counts.wrong += prediction["label"] != label or abs(prediction["uncertainty"] - uncertainty) > 1e-4
        if rng.random() < 0.5:
            label, name = str(rng.choice(labels)), content["predictions"][0]["id"]
            status, _ = await post("/v1/feedback", id=name, label=label)
            if status == 200:
                counts.acknowledged[name] = label
            elif status == 404:
                counts.unknown.append(name)
    client.close()


async def under_load(port: int, texts: list[str], expected: Expected, counts: Counts, events: Any) -> None:
    """Run the clients until a coroutine has ended."""
    end = asyncio.Event()
    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(work(number, port, texts, expected, counts, end))
        try:
            await events
        finally:
            end.set()


def throughput(port: int, texts: list[str], expected: Expected, seconds: float) -> tuple[float, Counts]:
    """Predictions in a second."""
    asyncio.run(under_load(port, texts, expected, Counts(), asyncio.sleep(min(2.0, seconds))))
    counts = Counts()
    began = time.perf_counter()
    asyncio.run(under_load(port, texts, expected, counts, asyncio.sleep(seconds)))
    return len(counts.ids) / (time.perf_counter() - began), counts


def faults(options: argparse.Namespace, heads: list[str], servers: list[int], port: int, running: list[Any]) -> Any:
    """Coroutine function that kills a server, starts it again, and exchanges the head; with the facts that it notes."""
    facts: dict[str, Any] = {}

    async def events() -> None:
        await asyncio.sleep(options.seconds)
        running[1].kill()
        await asyncio.sleep(options.seconds)
        began = time.perf_counter()
        process = await asyncio.to_thread(options.start, servers[1])
        facts["restarted after, s"] = round(time.perf_counter() - began, 1)
        running[1] = process
        await asyncio.sleep(options.seconds)
        request = urllib.request.Request(
            f"http://127.0.0.1:{servers[0]}/v1/head",
            json.dumps({"folder": heads[1]}).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer root"},
        )
        version = json.loads(await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=60).read()))[
            "head"
        ]
        began = time.perf_counter()
        while time.perf_counter() - began < 30 and await asyncio.to_thread(head_in_use, servers[1]) != version:
            await asyncio.sleep(0.05)
        facts["head taken over after, s"] = round(time.perf_counter() - began, 2)
        await asyncio.sleep(options.seconds)
        facts["heads"] = len({await asyncio.to_thread(head_in_use, server) for server in servers})

    return events, facts


def missing(store: str, counts: Counts) -> dict[str, int]:
    """Numbers of acknowledged labels and of ids that are not in the store."""
    opened = Store(store)
    labels = {row.prediction: row.label for row in opened.feedback()}
    lost = sum(labels.get(name) != label for name, label in counts.acknowledged.items())
    unknown = sum(opened.prediction(name) is None for name in counts.ids)
    opened.close()
    return {"lost labels": lost, "unknown ids": unknown + len(counts.unknown)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="benchmarks/runs/minilm-sst2-0")
    parser.add_argument("--head", required=True)
    parser.add_argument("--other-head", required=True)
    parser.add_argument("--store", required=True, help="URL of an empty database of PostgreSQL")
    parser.add_argument("--data", default="sst2:test")
    parser.add_argument("--seconds", type=float, default=10, help="length of each phase")
    parser.add_argument("--without-throughput", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")

    texts, heads = list(plain_texts(load_data(options.data)))[:500], [options.head, options.other_head]
    expected = Expected()
    classifiers = [UncertainClassifier.from_pretrained(options.model, head=head) for head in heads]

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        servers = [free_port(), free_port()]

        def start(port: int) -> Any:
            words = ["--head", heads[0], "--store", options.store, "--keep-predictions", 10**7]
            environment = {"ALIEN_ADMIN_KEY": "root", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            return stack.enter_context(serving(options.model, *words, port=port, **environment))[0]

        options.start = start
        with ThreadPoolExecutor(2) as threads:
            running = list(threads.map(start, servers))
        for classifier in classifiers:
            rows = zip(texts, classifier.predict(texts), strict=True)
            expected[head_version(classifier)] = {text: (row.label, row.uncertainty) for text, row in rows}
        result: dict[str, Any] = {}
        everything = [Counts()]
        if not options.without_throughput:
            for count in (1, 2):
                with nginx(folder / f"nginx{count}", servers[:count]) as port:
                    speed, counts = throughput(port, texts, expected, options.seconds)
                result[f"predictions/s, servers {count}"] = round(speed, 1)
                everything.append(counts)
        with nginx(folder / "nginx", servers) as port:
            events, facts = faults(options, heads, servers, port, running)
            asyncio.run(under_load(port, texts, expected, everything[0], events()))
        result |= facts
    report(options.store, everything, result)


def report(store: str, everything: list[Counts], result: dict[str, Any]) -> None:
    """Print the results, and exit with 1 if there was a fault."""
    counts = everything[0]
    gone = [missing(store, each) for each in everything]
    result |= {name: sum(each[name] for each in gone) for name in gone[0]}
    result |= {"wrong predictions": sum(each.wrong for each in everything)}
    result |= {"predictions": len(counts.ids), "acknowledged labels": len(counts.acknowledged)}
    result |= {"responses": {str(status): number for status, number in sorted(counts.statuses.items())}}
    if "predictions/s, servers 1" in result:
        result["ratio"] = round(result["predictions/s, servers 2"] / result["predictions/s, servers 1"], 2)
    print("| | |\n|---|---:|")
    for name, value in result.items():
        print(f"| {name} | {value} |")
    print(json.dumps(result))
    faulty = [result[name] for name in ("lost labels", "unknown ids", "wrong predictions")]
    sys.exit(any(faulty) or result["heads"] != 1 or not result["acknowledged labels"])


if __name__ == "__main__":
    main()
