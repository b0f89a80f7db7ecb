"""Every test is offline, and keeps what it caches to itself."""

import gc
import os

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"  # read when the libraries are first imported
os.environ.update(RAY_worker_niceness="0")  # by default Ray's workers would wait for the tests of other processes

from unittest.mock import patch

import pytest

pytest_plugins = [
    f"fixtures.{name}"
    for name in [
        "browser",
        "command_line",
        "fitted",
        "grids",
        "guides",
        "multilabel_models",
        "postgres",
        "serving",
        "token_models",
    ]
]


def pytest_collection_modifyitems(items):
    """Skip tests that need Unix on Windows."""
    for item in items:
        if os.name == "nt" and item.get_closest_marker("unix"):
            item.add_marker(pytest.mark.skip(reason="needs signals, links or permissions of Unix"))


def pytest_collection_finish():
    spare_the_garbage_collector()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.path != item.path:
        spare_the_garbage_collector()


def spare_the_garbage_collector():
    """Look no more for garbage among what exists now, which is thousands of tests and all libraries and stays.

    Otherwise every collection takes seconds at the end, and some libraries ask for one after each training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    """No test sees another's features, downloads, data folder or variables of the environment, nor leaves any."""
    monkeypatch.setenv("ALIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ALIEN_DATA", str(tmp_path / "no-data"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    with patch.dict(os.environ):  # a command that runs in the process of the test sets options of libraries
        yield
