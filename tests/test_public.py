"""The public surface: a name that is added or lost here is a change that users see."""

import contextlib
import inspect
import re
from pathlib import Path

import pytest

import aligned_entropy
from aligned_entropy import errors
from aligned_entropy.finetune import train_classifier

PUBLIC = {
    "AlignedEntropyError",
    "AlignedEntropyHead",
    "ArgumentError",
    "ArgumentTypeError",
    "AuditReport",
    "AuditSample",
    "CalibrationError",
    "DataError",
    "EndpointError",
    "Evaluation",
    "FitConfig",
    "FitResult",
    "GainPrior",
    "Goal",
    "GroupedEvaluation",
    "HeadMismatchError",
    "LabeledTexts",
    "LabeledTokens",
    "MissingExtraError",
    "MultiLabelConfig",
    "MultiLabelPredictions",
    "MultiLabelResult",
    "NotApplicableError",
    "NotFittedError",
    "Predictions",
    "Rule",
    "Schedule",
    "SetGoal",
    "SetRule",
    "StoreError",
    "TokenPredictions",
    "UncertainClassifier",
    "UncertainMultiLabelClassifier",
    "UncertainTokenClassifier",
    "UnsupportedModelError",
    "__version__",
    "audited_accuracy",
    "choose_threshold",
    "export_onnx",
    "fit_head",
    "fit_multilabel",
    "labeled_texts",
    "labeled_tokens",
    "load_data",
    "multilabel_texts",
    "register_pipeline",
    "select_for_audit",
}
PUBLIC_MODULES = {
    "aligned_entropy.finetune",
    "aligned_entropy.metrics",
    "aligned_entropy.scores",
    "aligned_entropy.selective",
}


def test_the_public_names() -> None:
    assert set(aligned_entropy.__all__) == PUBLIC
    assert len(aligned_entropy.__all__) == len(PUBLIC)
    assert set(dir(aligned_entropy)) >= PUBLIC


def test_guides_import_public_names_alone() -> None:
    root = Path(aligned_entropy.__file__).parents[1]
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    imports = [
        (page.name, module, name.strip())
        for page in pages
        for module, names in re.findall(
            r"^from (aligned_entropy[\w.]*) import ([^#\n]+)", page.read_text(), re.MULTILINE
        )
        for name in names.split(",")
    ]
    assert len(imports) > 5
    assert not [
        (page, module, name)
        for page, module, name in imports
        if module not in PUBLIC_MODULES and (module != "aligned_entropy" or name not in PUBLIC)
    ]


def test_every_error_is_public_and_of_one_family() -> None:
    classes = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    assert set(classes) == {name for name in PUBLIC if name.endswith("Error")}
    for name, kind in classes.items():
        assert getattr(aligned_entropy, name) is kind
        assert issubclass(kind, errors.AlignedEntropyError)
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(aligned_entropy, name)
    assert value.__name__ == name
    assert (value.__doc__ or "").strip()
    assert not (value.__doc__ or "").startswith(f"{name}("), "the docstring is the one that dataclasses make up"
    if inspect.isclass(value) and not issubclass(value, Exception):
        for method, member in vars(value).items():
            target = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            target = target.fget if isinstance(target, property) else target
            if not method.startswith("_") and inspect.isfunction(target):
                assert inspect.getdoc(getattr(value, method)), f"{name}.{method} has no docstring"


def test_help_shows_readable_defaults() -> None:
    objects = [getattr(aligned_entropy, name) for name in PUBLIC] + [train_classifier]
    methods = [method for kind in objects if inspect.isclass(kind) for _, method in inspect.getmembers(kind, callable)]
    signatures = {}
    for function in (*objects, *methods):
        with contextlib.suppress(TypeError, ValueError):  # built-in functions have no signature
            signatures[function] = str(inspect.signature(function))
    assert "progress: 'Progress' = no_report" in signatures[aligned_entropy.UncertainClassifier.predict]
    assert not [f"{function}: {shown}" for function, shown in signatures.items() if re.search(r" at 0x\w", shown)]


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="'aligned_entropy' has no attribute 'nonsense'"):
        _ = aligned_entropy.nonsense


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert aligned_entropy.__version__ == version("aligned-entropy")
