"""UncertainTokenClassifier: from words to entities with their uncertainty, in the library and from the command line."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aligned_entropy import (
    CalibrationError,
    DataError,
    FitConfig,
    HeadMismatchError,
    NotFittedError,
    UncertainClassifier,
    UnsupportedModelError,
)
from aligned_entropy.backbones import batching
from aligned_entropy.classifier import UncertainTokenClassifier
from aligned_entropy.cli.app import app
from aligned_entropy.data import labeled_tokens, load_data
from aligned_entropy.evaluation.groups import AGGREGATIONS
from aligned_entropy.scores import HEAD
from fixtures import tiny
from fixtures.token_models import TAGS, sentences

QUICK = FitConfig(folds=3, betas=(300.0,))


@pytest.fixture(scope="session")
def tagger(token_model_folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return UncertainClassifier.from_pretrained(token_model_folder)


@pytest.fixture
def fitted(token_model_folder):
    own = UncertainClassifier.from_pretrained(token_model_folder)
    own.fit(sentences(own, 1), config=QUICK)
    return own


def test_a_model_of_words_is_met_by_its_own_class(token_model_folder, tagger, tmp_path):
    assert isinstance(tagger, UncertainTokenClassifier)
    assert (
        type(UncertainClassifier.from_pretrained(token_model_folder, task="token-classification"))
        is UncertainTokenClassifier
    )
    with pytest.raises(ValueError, match="no task 'ner'; there are text-classification, multi-label-"):
        UncertainClassifier.from_pretrained(token_model_folder, task="ner")
    tiny.model("Bert").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert type(UncertainClassifier.from_pretrained(tmp_path)) is UncertainClassifier


@pytest.mark.parametrize("rows", [2, 64])
def test_the_progress_of_a_prediction_counts_texts(rows, tagger, monkeypatch):
    monkeypatch.setattr(batching, "BATCH_ROWS", rows)
    progress = []
    tagger.predict(["the film is good", "bad", "good film", "a", "the story"], progress.append)
    assert sum(progress) == 5
    assert min(progress) >= 0
    assert len(progress) == -(-5 // rows)


def test_before_a_fit_a_word_has_the_entropy_of_its_tag(tagger):
    found = tagger.predict(["the film is good", "bad"])
    p = found.words.probabilities
    np.testing.assert_allclose(found.words.uncertainty, -(p * np.log(p)).sum(1) / np.log(3), atol=1e-6)
    assert found[0].error_probability is None
    assert found[0].uncertainty == pytest.approx(1 - np.prod(1 - found.words.uncertainty[:4]))
    assert all(entity.error_probability is None for row in found for entity in row.entities)


def test_entities_have_the_shape_that_users_of_the_pipeline_know(fitted):
    text = "One, two the film; is good. U.S. red-hot 3.5 x"
    (row,) = fitted.predict(text)
    assert [text[first:end] for first, end in row.offsets] == [
        "One", ",", "two", "the", "film", ";", "is", "good", ".", "U.S.", "red-hot", "3.5", "x",
    ]  # fmt: skip
    assert len(row.words) == 13
    assert row.entities
    for entity in row.entities:
        assert text[entity.start : entity.end] == entity.word
        fields = ["entity_group", "score", "word", "start", "end", "uncertainty", "error_probability"]
        assert list(entity.to_dict()) == fields
        inside = (row.offsets[:, 0] >= entity.start) & (row.offsets[:, 1] <= entity.end)
        assert entity.uncertainty == pytest.approx(row.words.uncertainty[inside].mean())
        assert entity.score == pytest.approx(row.words.probabilities[inside].max(1).mean())
        assert entity.entity_group == "X"
        assert 0 <= entity.error_probability <= 1
    assert row.uncertainty == pytest.approx(1 - np.prod(1 - row.words.uncertainty), abs=1e-6)
    assert 0 < row.error_probability < 1


def test_a_printed_prediction_shows_the_entities_without_arrays(fitted):
    (prediction,) = fitted.predict("One, two the film; is good. U.S. red-hot 3.5 x")
    assert " ".join(repr(prediction.entities[0]).split()) in " ".join(repr(prediction).split())
    assert "array(" not in repr(prediction)


def test_words_may_be_given(fitted):
    found = fitted.predict([["the", "film", "is"], "the film is", "\u200b x"])
    assert [row.text for row in found] == ["the film is", "the film is", "\u200b x"]
    assert [entity.word for entity in found[0].entities] == [entity.word for entity in found[1].entities]
    assert found[0].uncertainty == pytest.approx(found[1].uncertainty, abs=1e-5)
    assert found[0].offsets.tolist() == [[0, 3], [4, 8], [9, 11]]
    assert found[2].offsets.tolist() == [[2, 3]]
    assert found.to_pandas()["row"].tolist() == [row for row in range(3) for _ in found[row].entities]
    assert found.to_arrow().num_rows == len(found.to_pandas())
    assert len(fitted.predict([])) == 0
    with pytest.raises(DataError, match="text 1 is an int, not a string or a list of words: 3"):
        fitted.predict(["a", 3])
    with pytest.raises(DataError, match=r"text 0 is a list, not a string or a list of words: \['a', None\]"):
        fitted.predict([["a", None]])
    for blank in ("", [], " \n", [" "]):
        with pytest.raises(DataError, match="text 1 is empty"):
            fitted.predict(["a", blank])


def test_a_text_of_invisible_characters_has_no_entities(fitted):
    (row,) = fitted.predict("\u200b\u00ad")
    assert (row.entities, row.uncertainty, len(row.words)) == ([], 0.0, 0)


def test_answers_can_be_sliced_and_tables_of_batches_joined(tagger, fitted):
    texts = ["the film is good", "\u200b", "one two"]
    found = fitted.predict(texts)
    assert [row.text for row in found[1:]] == texts[1:]
    assert found[-1].text == "one two"
    assert found.error_probability.tolist() == [row.error_probability for row in found]
    joined = pa.concat_tables([fitted.predict(["\u200b"]).to_arrow(), found.to_arrow()])
    assert joined.num_rows == len(found.to_pandas())
    with pytest.raises(NotFittedError, match="sentences have no error probability"):
        _ = tagger.predict(texts).error_probability


def test_tags_in_another_order_are_refused(tagger):
    data = labeled_tokens(load_data(sentences(tagger, 1)), TAGS[::-1])
    with pytest.raises(DataError, match=r"labels I-X, B-X, O of 1 dimension.* are not the model's, O, B-X, I-X"):
        tagger.evaluate(data)


def test_the_class_the_task_and_the_backbone_belong_together(tagger, token_model_folder, tmp_path):
    tiny.model("Bert").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    assert type(UncertainTokenClassifier.from_pretrained(token_model_folder)) is UncertainTokenClassifier
    with pytest.raises(UnsupportedModelError, match="a UncertainTokenClassifier is for token-classification, but this"):
        UncertainTokenClassifier.from_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="needs a Backbone, not a TokenBackbone"):
        UncertainClassifier(tagger.backbone)
    with pytest.raises(DataError, match="task='token-classification' cannot be combined"):
        UncertainClassifier.from_pretrained(
            tmp_path, task="token-classification", labels={"a": "b", "c": "d"}, template="{text} x"
        )
    with pytest.raises(DataError, match="chat without labels"):
        UncertainClassifier.from_pretrained(tmp_path, chat=True)


def test_a_fit_holds_whole_sentences_out_and_calibrates_entities(fitted):
    test = sentences(fitted, 2, 300)
    found = fitted.evaluate(test, resamples=10)
    words, entities, whole = found.single_predictions, found.groups["entities"], found.groups["sentences"]
    assert set(words.table) >= {HEAD, "entropy", "softmax response"}
    assert words.table[HEAD]["ece"].value < 0.06
    assert set(entities.table) == {f"{name}, {how}" for name in words.table for how in AGGREGATIONS}
    assert entities.table[f"{HEAD}, mean"]["ece_platt"].value < 0.12
    assert whole.table[f"{HEAD}, product"]["ece_platt"].value < 0.12
    assert len(whole.errors) == 300
    assert whole.errors.sum() <= words.errors.sum()
    assert found.counts.predicted == len(entities.errors) == found.counts.right + entities.errors.sum()
    assert f"{found.counts.missed} of which no word was predicted" in str(found)
    assert "errors in 300 sentences" in str(found)
    assert all(f"{HEAD}, {how}" in str(found) for how in ("mean", "product"))
    assert ", max" not in str(found)


def test_with_a_calibration_set_every_score_is_calibrated_at_every_level(fitted, tmp_path):
    found = fitted.evaluate(
        sentences(fitted, 2), calibration=sentences(fitted, 1), scores=["entropy", "max logit"], resamples=10
    )
    table = found.groups["entities"].table
    assert set(table["entropy, product"]) >= {"ece", "ece_platt"}
    assert "max logit, product" not in table
    assert "ece_platt" in table["max logit, mean"]
    found.write_csv(tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        levels = {row["level"] for row in csv.DictReader(file)}
    assert levels == {"words", "entities", "sentences"}
    assert json.loads(json.dumps(found.to_dict()))["counts"]["f1"] == pytest.approx(found.counts.f1)


def test_a_head_comes_back_with_its_calibration_of_entities(fitted, token_model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(token_model_folder, head=tmp_path / "head")
    texts = ["the film is good", "one two three four"]
    assert again.predict(texts).to_dict() == fitted.predict(texts).to_dict()
    assert set(again.saved.group_maps) == {"entities", "sentences"}
    tiny.token_classifier("Bert", seed=5).save_pretrained(tmp_path / "other")
    tiny.tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(HeadMismatchError, match="not the model that this head was fitted for"):
        UncertainClassifier.from_pretrained(tmp_path / "other", head=tmp_path / "head")


def test_attached_every_token_has_its_own(fitted):
    batch = fitted.backbone.tokenizer(["the film is good", "bad"], return_tensors="pt", padding=True)
    fitted.attach()
    try:
        output = fitted.backbone.model(**batch)
    finally:
        fitted.detach()
    assert output.uncertainty.shape == output.error_probability.shape == output.logits.shape[:2]
    said = fitted.predict(["the film is good"]).words
    np.testing.assert_allclose(output.uncertainty[0, 1:5].numpy(), said.uncertainty, atol=1e-5)


def test_groups_that_no_fold_can_split_are_refused(tagger):
    data = sentences(tagger, 1, 4)
    with pytest.raises(DataError, match="does not have: B-Y"):
        tagger.fit({"tokens": [["a"]], "tags": [["B-Y"]]})
    long = {name: [[item for part in rows * 9 for item in part]] for name, rows in data.items()}
    with pytest.raises(
        CalibrationError, match="1 clusters, such as sentences, contain an error; 5 folds need at least 10"
    ):
        UncertainTokenClassifier(tagger.backbone).fit(long)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_from_the_command_line(tagger, token_model_folder, tmp_path):
    for name, seed in (("held-out", 1), ("test", 2)):
        rows = sentences(tagger, seed)
        lines = (json.dumps({"tokens": t, "tags": g}) for t, g in zip(rows["tokens"], rows["tags"], strict=True))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    done = run("fit", token_model_folder, tmp_path / "held-out.jsonl", "-o", tmp_path / "head")
    assert done.exit_code == 0, done.output
    done = run("evaluate", token_model_folder, tmp_path / "test.jsonl", "--head", tmp_path / "head", "--resamples", 10,
               "--csv", tmp_path / "m.csv", "--report", tmp_path / "r.html")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "errors in 150 sentences" in done.stdout
    assert "Predicted <b>B-X</b>" in (tmp_path / "r.html").read_text()
    out = tmp_path / "o.jsonl"
    done = run("predict", token_model_folder, tmp_path / "test.jsonl", "--head", tmp_path / "head", "-o", out)
    assert done.exit_code == 0, done.output
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(answers) == 150
    assert list(answers[0]) == ["tokens", "tags", "entities", "uncertainty", "error_probability", "row_error"]
    assert all(entity["entity_group"] == "X" for answer in answers for entity in answer["entities"])
    (tmp_path / "odd.csv").write_text('id,tokens\n1,"[""a"", ""film""]"\n')
    run("predict", token_model_folder, tmp_path / "odd.csv", "-o", tmp_path / "odd.jsonl")
    assert "the words are a string, not a list" in (tmp_path / "odd.jsonl").read_text()
    (tmp_path / "in.csv").write_text('id,text\n1,the film is good\n2,""\n')
    done = run("predict", token_model_folder, tmp_path / "in.csv", "-o", tmp_path / "o.csv")
    with open(tmp_path / "o.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert isinstance(json.loads(first["entities"]), list)
    assert second["row_error"] == "the text is empty"
    done = run("predict", token_model_folder, tmp_path / "in.csv", "-o", tmp_path / "o.parquet", "--probabilities")
    assert "predicts a tag for every word" in str(done.exception)


def test_a_column_from_a_variable_may_hold_texts(token_model_folder, tmp_path):
    (tmp_path / "in.csv").write_text("id,body\n1,the film is good\n")
    command = [sys.executable, "-m", "aligned_entropy", "predict", token_model_folder, "in.csv", "-o", "out.jsonl"]
    environment = os.environ | {"ALIEN_TEXT_COLUMN": "body"}
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment)
    answer = json.loads((tmp_path / "out.jsonl").read_text())
    assert answer["row_error"] is None
    assert isinstance(answer["entities"], list)


def test_an_empty_word_is_refused_by_python_and_by_the_command(tagger, token_model_folder, tmp_path):
    rows = [["a", "film"], ["a", ""], ["\t", "film"], [""]]
    for row, reason in ((1, "word 1 of text 1 is empty"), (2, "word 0 of text 1 is empty"), (3, "text 1 is empty")):
        with pytest.raises(DataError, match=reason):
            tagger.predict([rows[0], rows[row]])
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"tokens": words}) + "\n" for words in rows))
    arguments = ["predict", token_model_folder, tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    errors = [json.loads(line)["row_error"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert errors == [None, "word 1 is empty", "word 0 is empty", "the text is empty"]
