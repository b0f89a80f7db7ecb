"""Views on the command line: fit with them, the size that inspect shows, and the preset that has none."""

import json

from fixtures.command_line import in_process


def test_a_head_is_fitted_with_views_unless_they_are_refused(workplace, tmp_path, monkeypatch):
    from aligned_entropy.head import selection

    monkeypatch.setattr(selection, "_finds_errors", lambda *_: True)
    monkeypatch.setattr(selection.GainPrior, "posterior_mean", lambda self, gain, standard_error: 1 + gain)
    monkeypatch.setattr(selection.GainPrior, "minimum", lambda self, standard_error: -1.0)
    candidates = {}
    for option in ("--views", "--no-views", None):
        head = tmp_path / str(option)
        arguments = ("fit", workplace / "model", workplace / "calibration.jsonl", "-o", head)
        done = in_process(*arguments, *[word for word in [option] if word])
        assert done.exit_code == 0, done.output
        facts = json.loads(in_process("inspect", head, "--json").output)
        candidates[option] = [name for name in facts["candidates"] if "views" in name]
        assert facts["bytes of views"] < facts["bytes"]
        assert (facts["bytes of views"] > 0) == bool(facts["views"])
    assert candidates["--views"] == candidates[None] != []
    assert not candidates["--no-views"]


def test_the_published_recipe_has_no_views(workplace, tmp_path):
    arguments = ("fit", workplace / "model", workplace / "calibration.jsonl", "-o", tmp_path / "head")
    done = in_process(*arguments, "--preset", "paper", "--views")
    assert done.exit_code == 2
    assert "--preset paper cannot be combined with --views" in " ".join(done.output.split())
