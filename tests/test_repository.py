"""Files of the repository that no other test reads: workflows, citation, image and service of the server."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from aligned_entropy import __version__
from aligned_entropy.cli.app import app
from aligned_entropy.cli.server_options import ENVIRONMENT_PREFIX

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# Markers of tests that are long, or need programs of the system or downloads; the matrix of systems leaves them out.
OUTSIDE = ("exhaustive", "network", "browser", "nginx", "postgres", "prometheus")


def texts(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_few_rights_and_ends(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v6"))
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"] == {"persist-credentials": False}


def test_the_matrix_covers_the_supported_versions_without_programs_of_the_system():
    job = yaml.safe_load(texts(".github/workflows/tests.yml"))
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert job["jobs"]["tests"]["strategy"]["matrix"]["python"] == versions
    assert f">={versions[0]}" == PROJECT["project"]["requires-python"]
    assert job["env"]["WITHOUT"] == f"not ({' or '.join(OUTSIDE)})"
    markers = {marker.partition(":")[0] for marker in PROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(OUTSIDE) <= markers
    every_week = yaml.safe_load(texts(".github/workflows/newest.yml"))["jobs"]["newest"]["steps"][-1]["run"]
    assert every_week.endswith(f'-m "not ({" or ".join(OUTSIDE[1:])})"')
    guide = texts("CONTRIBUTING.md")
    assert [marker for marker in sorted(markers) if f"`{marker}`" not in guide] == []


def test_the_version_is_the_same_everywhere():
    assert PROJECT["project"]["version"] == __version__
    assert yaml.safe_load(texts("CITATION.cff"))["version"] == __version__


def test_the_image_and_the_service_set_options_of_the_server():
    command = next(found for found in app.registered_commands if found.callback.__name__ == "serve")
    options = {f"{ENVIRONMENT_PREFIX}_{name.upper()}" for name in command.callback.__annotations__}
    for name in ("deploy/Dockerfile", "deploy/alien.service"):
        used = set(re.findall(r"\bALIEN_[A-Z_]+\b", texts(name))) - {"ALIEN_CACHE"}
        assert {"ALIEN_MODEL", "ALIEN_HEAD", "ALIEN_API_KEY"} <= used <= options
    extras = set(PROJECT["project"]["optional-dependencies"])
    for name in re.findall(r"\[([a-z,]+)\]['\"]", texts("deploy/Dockerfile") + texts("deploy/alien.service")):
        assert set(name.split(",")) <= extras


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_service_is_one_that_systemd_accepts(tmp_path):
    unit = tmp_path / "alien.service"
    unit.write_text(texts("deploy/alien.service").replace("/opt/alien/bin/alien", "/bin/true"), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
