"""Data sets of the hub, with configurations; folders in the layout of the hub stand in for it."""

import json

import pytest

from aligned_entropy import DataError
from aligned_entropy.data import Table, load_data
from aligned_entropy.data.hub import read_hub

CONFIGURATIONS = """---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: files/sst2-train.jsonl
  - split: validation
    path: files/sst2-validation.jsonl
- config_name: cola
  data_files:
  - split: train
    path: files/cola-train.jsonl
---
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Working folder in which names of data sets are found as on the hub: ``glue``, ``owner/glue`` and ``single``."""
    for name in ("glue", "owner/glue"):
        for file in ("sst2-train", "sst2-validation", "cola-train"):
            path = tmp_path / name / "files" / f"{file}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"text": f"{name} {file}", "label": "x"}))
        (tmp_path / name / "README.md").write_text(CONFIGURATIONS)
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "train.jsonl").write_text(json.dumps({"text": "single", "label": "x"}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "split", "text"),
    [
        ("glue/sst2", "validation", "glue sst2-validation"),
        ("glue/cola", None, "glue cola-train"),
        ("owner/glue/sst2", "train", "owner/glue sst2-train"),
        ("single", None, "single"),
    ],
)
def test_a_configuration_is_named_after_the_data_set(name, split, text):
    assert read_hub(name, split)["text"][:] == [text]


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glue", r"glue: no configuration was named; its configurations are .*sst2.* Name one as glue/\w+:train"),
        ("glue/mnli", r"glue: there is no configuration 'mnli'; its configurations are .*sst2"),
        ("owner/glue/mnli", r"owner/glue: there is no configuration 'mnli'; .*cola"),
        ("glue/cola", r"glue/cola: there is no split 'test'; its splits are train\. Name one as glue/cola:train"),
        ("nobody/nothing", "'nobody/nothing' is not a file or folder here"),
        ("nobody/nothing/more", "'nobody/nothing/more' is not a file or folder here"),
    ],
)
def test_a_name_that_is_not_clear_lists_what_there_is(name, message):
    with pytest.raises(DataError, match=message):
        read_hub(name, "train" if name == "glue" else "test")


def test_a_split_follows_the_configuration_in_a_name(monkeypatch):
    asked = []
    monkeypatch.setattr("aligned_entropy.data.registry.read_hub", lambda *name: asked.append(name) or Table({}))
    for name in ("glue/sst2:validation", "owner/set/config:test", "owner/set", "set:train"):
        assert load_data(name).source == name
    assert asked == [("glue/sst2", "validation"), ("owner/set/config", "test"), ("owner/set", None), ("set", "train")]
