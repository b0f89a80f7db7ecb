"""Commands ``alien cache`` and ``alien doctor``."""

import json
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from aligned_entropy.cli import caching, doctor
from aligned_entropy.cli.caching import size_text
from fixtures.command_line import in_process

KEY = "0123456789abcdef" * 2


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "cache" / "features" / KEY / "hidden.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(range(256)) * 400)
    return path


def test_list_shows_kinds_and_sizes(entry):
    done = in_process("cache", "list")
    assert done.exit_code == 0
    assert str(entry.parents[2]) in done.stdout
    assert "features: hidden vectors and logits of texts        1" in done.stdout
    facts = json.loads(in_process("cache", "list", "--json").stdout)
    assert facts["kinds"]["features"]["entries"] == 1
    assert facts["kinds"]["wheels"] == {"entries": 0, "bytes": 0, "foreign": []}
    assert facts["bytes"] == facts["kinds"]["features"]["bytes"] >= 102_400
    assert facts["free_bytes"] > 0


def test_clear_asks(entry, monkeypatch):
    done = in_process("cache", "clear")  # no terminal
    assert done.exit_code == 2
    assert "add --yes" in " ".join(done.stderr.replace("│", " ").split())
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(caching, "sys", SimpleNamespace(stdin=terminal, stderr=sys.stderr))
    for answer in (False, True):
        monkeypatch.setattr(caching.typer, "confirm", lambda question, err, answer=answer: answer)
        done = in_process("cache", "clear", "features")
        assert done.exit_code == (0 if answer else 1)
        assert entry.exists() != answer
    assert done.stdout.startswith("deleted: 1 entries")


def test_clear_deletes_the_kinds_that_are_named(entry):
    assert in_process("cache", "clear", "wheels", "models", "--yes").exit_code == 0
    assert entry.exists()
    done = in_process("cache", "clear", "features", "--yes", "--json")
    assert json.loads(done.stdout)["entries"] == 1
    assert not entry.exists()
    assert in_process("cache", "clear").exit_code == 0  # nothing to ask about


@pytest.mark.parametrize("words", [["clear", "feature"], ["clear", ""], ["clear", "--kind", "features"], ["lists"]])
def test_wrong_words_delete_nothing(entry, words):
    done = in_process("cache", *words, "--yes") if words[0] == "clear" else in_process("cache", *words)
    assert done.exit_code == 2
    assert entry.exists()


def test_a_cache_that_is_a_file_is_one_line_of_error(tmp_path, whole_command):
    (tmp_path / "cache").write_text("")
    done = whole_command("cache", "list")
    assert done.returncode == 1
    assert done.stderr.startswith("alien: the cache ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (123_456_789, "123 MB"),
     (2.5e9, "2.5 GB"), (3e15, "3,000.0 TB")],
)  # fmt: skip
def test_sizes_are_written_in_decimal_units(size, text):
    assert size_text(size) == text


def facts_of(done):
    return json.loads(done.stdout)


def test_doctor_finds_nothing_wrong(entry, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("ALIEN_DATA")
    done = in_process("doctor")
    assert done.exit_code == 0, done.stdout
    assert "no problem found" in done.stdout
    assert f"ALIEN_CACHE={entry.parents[2]}" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "/" not in line) <= 80
    facts = facts_of(in_process("doctor", "--json"))
    assert facts["packages"]["torch"]["installed"] == metadata.version("torch")
    assert facts["devices"][-1]["device"] == "cpu"
    assert set(facts["extras"]) == {"peft", "plot", "serve", "postgres", "ui", "onnx", "ray", "setfit"}
    assert {"psycopg", "fastapi"} <= set(facts["extras"]["postgres"])  # an extra that contains another
    assert facts["cache"]["kinds"]["features"]["entries"] == 1
    assert "hf_secret" not in done.stdout + json.dumps(facts)


def test_doctor_finds_wrong_versions_and_missing_packages(monkeypatch):
    monkeypatch.delenv("ALIEN_DATA")
    versions = {"torch": "1.9", "peft": "0.1"}

    def version(name):
        if name in ("ray", "regex"):
            raise metadata.PackageNotFoundError(name)
        return versions.get(name, metadata.version(name))

    monkeypatch.setattr(doctor, "version", version)
    done = in_process("doctor", "--json")
    assert done.exit_code == 1
    problems = facts_of(done)["problems"]
    assert [problem.split()[0] for problem in problems] == ["torch", "regex", "peft"]
    assert problems[0].startswith("torch 1.9; >=2.6 is needed: pip install 'torch>=2.6'")
    assert problems[1].startswith("regex is missing")
    assert "pip install 'aligned-entropy[peft]'" in problems[2]
    shown = in_process("doctor").stdout
    assert "extra ray: without ray\n" in shown  # an extra that is not installed is no problem


def test_doctor_finds_folders_that_cannot_be_used(monkeypatch, tmp_path):
    monkeypatch.setenv("ALIEN_DATA", str(tmp_path / "nothing"))
    monkeypatch.setattr(doctor, "LITTLE_SPACE", float("inf"))
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    problems = facts_of(in_process("doctor", "--json"))["problems"]
    assert [problem.split()[0] for problem in problems] == ["nothing", "only", f"ALIEN_DATA={tmp_path / 'nothing'}"]


def test_doctor_works_without_torch(monkeypatch):
    monkeypatch.delenv("ALIEN_DATA")
    monkeypatch.setitem(sys.modules, "torch", None)
    done = in_process("doctor", "--json")
    assert done.exit_code == 1
    assert facts_of(done)["problems"][0].startswith("torch finds no device: import of torch")
