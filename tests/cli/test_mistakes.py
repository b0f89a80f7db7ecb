"""Mistakes of newcomers: each is refused with what to do, before anything is computed or replaced."""

import re
import shutil

import pytest

from aligned_entropy.saved.hub import describe_head
from fixtures.command_line import in_process


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit {model} {data} --head head", "--head: a fit makes a new head: name its folder with --output"),
        ("fit {model} {data} -o head --quiet", "--quiet: write it before the command: alien --quiet"),
        ("predict {model} {data} --label-column=topic", "--label-column: predictions need no labels: leave it out"),
        ("evaluate {model} {data} --report report.pdf", "report.pdf: the page is HTML; name a file that ends in .html"),
        (
            "threshold {model} {data} --head {model} --risk .1",
            "holds a model, not a head: name the folder that alien fit",
        ),
        (
            "threshold {model} {data} --head {head}",
            "give one goal, such as --risk 0.1, .* given: none",
        ),
        ("threshold {model} {data} --head {head} --error-cost 3", "given: --error-cost"),
        ("threshold {model} {data} --head {head} --risk .1 --coverage .3", "given: --risk and --coverage"),
        ("threshold {model} {data} --head {head} --risk 5x", "5x is not a share: write 0.1, or 10%, for ten percent"),
        ("train {model} {data} -o {model}/..", "holds other files, such as .*: name another one, or write into"),
        ("threshold {model} {data} --head {head} --risk 5", "risk 5.0 is not between 0 and 1: write 0.05 for 5%"),
        ("predict {data} {model}", "this folder holds a model: commands take the model before the texts"),
        ("predict {model} gone", "there is no file gone: check the path"),
        ("fit {model} {data} -o head -q", "-q: write it before the command: alien -q"),
        ("fit {model} {data} -o head --device gpu", "no device 'gpu' on this machine: name one of cpu"),
        (
            "threshold {model} {data} --head {head} --risk .1 --sets 90",
            "alpha 90.0 is not between .*: write 0.1 for sets",
        ),
        ("evaluate {data} {model}", "holds a model, not data: commands and methods take the model before the data"),
        ("evaluate {model} {head}", "holds a head, not data: commands and methods take the model before the data"),
        ("predict {head} {data}", "holds a head, not a model: name its model, and the head with .*--head"),
    ],
)
def test_a_mistake_is_refused_with_what_to_do(workplace, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    places = {name: workplace / name for name in ("model", "head")}
    done = in_process(*(word.format(**places, data=workplace / "test.jsonl") for word in words.split()))
    assert done.exit_code != 0
    assert_says(done, message)
    assert not list(tmp_path.iterdir())


def assert_says(done, message):
    """Check what a command answers, whether it is wrong usage or failed work."""
    text = " ".join(f"{done.stderr} {done.exception}".replace("│", " ").split())
    assert re.search(message, text), text


def test_a_head_with_a_threshold_is_replaced_on_request(workplace, tmp_path):
    head = tmp_path / "head"
    shutil.copytree(workplace / "head", head)
    fit = ("fit", workplace / "model", workplace / "calibration.jsonl", "-o", head, "--no-views")
    replaced = in_process(*fit)
    assert replaced.exit_code == 0, replaced.output
    assert f"warning: the head in {head} is replaced" in replaced.stderr
    threshold = ("threshold", workplace / "model", workplace / "test.jsonl", "--head", head)
    for coverage in ("0.5", "60%"):  # another threshold replaces the old one
        chosen = in_process(*threshold, "--coverage", coverage)
        assert chosen.exit_code == 0
        assert ("replaces the threshold for 50% of the predictions accepted" in chosen.stderr) == (coverage == "60%")
        assert "both were chosen on the same texts" not in chosen.stderr  # nothing is promised about a coverage
    for risk, is_repeated in (("0.4", False), ("0.4", False), ("0.45", True)):
        chosen = in_process(*threshold, "--risk", risk)
        assert chosen.exit_code == 0, chosen.output
        assert ("both were chosen on the same texts" in chosen.stderr) == is_repeated
    assert_says(in_process(*fit), "holds a head with a threshold: name another folder with -o, or add --force")
    assert describe_head(head)["rule"]["goal"]["risk"] == 0.45
    with pytest.warns(UserWarning, match="held a head with a threshold or sets, and the new one has none"):
        assert in_process(*fit, "--force").exit_code == 0
    assert describe_head(head)["rule"] is None
