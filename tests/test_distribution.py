"""The distributions: what is in them, and that the wheel works in a fresh environment."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from aligned_entropy import __version__

pytestmark = pytest.mark.package

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("aligned_entropy", "tests", "CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md",
           "constraints.txt", "pyproject.toml")  # fmt: skip


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Folder with a source distribution and the wheel that is built from it, and the folder of the sources."""
    pytest.importorskip("build", reason="needs the extra test")
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, sources / name, ignore=shutil.ignore_patterns("__pycache__", "stored"))
        else:
            shutil.copy(path, sources / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", sources / "dist", sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return sources / "dist", sources


def test_the_wheel_holds_the_package_and_nothing_else(distributions):
    folder, sources = distributions
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        facts = email.message_from_bytes(wheel.read(f"aligned_entropy-{__version__}.dist-info/METADATA"))
    package = {p.relative_to(sources).as_posix() for p in (sources / "aligned_entropy").rglob("*") if p.is_file()}
    assert {"aligned_entropy/py.typed", "aligned_entropy/__init__.py"} <= package
    assert {name for name in names if ".dist-info/" not in name} == package
    assert f"aligned_entropy-{__version__}.dist-info/licenses/LICENSE" in names
    assert (facts["Version"], facts["License-Expression"]) == (__version__, "Apache-2.0")
    assert facts["Description-Content-Type"] == "text/markdown"
    assert facts["Requires-Python"] == ">=3.11"


def test_the_source_distribution_holds_what_a_build_needs(distributions):
    folder, sources = distributions
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert set(SOURCES) - {"aligned_entropy", "tests"} <= names
    outside = {name for name in names if not name.startswith(("aligned_entropy/", "aligned_entropy.egg-info/"))}
    assert outside == set(SOURCES) - {"aligned_entropy", "tests"} | {"PKG-INFO", "setup.cfg"}


@pytest.fixture(scope="module")
def fresh(distributions, tmp_path_factory):
    """Scripts of a fresh environment with the wheel; the dependencies are those of this environment."""
    (wheel,) = distributions[0].glob("*.whl")
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(install, check=True, env=environment())
    # A line of a .pth file is searched after the packages of the environment, and its own .pth files are not read: the
    # sources, which may be installed there in editable mode, stay out.
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return scripts


def environment():
    """Variables of the process without those that lead to the sources."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def run(fresh, name, *arguments, folder):
    command = [fresh / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_works_in_a_fresh_environment(fresh, workplace, tmp_path):
    place = run(fresh, "python", "-c", "import aligned_entropy; print(aligned_entropy.__file__)", folder=tmp_path)
    assert Path(place.strip()).is_relative_to(fresh.parent)
    assert run(fresh, "alien", "--version", folder=tmp_path) == f"aligned-entropy {__version__}\n"
    run(fresh, "alien", "fit", workplace / "model", workplace / "calibration.jsonl", "-o", "head", folder=tmp_path)
    report = ["--head", "head", "--report", "report.html", "--resamples", 10]
    printed = run(fresh, "alien", "evaluate", workplace / "model", workplace / "test.jsonl", *report, folder=tmp_path)
    assert "aligned entropy" in printed
    assert (tmp_path / "report.html").stat().st_size > 10_000
