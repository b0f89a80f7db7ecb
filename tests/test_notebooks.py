"""The notebooks of examples/ run: with tiny models and few texts, and, online, with those that they name."""

import bz2
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aligned_entropy.data.wheels import EMBEDDED_DATA, EMBEDDED_MODELS
from fixtures import sentiment, tiny

nbformat = pytest.importorskip("nbformat", reason="the notebooks need nbclient and ipykernel")

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
GROUPS = [
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "sci.electronics",
    "misc.forsale",
    "rec.autos",
]
EXPECTED = {  # words that the last steps of a notebook print
    "3_audit": "of the intervals contain the truth",
    "2_label_words": "wrong, surer half by the head",
    "1_tickets": "of the errors",
}


def place(name: str) -> Path:
    """Folder in the cache where the files of an embedded model or data set are looked for."""
    wheel = (EMBEDDED_MODELS | EMBEDDED_DATA)[name]
    return Path(os.environ["ALIEN_CACHE"]) / "wheels" / f"{name}-{wheel.sha256[:12]}"


def write_newsgroups(folder: Path) -> None:
    """Write few posts in the form of the embedded data set: words that lean to a group, which is not always theirs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = [*sentiment.GOOD, *sentiment.BAD, *sentiment.OTHER]
    for split, count in (("train", 900), ("test", 400)):
        lines = []
        for row in range(count):
            group = int(rng.integers(len(GROUPS)))
            text = [*rng.choice(words[2 * group : 2 * group + 4], 6), *rng.choice(words, 4), f"{split}{row}"]
            label = GROUPS[group if rng.random() < 0.7 else 0]
            lines.append(f"{label}\t{' '.join(text)}")
        header = ["class\ttext", "discrete\tstring", "class\tmeta"]
        (folder / f"20newsgroups-{split}.tab").write_text("\n".join([*header, *lines]))


def write_reviews(folder: Path) -> None:
    """Write short reviews in the form of the embedded data set."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    texts = [" ".join([*rng.choice(tiny.WORDS, 6), f"{row}"]) for row in range(700)]
    reviews = pd.DataFrame({"category": rng.choice(["fresh", "rotten"], 700), "text": texts})
    (folder / "rotten_tomatoes_corpus.csv.bz2").write_bytes(bz2.compress(reviews.to_csv(index=False).encode()))


@pytest.fixture
def stand_ins():
    """Put tiny models and data sets where the embedded ones would be after their download."""
    write_newsgroups(place("20newsgroups"))
    write_reviews(place("rotten-tomatoes"))
    sentiment.save(place("minilm"))
    place("smollm2").mkdir()
    (place("smollm2") / "model.gguf").touch()  # converted already, as far as anybody looks
    checkpoint = place("smollm2").parents[1] / "models" / place("smollm2").name
    tiny.language_model("Llama").save_pretrained(checkpoint)
    tiny.subwords().save_pretrained(checkpoint)


def execute(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a notebook and return the text of its outputs."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # for lines that begin with !
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    notebook = runpy.run_path(str(EXAMPLES / "execute.py"))["executed"](path, folder)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text", "") or str(output.get("data", "")) for output in outputs)


@pytest.mark.notebook
@pytest.mark.filterwarnings("default")  # of the programs that run notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_stand_ins(path, tmp_path, monkeypatch, stand_ins):
    printed = execute(path, tmp_path, monkeypatch)
    assert EXPECTED[path.stem] in printed


@pytest.mark.network
@pytest.mark.notebook
@pytest.mark.skipif(os.environ.get("ALIEN_NETWORK") != "1", reason="downloads wheels: set ALIEN_NETWORK=1")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_what_it_names(path, tmp_path, monkeypatch):
    assert EXPECTED[path.stem] in execute(path, tmp_path, monkeypatch)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_has_its_outputs(path):
    """Outputs are those of one run from the first cell to the last, without messages of other programs."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= 12
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert path.stat().st_size < 150_000


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3
