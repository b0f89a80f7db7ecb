"""Scores of other distributions: entry points, which are found by name and imported when they are used."""

import sys

import numpy as np
import pytest

from aligned_entropy.bench.cells import Cell
from aligned_entropy.bench.grid import Grid
from aligned_entropy.bench.runs import DataSpec, ModelSpec
from aligned_entropy.errors import ArgumentError, ArgumentTypeError, DataError
from aligned_entropy.evaluation.fitted_scores import fit_scores
from aligned_entropy.scores import SCORES, Score, arrays_of, make_score, score_names
from fixtures.command_line import in_process
from fixtures.scores import CALIBRATION, MODULE, TEST, TRAIN

CODE = """
import numpy as np
from aligned_entropy.scores import Score

class Norm(Score):
    name = "hidden norm"
    uses = ("train",)
    needs = ("hidden",)

    def _fit(self, train, calibration):
        self.mean_ = np.linalg.norm(train.hidden, axis=1).mean()

    def _score(self, features):
        return np.linalg.norm(features.hidden, axis=1) - self.mean_

class OfStates(Norm):
    name = "of states"
    needs = ("states",)

def second(features):
    return features.logits[:, 1]

short = lambda features: [0.5]
constant = 3
"""
ENTRIES = {"hidden norm": "norms:Norm", "second logit": "norms:second"}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Function that installs a distribution with a module and entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "norms", raising=False)

    def install(entries, name="norm-scores", version="1.2", code=CODE):
        (tmp_path / "norms.py").write_text(code)
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key} = {value}" for key, value in entries.items()]
        (folder / "entry_points.txt").write_text("\n".join(["[aligned_entropy.scores]", *lines]))
        return folder

    yield install
    sys.modules.pop("norms", None)


def test_a_score_of_another_distribution_is_used_by_name(install):
    install(ENTRIES | {"of states": "norms:OfStates"})
    assert score_names() == [*SCORES, *ENTRIES, "of states"]
    assert "norms" not in sys.modules  # names need no import
    assert arrays_of(["entropy", "of states"]) == {"states"}
    fitted, skipped = fit_scores(["entropy", "hidden norm", "second logit"], MODULE, TRAIN, CALIBRATION)
    assert (list(fitted), skipped) == (["entropy", *ENTRIES], {})
    expected = np.linalg.norm(TEST.hidden, axis=1) - np.linalg.norm(TRAIN.hidden, axis=1).mean()
    np.testing.assert_allclose(fitted["hidden norm"].score.score(TEST), expected, rtol=1e-6)
    np.testing.assert_array_equal(fitted["second logit"].score.score(TEST), TEST.logits[:, 1])
    assert fit_scores(["hidden norm"], MODULE, None, None)[1] == {
        "hidden norm": "hidden norm needs labeled train features."
    }
    assert make_score("second logit").name == "second logit"


@pytest.mark.parametrize(
    ("entries", "name", "message"),
    [
        ({"gone": "norms:Gone"}, "gone", r"'gone' of norm-scores==1.2 \(norms:Gone\) cannot be imported \(Attr"),
        ({"gone": "nomodule:Norm"}, "gone", r"'gone' of norm-scores==1.2 .* cannot be imported \(ModuleNotFoundError"),
        ({"norm": "norms:Norm"}, "norm", "of norm-scores==1.2 .* has the name 'hidden norm': give both one name"),
        ({"three": "norms:constant"}, "three", "of norm-scores==1.2 .* is no score: name a subclass of Score"),
        ({"entropy": "norms:second"}, "norm", "norm-scores==1.2 registers the score 'entropy', which is a score of"),
        ({"short": "norms:short"}, "short", r"the score short gives 1 finite numbers in the shape \[1\] for"),
    ],
)  # fmt: skip
def test_a_score_that_cannot_be_used_names_its_distribution(install, entries, name, message):
    install(entries)
    with pytest.raises(ArgumentError, match=message):
        fit_scores([name], MODULE, TRAIN, CALIBRATION)
    assert list(fit_scores(["entropy"], MODULE, None, None)[0]) == ["entropy"]  # the others are not touched


def test_an_import_that_raises_names_its_distribution(install):
    install(ENTRIES, code="raise RuntimeError('no licence')")
    with pytest.raises(ArgumentError, match=r"norm-scores==1\.2 .*RuntimeError: no licence"):
        arrays_of(["second logit"])


def test_two_distributions_with_one_name_are_refused(install):
    install(ENTRIES)
    install({"second logit": "norms:Norm"}, name="other-scores")
    with pytest.raises(ArgumentError, match="both register the score 'second logit'"):
        score_names()


def test_the_command_line_knows_scores_of_other_distributions(install, workplace):
    install({"second logit": "norms:second"})
    assert "second logit" in in_process("evaluate", "--scores", "list").stdout
    words = ["evaluate", "--outputs", workplace / "test-outputs.parquet", "--json", "--scores"]
    done = in_process(*words, "second logit,entropy")
    assert done.exit_code == 0, done.output
    assert '"second logit"' in done.stdout
    assert "no score second" in in_process(*words, "second").stderr.replace("\n", " ")


def test_doctor_lists_scores_of_other_distributions(install):
    folder = install({"second logit": "norms:second"})
    assert "score second logit: norm-scores==1.2" in in_process("doctor").stdout
    (folder / "entry_points.txt").write_text("[aligned_entropy.scores]\nsecond logit = norms:gone\n")
    assert "problem: the score 'second logit' of norm-scores==1.2" in in_process("doctor").stdout


GRID = """
models: {minilm: {base: minilm}}
datasets: {sst2: {}}
grid:
  - {study: STUDY, models: [minilm], datasets: {sst2: 1}, scores: SCORES}
"""


def cells(tmp_path, study, scores):
    path = tmp_path / "grid.yaml"
    path.write_text(GRID.replace("STUDY", study).replace("SCORES", scores))
    return Grid.read(path).cells


def test_a_grid_names_scores_of_other_distributions(install, tmp_path):
    folder = install(ENTRIES)
    (cell,) = cells(tmp_path, "scores", "[hidden norm]")
    (grouped,) = cells(tmp_path, "entities", '["second logit, mean"]')
    assert cell.make_score(MODULE).name == "hidden norm"
    assert grouped.make_score(None).name == "second logit"
    assert "hidden norm" not in [cell.score for cell in cells(tmp_path, "scores", "all")]
    for study, scores in (("ablation", "[hidden norm]"), ("entities", "[hidden norm]"), ("scores", "[norm]")):
        with pytest.raises(DataError, match=f"study '{study}': no score"):
            cells(tmp_path, study, scores)
    key = cell.key
    folder.rename(folder.with_name("norm_scores-1.3.dist-info"))
    metadata = folder.with_name("norm_scores-1.3.dist-info") / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    assert cell.key != key  # results of another version are computed again
    assert Cell("scores", "entropy", ModelSpec("m", "m"), DataSpec("d"), 0).key  # needs no distribution
    metadata.parent.rename(tmp_path / "uninstalled")
    with pytest.raises(ArgumentError, match="no score 'hidden norm': install its distribution"):
        _ = cell.key


class Nameless(Score):
    def _score(self, features):
        return features.logits[:, 0]


class Infinite(Nameless):
    name = "infinite"

    def _score(self, features):
        return np.where(np.arange(len(features)) == 3, np.inf, features.logits[:, 0])


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (Nameless, ArgumentError, "Nameless has no name: set the class attribute name"),
        (3, ArgumentTypeError, "3 is no score"),
        (dict, ArgumentTypeError, "is no score"),
        (Infinite, ArgumentError, r"the score infinite gives \d+ finite numbers in the shape \[\d+\] for"),
    ],
)
def test_what_is_no_score_is_refused(score, error, message):
    with pytest.raises(error, match=message):
        fit_scores([score], MODULE, TRAIN, CALIBRATION)
