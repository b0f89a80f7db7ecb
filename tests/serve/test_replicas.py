"""Two servers on one PostgreSQL behind nginx: one is killed under load and restarted, then the head is exchanged."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.sentiment import named

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve" / "replicas.py"

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.nginx,
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx on the path"),
]


def test_nothing_is_lost_when_one_of_two_servers_is_killed(served_folder, postgres, tmp_path):
    (tmp_path / "texts.json").write_text(json.dumps([{"text": text} for text in sorted(set(named(300, 21)["text"]))]))
    options = {
        "--model": served_folder / "model",
        "--head": served_folder / "head",
        "--other-head": served_folder / "other",
        "--store": postgres.new_database(),
        "--data": tmp_path / "texts.json",
        "--seconds": 0.3,
    }
    words = [str(word) for option in options.items() for word in option]
    done = subprocess.run(
        [sys.executable, SCRIPT, *words, "--without-throughput"],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["lost labels"], result["unknown ids"], result["wrong predictions"], result["heads"]) == (0, 0, 0, 1)
    assert result["acknowledged labels"] > 30
    assert set(result["responses"]) <= {"0", "200", "502", "503", "504"}
