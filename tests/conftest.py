"""Every test is offline, and keeps what it caches to itself."""

import os

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # read when the libraries are first imported

import pytest

pytest_plugins = [
    f"fixtures.{name}"
    for name in ("browser", "command_line", "multilabel_models", "postgres", "serving", "token_models")
]


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    """No test sees another's features, downloads or data folder, nor leaves any."""
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALIEN_DATA", str(tmp_path / "no-data"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
