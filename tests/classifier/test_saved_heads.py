"""Heads that are saved, loaded, replaced and pushed to a hub; those of another model are refused."""

import copy
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from aligned_entropy import (
    DataError,
    FitConfig,
    HeadMismatchError,
    UncertainClassifier,
    UnsupportedModelError,
)
from aligned_entropy.evaluation.fitted_scores import BASELINES
from aligned_entropy.saved.format import head_fingerprint, save_head
from aligned_entropy.saved.hub import resolve_head
from aligned_entropy.selective import Goal, Rule, Threshold
from fixtures import tiny
from fixtures.fitted import QUICK
from fixtures.sentiment import named

NEW = named(200, 11)["text"]


def test_a_saved_head_brings_its_rivals_and_maps_along(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert list(again.saved.baselines) == list(fitted.saved.baselines) == list(BASELINES)
    pairs = [(fitted.saved.maps, again.saved.maps)]
    for name, rival in fitted.saved.baselines.items():
        assert again.saved.baselines[name].score.state == rival.score.state
        pairs.append((rival.maps, again.saved.baselines[name].maps))
    for before, after in pairs:
        assert np.array_equal(before.platt, after.platt)
        assert np.array_equal(before.isotonic, after.isotonic)
    assert len({maps.platt.tobytes() for maps, _ in pairs}) >= 4  # each has its own
    test = named(300, 3)
    first, second = (classifier.evaluate(test, resamples=10) for classifier in (fitted, again))
    assert first.to_dict() == second.to_dict()


def test_a_head_without_rivals_and_maps_is_saved_and_evaluated_too(fitted, model_folder, tmp_path):
    save_head(replace(fitted.saved, baselines={}, maps=None), tmp_path / "head")
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert again.saved.baselines == {}
    assert again.saved.maps is None
    evaluation = again.evaluate(named(300, 3), resamples=10)
    assert set(evaluation.table) == {"softmax response", "entropy", "margin", "aligned entropy"}
    assert not [name for name in evaluation.table["aligned entropy"] if name.endswith(("_platt", "_isotonic"))]


@pytest.mark.parametrize("config", [QUICK, FitConfig.paper()])
@pytest.mark.parametrize("reference", [False, True])
def test_a_saved_head_says_the_same(model_folder, labeled, tmp_path, config, reference):
    classifier = UncertainClassifier.from_pretrained(model_folder)
    known = named(600, 1) if reference else None
    classifier.fit(labeled, config=config, reference=known)
    classifier.save_pretrained(tmp_path / "head")
    assert {p.name for p in (tmp_path / "head").iterdir()} == {"config.json", "head.safetensors", "README.md"}
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    first, second = classifier.predict(NEW), again.predict(NEW)
    assert np.array_equal(first.uncertainty, second.uncertainty)
    assert np.array_equal(first.error_probability, second.error_probability)
    evaluated = again.evaluate(named(300, 3), resamples=20)
    assert "temperature-scaled entropy" in evaluated.table


def test_a_head_survives_half_precision(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    half = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head", dtype=torch.bfloat16)
    predictions = half.predict(NEW)
    assert predictions.error_probability.dtype == np.float32
    assert np.corrcoef(predictions.error_probability, fitted.predict(NEW).error_probability)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("part", "values"), [("encoder", "the vectors that its classification module reads"), ("classifier", "its logits")]
)
def test_a_changed_model_is_refused(fitted, model_folder, tmp_path, part, values):
    fitted.save_pretrained(tmp_path / "head")
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    torch.manual_seed(5)
    with torch.no_grad():
        changed = model.bert.encoder if part == "encoder" else model.classifier
        for parameter in changed.parameters():
            parameter.add_(torch.randn_like(parameter))
    other = tmp_path / "other"
    shutil.copytree(model_folder, other)
    model.save_pretrained(other)
    with pytest.raises(HeadMismatchError, match=rf"other is not the model .*sentiment\): .* probe, {values} differ by"):
        UncertainClassifier.from_pretrained(other, head=tmp_path / "head")
    config = json.loads((tmp_path / "head" / "config.json").read_text())
    config["backbone"]["name"] = str(other)
    (tmp_path / "head" / "config.json").write_text(json.dumps(config))
    with pytest.raises(HeadMismatchError, match="of the same name: trained again, replaced, or in another folder"):
        UncertainClassifier.from_pretrained(other, head=tmp_path / "head")


def test_a_head_of_another_architecture_is_refused_before_anything_of_it_is_used(fitted, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    tiny.model("Llama").save_pretrained(tmp_path / "llama")
    tiny.tokenizer("decoder").save_pretrained(tmp_path / "llama")
    message = r"fitted for a BertForSequenceClassification \(.*\), but this model is a LlamaForSequenceClassification"
    with pytest.raises(HeadMismatchError, match=message):
        UncertainClassifier.from_pretrained(tmp_path / "llama", head=tmp_path / "head")
    with pytest.raises(HeadMismatchError, match=message):
        UncertainClassifier.from_pretrained(tmp_path / "llama").load_head(tmp_path / "head")


def test_a_head_that_is_saved_over_another(fitted, labeled, model_folder, tmp_path):
    """Who has loaded the old one keeps it; half of each is no head."""
    fitted.save_pretrained(tmp_path / "head")
    kept = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert head_fingerprint(kept.saved) == head_fingerprint(fitted.saved)
    before = kept.predict(NEW).uncertainty
    other = UncertainClassifier.from_pretrained(model_folder)
    other.fit({name: values[:200] for name, values in labeled.items()}, config=QUICK)
    config = (tmp_path / "head" / "config.json").read_text()
    other.save_pretrained(tmp_path / "head")
    assert head_fingerprint(other.saved) != head_fingerprint(kept.saved)
    assert np.array_equal(kept.predict(NEW).uncertainty, before)
    assert {p.name for p in (tmp_path / "head").iterdir()} == {"config.json", "head.safetensors", "README.md"}
    again = UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")
    assert head_fingerprint(again.saved) == head_fingerprint(other.saved)
    (tmp_path / "head" / "config.json").write_text(config)
    with pytest.raises(HeadMismatchError, match=r"does not belong to its config\.json"):
        UncertainClassifier.from_pretrained(model_folder, head=tmp_path / "head")


def test_a_threshold_is_part_of_what_a_head_says(fitted, labeled):
    own, rule = copy.copy(fitted), Rule(Goal(coverage=0.5), {"": Threshold(0.3, 1, 1, 0, 1.0, 0.0, "")})
    own.saved = replace(fitted.saved, rule=rule)
    assert head_fingerprint(own.saved) != head_fingerprint(fitted.saved)


def test_broken_heads_are_refused(fitted, model_folder, tmp_path):
    fitted.save_pretrained(tmp_path / "head")
    with pytest.raises(HeadMismatchError, match="holds no head"):
        UncertainClassifier.from_pretrained(model_folder, head=model_folder)
    damaged = tmp_path / "damaged"
    shutil.copytree(tmp_path / "head", damaged)
    tensors = damaged / "head.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:200])
    with pytest.raises(HeadMismatchError, match="damaged"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)
    (damaged / "config.json").write_text("{}")
    with pytest.raises(HeadMismatchError, match="not the config of a head"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)
    (damaged / "config.json").write_text('{"format": 99}')
    with pytest.raises(HeadMismatchError, match="format 99"):
        UncertainClassifier.from_pretrained(model_folder, head=damaged)


def test_names_that_lead_nowhere_are_refused(model_folder, tmp_path):
    with pytest.raises(UnsupportedModelError, match="nosuchmodel"):
        UncertainClassifier.from_pretrained("nosuchmodel")
    with pytest.raises(UnsupportedModelError, match="no folder"):
        UncertainClassifier.from_pretrained(tmp_path / "gone")
    with pytest.raises(HeadMismatchError, match="nosuchhead"):
        UncertainClassifier.from_pretrained(model_folder, head="nosuchhead")


def test_a_head_never_overwrites_a_model(fitted, model_folder, tmp_path):
    for name in ("model", "adapter"):
        place = tmp_path / name
        place.mkdir()
        config = "config.json" if name == "model" else "adapter_config.json"
        (place / config).write_text('{"model_type": "bert"}')
        with pytest.raises(DataError, match="holds a model, whose files would be overwritten: name another folder"):
            fitted.save_pretrained(place)
        assert [path.name for path in place.iterdir()] == [config]


@pytest.mark.parametrize("name", ["README.md", "config.json"])
def test_a_head_overwrites_only_the_files_of_a_head(fitted, tmp_path, name):
    place = tmp_path / "place"
    place.mkdir()
    (place / name).write_text("{}")
    with pytest.raises(DataError, match=f"holds {name} of something else, which would be overwritten"):
        fitted.save_pretrained(place)
    assert [path.name for path in place.iterdir()] == [name]
    with pytest.raises(DataError, match=f"{name} is a file, and a head needs a folder: name another one"):
        fitted.save_pretrained(place / name)
    for _ in range(2):
        fitted.save_pretrained(tmp_path / "head")


def test_push_and_load_from_a_hub(fitted, model_folder, labeled, tmp_path, monkeypatch):
    """The hub is a folder here: uploads and downloads are copies."""
    import huggingface_hub

    hub = tmp_path / "hub"

    def create_repo(self, repo_id, **_):
        (hub / repo_id).mkdir(parents=True, exist_ok=True)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)

    def list_repo_files(self, repo_id):
        return [path.name for path in (hub / repo_id).iterdir()]

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, **_: str(hub / repo_id))
    assert "team/head" in fitted.push_to_hub("team/head")
    card = (hub / "team/head" / "README.md").read_text()
    assert "library_name: aligned-entropy" in card
    assert "base_model" not in card  # a local path is no hub id
    again = UncertainClassifier.from_pretrained(model_folder, head="team/head")
    assert np.array_equal(again.predict(NEW).uncertainty, fitted.predict(NEW).uncertainty)
    assert "team/head" in fitted.push_to_hub("team/head"), "a head may be replaced"
    shutil.copytree(model_folder, hub / "team/model")
    with pytest.raises(DataError, match="repository team/model holds a model"):
        fitted.push_to_hub("team/model")


def test_a_name_that_is_no_head_is_named_with_a_similar_folder(tmp_path):
    (tmp_path / "head").mkdir()
    with pytest.raises(HeadMismatchError, match=r"no folder '.*haed' \(did you mean .*head\?\), and it is no hub id"):
        resolve_head(tmp_path / "haed")
    with pytest.raises(
        HeadMismatchError, match=r"no head 'nobody/nothing': .* no such folder, and the hub cannot be reached: "
    ):
        resolve_head("nobody/nothing")
