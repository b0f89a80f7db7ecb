"""Saved heads on the Hugging Face Hub, and the description of a saved head for people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..display.hints import hub_problem, similar_folder
from ..display.progress_bars import without_progress_bars
from ..errors import DataError, HeadMismatchError
from ..selective import Rule
from .format import ERROR_MODEL, read_config


@without_progress_bars()
def resolve_head(name: str | Path) -> Path:
    """Return the local folder of a head; a head on the hub is downloaded.

    Raises:
        HeadMismatchError: neither a folder nor a repository has this name.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), allow_patterns=["config.json", "head.safetensors"]))
    except HFValidationError:
        raise HeadMismatchError(
            f"there is no folder {str(name)!r}{similar_folder(name)}, and it is no hub id either: check the spelling."
        ) from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise HeadMismatchError(
            f"no head {str(name)!r}: name the folder or hub id of a saved head. There is no such folder"
            f"{similar_folder(name)}, and {hub_problem(error)}"
        ) from error


@without_progress_bars()
def push_head(folder: str | Path, repo_id: str, *, private: bool | None = None, token: str | None = None) -> str:
    """Upload a saved head to a model repository, which is created if necessary; returns its address.

    Raises:
        DataError: the repository holds a model, whose files would be overwritten.
        huggingface_hub.errors.HfHubHTTPError: the hub refused the upload, for example without a token.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    files = set(api.list_repo_files(repo.repo_id))
    if "adapter_config.json" in files or ("config.json" in files and "head.safetensors" not in files):
        raise DataError(
            f"repository {repo.repo_id} holds a model, whose files would be overwritten: name another repository."
        )
    api.upload_folder(repo_id=repo.repo_id, folder_path=str(folder), commit_message="Upload uncertainty head")
    return str(repo)


def describe_head(folder: str | Path) -> dict[str, Any]:
    """Describe a saved head: format, base score, size, goal and rule of its thresholds and sets, backbone and fit.

    Raises:
        HeadMismatchError: the folder holds no head, or a damaged head.
    """
    from safetensors import SafetensorError, safe_open

    config = read_config(folder)
    try:
        with safe_open(Path(folder) / "head.safetensors", "pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            views = [name for name in shapes if name.startswith(f"{ERROR_MODEL}views.")]
            view_bytes = sum(file.get_tensor(name).nbytes for name in views)
    except SafetensorError as error:
        raise HeadMismatchError(f"{folder}/head.safetensors is damaged: {error}") from error
    rule, sets = config.get("rule"), config.get("sets")
    copied = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("classifier."))
    return {
        "format": config["format"],
        "library": config["library"],
        "base score": config["base"],
        "calibrated": config["calibrated"],
        "parameters of the copy": copied,
        "references": len({name.split(".")[2] for name in shapes if name.startswith(f"{ERROR_MODEL}references.")}),
        "views": sorted({name.split(".")[2] for name in views}),
        "bytes of views": view_bytes,
        "bytes": (Path(folder) / "head.safetensors").stat().st_size,
        "threshold": "none was chosen" if rule is None else str(Rule.from_dict(rule).goal),
        "rule": rule,
        **({} if sets is None else {"sets": sets}),
        **{f"backbone {key}": value for key, value in config["backbone"].items()},
        **config["fit"],
    }
