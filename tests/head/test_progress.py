"""Progress of a fit: what is reported sums to 100 percent, whatever the settings."""

import pytest
import torch

from aligned_entropy import FitConfig, MultiLabelConfig, Schedule, fit_head, fit_multilabel
from aligned_entropy.head.progress import FitProgress


def rows(classes: int) -> dict:
    """Vectors that a linear module of identity weights classifies well, their labels and inputs of views."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(300, classes, generator=generator)
    layers, tokens = torch.randn(300, 2, 6, generator=generator), torch.randint(9, (300, 5), generator=generator)
    noisy = hidden + torch.randn(300, classes, generator=generator)
    return {"hidden": hidden, "labels": noisy, "views": {"layers": layers, "tokens": tokens}}


def module(classes: int) -> torch.nn.Linear:
    linear = torch.nn.Linear(classes, classes)
    torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    return linear


def test_steps_are_reported_in_percent():
    reports = []
    progress = FitProgress(reports.append, 3)
    progress.finish()
    progress.finish(2)
    assert reports == [33, 67]


@pytest.mark.parametrize(
    "config",
    [
        FitConfig(folds=3),
        FitConfig(folds=3, betas=(), views=False),
        FitConfig(folds=3, error_model=False),
        FitConfig.paper(schedule=Schedule(epochs=4)),
        FitConfig.paper(schedule=Schedule(epochs=30, patience=1), bases=("entropy", "margin")),
    ],
)
@pytest.mark.parametrize("has_reference", [False, True])
def test_the_reports_of_a_fit_sum_to_100_percent(config, has_reference):
    reports, data = [], rows(3)
    data["labels"] = data["labels"].argmax(1)
    reference = (data["hidden"] + 0.1, data["labels"]) if has_reference else None
    fit_head(module(3), **data, reference=reference, config=config, progress=reports.append)
    assert sum(reports) == 100
    assert min(reports) >= 0
    assert len(reports) > 1 or not config.error_model


@pytest.mark.parametrize("settings", [{}, {"views": False}, {"error_model": False}])
def test_the_reports_of_a_multi_label_fit_sum_to_100_percent(settings):
    reports, data = [], rows(4)
    data["labels"] = (data["labels"] > 0).long()
    fit_multilabel(module(4), **data, config=MultiLabelConfig(**settings), progress=reports.append)
    assert sum(reports) == 100
