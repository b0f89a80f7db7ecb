"""Commands in sequence: each prints its result in the user's terms and the command to run next."""

import csv
import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest

from aligned_entropy import NotApplicableError
from aligned_entropy.cli.measuring import _goal
from aligned_entropy.cli.rule_notes import note_low_coverage, show_reachable
from aligned_entropy.saved.hub import describe_head
from aligned_entropy.selective import Goal, SelectionUnits, choose_threshold
from fixtures.command_line import in_process
from fixtures.review import saved_by_a_spreadsheet


def next_command(done, line=-1, **files):
    """Words of the command that was printed last, with files in place of its placeholders."""
    printed = done.stderr.splitlines()[line]
    assert printed.startswith("next: alien ")
    return [files.get(word.removesuffix(".csv"), word) for word in shlex.split(printed)[2:]]


def run(*arguments):
    done = in_process(*arguments)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if not line.startswith(("saved: ", "{"))]
    assert max(map(len, lines), default=0) <= 80
    return done


@pytest.fixture
def tickets(workplace, tmp_path):
    """Files of labeled texts, named as `alien divide` names them, whose columns have names of their own."""
    sources = {"train": "train", "held-out": "calibration", "more-held-out": "test", "test": "test"}
    for part, source in sources.items():
        rows = (workplace / f"{source}.jsonl").read_text()
        renamed = rows.replace('"text":', '"message":').replace('"label":', '"topic":')
        (tmp_path / f"{part}.jsonl").write_text(renamed)
    return {part: str(tmp_path / f"{part}.jsonl") for part in sources}


def test_the_commands_lead_from_a_training_to_predictions(workplace, tickets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"NEW": tickets["test"], "predictions": str(tmp_path / "predictions.csv")}
    columns = ("--text-column", "message", "--label-column", "topic")
    model = tmp_path / "my model"
    trained = run("train", workplace / "model", tickets["train"], *columns, "-o", model, "--freeze", "--epochs", "2")
    last = trained.stderr.split("epoch 2 of 2: loss 0.")[1].split("training accuracy ")[1].split()[0]
    assert trained.stdout.splitlines()[1] == f"training accuracy {last}; expect a lower accuracy on new texts"
    assert trained.stderr.count("training accuracy") == 2
    assert tickets["held-out"] in next_command(trained)
    fitted = run(*next_command(trained, **data))
    assert "error rate to expect on similar texts" in " ".join(fitted.stdout.split())
    assert "uncertainty and error_probability of a text are the same number" in fitted.stdout
    assert tickets["test"] in next_command(fitted)
    evaluated = run(*next_command(fitted, **data), "--resamples", "10")
    assert "aligned entropy" in evaluated.stdout
    assert evaluated.stdout.startswith("Review the most uncertain 20% of the texts and you find ")
    command = next_command(evaluated, **data)
    assert tickets["more-held-out"] in command
    place = command.index("--risk")
    command[place : place + 2] = "--coverage", "0.6"
    chosen = run(*command)
    assert "The risk is an average" in chosen.stdout
    report = ("--report", tmp_path / "report.html", "-o", tmp_path / "metrics.json")
    measured = run(*next_command(fitted, **data), "--resamples", "10", *report)  # the head has a threshold now
    assert measured.stdout.splitlines()[-2:] == [f"saved: {path}" for path in (report[3], report[1])]
    assert next_command(measured) == next_command(chosen)
    predicted = run(*next_command(chosen, **data))
    export, audit = (next_command(predicted, line=line) for line in (-2, -1))
    assert (export[:2], audit[:2]) == (["review", "export"], ["audit", "select"])
    exported = run(*export)
    reviewed = tmp_path / "review.csv"
    assert next_command(exported)[:3] == ["review", "import", "review.csv"]
    again = run(*next_command(chosen, **data))
    assert "review-2.csv" in next_command(again, line=-2), "review.csv may hold labels of people"
    saved_by_a_spreadsheet(reviewed, {(0, "label"): "negative"})
    imported = run(*next_command(exported))
    assert "None of these texts was drawn" in imported.stderr
    assert next_command(imported, PREDICTIONS=data["predictions"])[:3] == ["audit", "select", data["predictions"]]
    drawn = run(*audit, "--budget", 30)
    labels = tmp_path / "to-label.csv"
    with labels.open(encoding="utf-8-sig", newline="") as file:
        predictions = [row["prediction"] for row in csv.DictReader(file)]
    given = ["negative", *predictions[1:]] if predictions[0] != "negative" else ["positive", *predictions[1:]]
    saved_by_a_spreadsheet(labels, {(number, "label"): name for number, name in enumerate(given)})
    assert next_command(drawn)[:2] == ["audit", "report"]
    reported = run(*next_command(drawn))
    assert "accuracy on these" in reported.stdout
    imported = run(*next_command(reported))
    assert "texts that had a label already" not in imported.stdout
    refit = ["refit", str(model), "feedback.sqlite", *columns, "--head", "head"]
    assert next_command(imported)[: len(refit)] == refit
    again = run(*next_command(reported))
    assert "texts that had a label already, of which the latest counts: 30" in again.stdout
    assert "accepted" in (tmp_path / "predictions.csv").read_text().splitlines()[0]


def test_a_risk_that_cannot_be_certified_is_answered_with_those_that_can(workplace, tmp_path):
    head, data = tmp_path / "head", workplace / "test.jsonl"
    command = ("threshold", workplace / "model", data, "--head", workplace / "head", "-o", head, "--device", "cpu")
    refused = in_process(*command, "--risk", "0.0001")
    assert refused.exit_code == 1
    assert not head.exists()
    assert "certified risk" in refused.stderr
    assert "choosing from the table is a selection" in " ".join(refused.stderr.split())
    following = next_command(refused)
    assert following[: len(command) - 4] == [*map(str, command[:5])]
    done = run(*following, "--json")
    rule = json.loads(done.stdout)
    assert rule["goal"]["delta"] == 0.005  # .05 over the ten listed risks
    row = next(line for line in refused.stderr.splitlines() if line.startswith(f"{100 * rule['goal']['risk']:g}%"))
    threshold = rule["thresholds"][""]
    assert f"{threshold['accepted'] / threshold['answers']:.1%}" in row.split()
    assert describe_head(head)["rule"] == rule


def units_of(errors):
    """Predictions of which the first are the most certain."""
    return SelectionUnits(np.linspace(0.1, 0.9, len(errors), dtype=np.float32), errors, np.full(len(errors), ""))


def refuse():
    raise NotApplicableError("the tags have no names")


@pytest.mark.parametrize(
    ("units", "goal"),
    [
        (lambda: units_of((np.arange(200) > 150).astype(float)), ["--risk", 0.1]),
        (lambda: units_of((np.arange(200) % 3 == 0).astype(float)), ["--coverage", 0.8]),
        (lambda: units_of((np.arange(200) % 5 > 0).astype(float)), []),
        (lambda: units_of(np.zeros(0)), []),
        (refuse, []),
    ],
    ids=["a risk", "no risk", "mostly wrong", "no entities", "no names"],
)
def test_the_proposed_goal_can_be_reached(units, goal):
    classifier = SimpleNamespace(labeled_selection_units=lambda test: units())
    assert _goal(classifier, "test") == goal


@pytest.mark.parametrize(
    ("errors", "following"),
    [
        (
            np.arange(200) % 5 > 0,
            ["30% cannot be certified, either. The model is wrong on 80% of these predictions:",
             "a better model helps more than a threshold."],
        ),
        (
            np.arange(200) % 5 > 2,
            ["30% cannot be certified, either. The model is wrong on 40% of these predictions.",
             "A share of the predictions can be accepted without a guaranteed error rate:",
             "next: alien threshold model data.csv --head head --coverage 0.8"],
        ),
    ],
)  # fmt: skip
def test_without_a_reachable_risk_a_share_is_proposed_unless_most_predictions_are_wrong(errors, following, capsys):
    rule = choose_threshold(units_of(errors.astype(float)), Goal(risk=0.2))
    show_reachable(rule, ["threshold", "model", "data.csv", "--head", "head"])
    assert capsys.readouterr().err.splitlines() == following


def test_a_threshold_that_accepts_little_comes_with_what_accepts_more(capsys):
    errors, uncertainty = (np.arange(900) > 300).astype(float), np.linspace(0, 1, 900).astype(np.float32)
    units = SelectionUnits(uncertainty, errors, np.full(900, ""))
    for goal, is_noted in ((Goal(risk=0.1), True), (Goal(coverage=0.2), False), (Goal(risk=0.6), False)):
        note_low_coverage(choose_threshold(units, goal))
        assert ("Less than half of the predictions are accepted" in capsys.readouterr().err) == is_noted


def test_no_next_command_stands_beside_json(workplace, tmp_path):
    done = run("fit", workplace / "model", workplace / "calibration.jsonl", "-o", tmp_path / "head", "--json")
    assert json.loads(done.stdout)["examples"] == 300
    assert "next:" not in done.stderr


def test_inspect_shortens_long_lists_and_shows_the_threshold(workplace, tmp_path):
    arguments = ("threshold", workplace / "model", workplace / "test.jsonl", "--head", workplace / "head")
    run(*arguments, "--coverage", "0.8", "-o", tmp_path / "head")
    config = json.loads((tmp_path / "head" / "config.json").read_text())
    config["backbone"]["labels"] = [f"label {number}" for number in range(77)]
    (tmp_path / "head" / "config.json").write_text(json.dumps(config))
    shown = run("inspect", tmp_path / "head").stdout
    assert "backbone labels: 77 (label 0, label 1, label 2, label 3, label 4, label 5, …)" in " ".join(shown.split())
    value = config["rule"]["thresholds"][""]["value"]
    assert f"{value:.4g}" in shown
    facts = json.loads(run("inspect", tmp_path / "head", "--json").stdout)
    assert len(facts["backbone labels"]) == 77
    assert facts["rule"] == config["rule"]


def test_the_list_of_scores_needs_no_model():
    lines = run("evaluate", "--scores", "list").stdout.splitlines()
    rows = {line.split("  ")[0]: line.split() for line in lines}
    assert rows["entropy"][-2:] == ["–", "–"]
    assert rows["MC dropout SMP"][-2:] == ["20", "passes"]
    assert rows["attention probe"][-5:] == ["calibration", "1", "pass,", "6", "fits"]
    assert rows["HUQ softmax response + relative Mahalanobis"][-4:] == ["train,", "calibration", "6", "fits"]


@pytest.mark.parametrize(("scores", "noted"), [("MC dropout SMP", True), ("entropy", False)])
def test_the_time_of_more_passes_is_estimated_before_they_run(workplace, scores, noted):
    done = run(
        "evaluate", workplace / "model", workplace / "test.jsonl", "--scores", f"{scores},energy", "--resamples", "10"
    )
    warning = "warning: 20 more passes over 300 texts take less than a minute, unless they are stored."
    assert (warning in done.stderr.splitlines()) == noted
