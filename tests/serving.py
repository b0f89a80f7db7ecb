"""`alien serve` as a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager


@contextmanager
def serving(model, *options, log):
    """Yields its process, a function that asks it, and its address; it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from aligned_entropy.cli import main; main()", "serve", model, *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    address = f"http://127.0.0.1:{port}"

    def ask(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()

    with open(log, "w") as stream:
        process = subprocess.Popen([*map(str, command), "--port", str(port)], stderr=stream, env=environment)
        try:
            deadline = time.time() + 60
            while True:
                try:
                    assert ask("/readyz") == b"ready\n"
                    break
                except (urllib.error.URLError, ConnectionError):
                    assert process.poll() is None, log.read_text()
                    assert time.time() < deadline, log.read_text()
                    time.sleep(0.1)
            yield process, ask, address
        finally:
            process.kill()
            process.wait()
