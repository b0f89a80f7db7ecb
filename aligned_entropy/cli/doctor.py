"""Command ``alien doctor``: versions, devices, optional dependencies, caches and their sizes, and what is wrong."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import Any

import typer

from ..display.text_tables import text_table, wrapped
from ..errors import AlignedEntropyError
from ..features.caches import cache_contents, disk_bytes
from ..features.files import cache_folder
from .caching import cache_facts, cache_table, size_text
from .options import AsJson

DISTRIBUTION = "aligned-entropy"
DEVELOPMENT_EXTRAS = {"dev", "docs", "test"}
# Variables that change what commands do; values of others, which may be secret, are never read.
VARIABLES = ("ALIEN_CACHE", "ALIEN_DATA", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE")
LITTLE_SPACE = 2e9  # bytes on the disk of the cache below which a fit may fail


def doctor(as_json: AsJson = False) -> None:
    """Show versions, devices, optional dependencies and caches, and what is wrong with the installation.

    The exit code is 1 if something is wrong. The output has no secrets: add it to a bug report.
    """
    facts = _facts()
    print(json.dumps(facts) if as_json else _text(facts))
    if facts["problems"]:
        raise typer.Exit(1)


def _facts() -> dict[str, Any]:
    """Facts about the installation, as values of JSON."""
    packages = dict(_needed(DISTRIBUTION, ""))
    extras = _extras(packages)
    devices, device_problem = _devices()
    cache = cache_facts(cache_contents())
    hub_folder = _hub_folder()
    plugins, score_problems = _scores_of_others()
    problems = [*_package_problems(packages, extras), *device_problem, *score_problems, *_folder_problems(cache)]
    return {
        DISTRIBUTION: version(DISTRIBUTION),
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
        "devices": devices,
        "packages": packages,
        "extras": extras,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "scores": plugins,
        "cache": cache,
        "hub_cache": {"folder": str(hub_folder), "bytes": disk_bytes([hub_folder] if hub_folder.is_dir() else [])},
        "problems": problems,
    }


def _extras(always: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Packages of each extra by name, those of other extras that it contains included, but those always needed."""
    names = distribution(DISTRIBUTION).metadata.get_all("Provides-Extra") or []
    return {
        extra: {name: dependency for name, dependency in _needed(DISTRIBUTION, extra) if name not in always}
        for extra in names
        if extra not in DEVELOPMENT_EXTRAS
    }


def _needed(package: str, extra: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name, required and installed version of the direct dependencies of a distribution with an extra."""
    from packaging.requirements import Requirement

    for text in requires(package) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if requirement.name == DISTRIBUTION:  # an extra that contains others
            for inner in requirement.extras:
                yield from _needed(package, inner)
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            installed = None
        suitable = installed is not None and requirement.specifier.contains(installed, prereleases=True)
        dependency = {"required": str(requirement.specifier), "installed": installed, "suitable": suitable}
        yield requirement.name, dependency


def _package_problems(packages: Mapping[str, Any], extras: Mapping[str, Any]) -> Iterator[str]:
    """Packages that are missing or have a wrong version; an extra may be missing."""
    for name, needed in packages.items():
        if not needed["suitable"]:
            state, required = needed["installed"] or "is missing", needed["required"]
            yield f"{name} {state}; {required or 'a version'} is needed: pip install '{name}{required}'"
    for extra, members in extras.items():
        for name, needed in members.items():
            if needed["installed"] and not needed["suitable"]:
                state = f"{needed['installed']} is not {needed['required']}, which the extra {extra} needs"
                yield f"{name} {state}: pip install '{DISTRIBUTION}[{extra}]'"


def _devices() -> tuple[list[dict[str, Any]], list[str]]:
    """Devices that models can run on, the default first, and the reason if they cannot be found."""
    try:
        import torch

        cpu = {"device": "cpu", "name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        gpus = [{"device": f"cuda:{i}", "name": c.name, "bytes": c.total_memory} for i, c in enumerate(cards)]
        mps = [{"device": "mps", "name": "Metal"}] if torch.backends.mps.is_available() else []
        return [*gpus, *mps, cpu], []
    except (ImportError, OSError, RuntimeError) as error:  # a driver or a library that does not fit
        reason = " ".join(str(error).split()) or type(error).__name__
        return [], [f"torch finds no device: {reason}"]


def _scores_of_others() -> tuple[dict[str, str], list[str]]:
    """Distributions of the scores that entry points add, by name of the score, and reasons if some cannot be used."""
    try:
        from ..scores import SCORES, plugin_scores

        plugins = plugin_scores(SCORES)
    except (AlignedEntropyError, ImportError) as error:  # without torch there are no scores
        return {}, [str(error)] if isinstance(error, AlignedEntropyError) else []
    problems = []
    for plugin in plugins.values():
        try:
            plugin.load()
        except AlignedEntropyError as error:
            problems.append(str(error))
    return {name: plugin.distribution for name, plugin in plugins.items()}, problems


def _hub_folder() -> Path:
    """Folder in which downloads from the Hub are kept."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _folder_problems(cache: Mapping[str, Any]) -> Iterator[str]:
    """Reasons why the folders of the cache and the data cannot be used."""
    folder = cache_folder()
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield f"nothing can be written to {existing}: set ALIEN_CACHE to another folder."
    if cache["free_bytes"] < LITTLE_SPACE:
        yield f"only {size_text(cache['free_bytes'])} are free on the disk of {folder}: see alien cache clear."
    data = os.environ.get("ALIEN_DATA")
    if data and not Path(data).is_dir():
        yield f"ALIEN_DATA={data} is no folder: set it to a folder of data sets, or unset it."


def _text(facts: Mapping[str, Any]) -> str:
    """Facts about the installation for people."""
    lines = [f"{name}: {facts[name]}" for name in (DISTRIBUTION, "python", "platform")]
    lines += [f"{name}={value}" for name, value in facts["variables"].items()]
    for device in facts["devices"]:
        memory = [size_text(device["bytes"])] if "bytes" in device else []
        threads = [f"{device['threads']} threads"] if "threads" in device else []
        lines.append(f"device {device['device']}: {', '.join([device['name'], *memory, *threads])}")
    packages = facts["packages"].items()
    rows = [(name, needed["required"] or "any", needed["installed"] or "–") for name, needed in packages]
    lines += ["", text_table(["package", "required", "installed"], rows), ""]
    for extra, needed in facts["extras"].items():
        missing = [name for name, dependency in needed.items() if not dependency["suitable"]]
        lines.append(f"extra {extra}: {'without ' + ', '.join(missing) if missing else 'installed'}")
    lines += [f"score {name}: {distribution}" for name, distribution in facts["scores"].items()]
    lines += ["", cache_table(cache_contents()), ""]
    hub = facts["hub_cache"]
    lines += [f"downloads from the Hub: {size_text(hub['bytes'])} in {hub['folder']} (hf cache lists and deletes them)"]
    problems = [f"problem: {problem}" for problem in facts["problems"]] or ["no problem found"]
    return "\n".join(wrapped(line, "  ") if len(line) > 80 else line for line in [*lines, "", *problems])
