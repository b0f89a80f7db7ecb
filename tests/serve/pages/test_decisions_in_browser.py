"""Decisions on the page for predictions, in a real browser: rules, sets, entities, labels, and failures."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aligned_entropy import SetGoal, UncertainClassifier
from aligned_entropy.selective import Goal, choose_threshold
from fixtures.browser import serving_here
from fixtures.multilabel_models import texts as multilabel_texts
from fixtures.predict_page import downloaded, enter, shown, slide
from fixtures.sentiment import named
from fixtures.serving import up_to
from fixtures.token_models import sentences

pytestmark = pytest.mark.browser


def test_the_table_can_be_searched_reduced_and_ordered(served_folder, served_classifier, visitor):
    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        texts = named(20, 8)["text"]
        enter(visitor, [*texts, "a <b>STRANGE</b> thing"])
        everything = shown(visitor)
        assert [row[0] for row in everything] == [*texts, "a <b>STRANGE</b> thing"]
        visitor.find("#order").send_keys("most")
        numbers = [float(row[2]) for row in shown(visitor)]
        assert numbers == sorted(numbers, reverse=True)
        visitor.find("#decided").send_keys("def")
        deferred = [row for row in everything if row[3] == "deferred"]
        assert 0 < len(deferred) < 21
        assert sorted(shown(visitor)) == sorted(deferred)
        assert f"; {len(deferred)} rows match" in visitor.text("#summary")
        visitor.find("#decided").send_keys("all")
        visitor.find("#search").send_keys("</b>strange")
        assert shown(visitor) == []
        visitor.find("#search").clear()
        visitor.find("#search").send_keys("strange</B>")
        assert [row[0] for row in shown(visitor)] == ["a <b>STRANGE</b> thing"]
        assert "; 1 row matches" in visitor.text("#summary")
        assert len(downloaded(visitor)) == 21, "the file has all rows"
        enter(visitor, texts[:3])
        assert [row[0] for row in shown(visitor)] == texts[:3], "a new run shows all rows as entered"


def test_the_end_of_a_long_text_is_folded_away(served_folder, served_classifier, visitor):
    spaced, joined = "good " * 100 + "end", "😀" * 300
    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, [spaced, joined, "short"], 3)
        remark = " (too long: the model did not read all of it)"
        for row, text, start in ((0, spaced, "good " * 60), (1, joined, "😀" * 150)):
            assert shown(visitor)[row][0].removesuffix(remark) == start.strip()
            visitor.find_all("#rows details > summary")[row].click()
            assert shown(visitor)[row][0].removesuffix(remark).replace(" ", "") == text.replace(" ", "")
        assert len(visitor.find_all("#rows details")) == 2


def test_the_decisions_of_the_page_are_those_of_the_rule(served_classifier, visitor, tmp_path):
    saved = served_classifier.saved
    goal = Goal(risk=0.2, delta=0.2, per_class=True)
    served_classifier.saved = replace(saved, rule=choose_threshold(saved.selection_units, goal, saved.fit_units))
    texts = named(300, 8)["text"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text, "=n": 1}) + "\n" for text in ["", *texts]))
    predictions = served_classifier.predict(texts)
    with serving_here(served_classifier) as (address, _):
        visitor.driver.get(f"{address}/ui/")
        assert visitor.text("#target-value") == "20.0%"
        visitor.find("#file").send_keys(str(tmp_path / "in.jsonl"))
        visitor.wait(lambda: "300 of 301 texts have a prediction" in visitor.text("#summary"))
        shares = set()
        for percent in (None, 10, 15.5, 30):
            rule = served_classifier.saved.rule
            if percent is not None:
                slide(visitor, percent)
                goal = replace(rule.goal, risk=percent / 100)
                rule = choose_threshold(saved.selection_units, goal, saved.fit_units)
            expected = rule.accepts(predictions.uncertainty, predictions.labels)
            first, *rows = downloaded(visitor)
            assert [row["accepted"] for row in rows] == [str(decision) for decision in expected.tolist()]
            assert f"{expected.sum()} of 300 predictions are accepted" in visitor.text("#summary")
            assert (first["accepted"], first["row_error"]) == ("False", "the text is empty")
            assert first["'=n"] == "1"
            shares.add(expected.sum())
        assert len(shares) > 2
        assert shown(visitor)[0] == ["", "the text is empty"], "rows without a prediction come first"
        marker = float(visitor.find("#operating-point").get_attribute("cx").rstrip("%"))
        units = saved.selection_units
        assert marker == pytest.approx(100 * rule.accepts(units.uncertainty, units.labels).mean())


def test_the_model_fails_on_a_text_and_then_on_all(served_folder, served_classifier, visitor):
    predict = served_classifier.predict

    def failing(texts):
        if "awful" in "".join(texts):
            raise RuntimeError
        return predict(texts)

    with serving_here(served_classifier, served_folder / "head") as (address, server):
        served_classifier.predict = failing
        visitor.driver.get(f"{address}/ui/")
        visitor.find("#texts").send_keys("a great film\nawful\nit was dull")
        visitor.find("#predict").click()
        visitor.wait(lambda: "2 of 3 texts have a prediction" in visitor.text("#summary"))
        assert shown(visitor)[1] == ["awful", "the model failed on this text"]
        server.batcher.thread.shutdown()
        visitor.find("#predict").click()
        visitor.wait(lambda: "0 of 3 texts have a prediction" in visitor.text("#summary"))


def test_a_head_that_is_exchanged_keeps_its_own_threshold(served_folder, served_classifier, visitor):
    reason = "The head was exchanged after the page was loaded: reload the page."
    with serving_here(served_classifier, served_folder / "head") as (address, server):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, ["a great film"])
        assert reason not in visitor.text("#summary")
        server.head.replace(served_folder / "other")  # it has no threshold
        enter(visitor, ["a great film", "it was dull"])
        assert visitor.text("#summary") == f"2 of 2 texts have a prediction. {reason}"
        assert {row[3] for row in shown(visitor)} == {""}
        assert "accepted" not in downloaded(visitor)[0]
        visitor.driver.execute_script("arguments[0].dispatchEvent(new Event('input'))", visitor.find("#target"))
        visitor.wait(lambda: visitor.text("#exchanged") == reason)


def test_sets_are_hidden_for_another_threshold(served_folder, served_classifier, visitor):
    served_classifier.choose_sets(named(500, 3), SetGoal(alpha=0.3))
    texts = named(40, 9)["text"]
    words = [
        "" if names is None else "any class" if len(names) == 2 else names[0]
        for names in served_classifier.predict(texts).sets
    ]
    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, texts)
        assert [row[3].removeprefix("accepted").removeprefix("deferred").strip() for row in shown(visitor)] == words
        assert {row["label_set"] != "" for row in downloaded(visitor)} == {True, False}
        slide(visitor, 20.0)
        visitor.wait(
            lambda: "Sets of classes are shown only for the threshold of the head." in visitor.text("#summary")
        )
        assert {row[3] for row in shown(visitor)} == {"accepted", "deferred"}
        assert {row["label_set"] for row in downloaded(visitor)} == {""}


def test_single_entities_are_accepted(token_model_folder, visitor):
    classifier = UncertainClassifier.from_pretrained(token_model_folder)
    lines = [" ".join(words) for words in sentences(classifier, 5, 6)["tokens"]]
    entities = [entity for row in classifier.predict(lines) for entity in row.entities]
    limit = float(np.median([entity.uncertainty for entity in entities]))
    classifier.saved = replace(classifier.saved, rule=up_to(limit))
    expected = [entity.uncertainty <= limit for entity in entities]
    with serving_here(classifier) as (address, _):
        visitor.driver.get(f"{address}/ui/")
        assert not visitor.find_all("#target"), "there are no labeled predictions"
        enter(visitor, lines)
        assert f"{sum(expected)} of {len(expected)} entities are accepted" in visitor.text("#summary")
        decisions = [entity.text.split()[-1] for entity in visitor.find_all(".entity")]
        assert decisions == ["accepted" if accepted else "deferred" for accepted in expected]
        written = [entity for row in downloaded(visitor) for entity in json.loads(row["entities"])]
        assert [entity.pop("accepted") for entity in written] == expected
        assert [entity["word"] for entity in written] == [entity.word for entity in entities]
        visitor.wait(lambda: visitor.find_all("#words li"))


def test_many_labels_are_shown_together_and_an_untrained_head_decides_nothing(multilabel_model_folder, visitor):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    texts = multilabel_texts(4, 5)["text"]
    expected = [", ".join(row.labels) or "none" for row in classifier.predict(texts)]
    with serving_here(classifier) as (address, _):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, texts)
        assert [row[1] for row in shown(visitor)] == expected
        assert visitor.text("#measure") == "Uncertainty"
        assert "accepted" not in visitor.text("#results")
        assert "accepted" not in downloaded(visitor)[0]
