"""Report pages in a real browser: they fit a phone, follow the color scheme and break no rule of axe-core."""

import numpy as np
import pytest

from aligned_entropy.report import Rows, write_report
from aligned_entropy.report.results_page import write_results
from aligned_entropy.scores import HEAD
from fixtures.bench_results import everything
from fixtures.evaluations import simulated

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of an evaluation and of a grid, with all their parts."""
    folder, evaluation = tmp_path_factory.mktemp("pages"), simulated()
    names = np.array(["sport", "politics", *(f"class {i}" for i in range(30))])
    predicted = names[np.arange(400) % len(names)].tolist()
    probability = evaluation.scores[HEAD]
    rows = Rows(
        predicted,
        predicted,
        predicted[::-1],
        probability,
        probability < 0.3,
        "a goal",
        lambda row: f"text {row} " + "long" * 60,
    )
    return [
        write_report(folder / "report.html", "A report", evaluation, {"model": "m" * 200}, rows),
        write_results(folder / "results.html", list(everything()), "Results"),
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_reports_break_no_rule(axe_visitor, pages, scheme, width):
    axe_visitor.emulate(scheme, width)
    for page in pages:
        axe_visitor.driver.get(page.as_uri())
        for folded in axe_visitor.find_all("details"):
            axe_visitor.driver.execute_script("arguments[0].open = true", folded)
        for table in axe_visitor.find_all(".scroll"):  # tables out of view are not laid out, nor checked
            axe_visitor.driver.execute_script("arguments[0].style.contentVisibility = 'visible'", table)
        assert axe_visitor.violations() == []
        assert axe_visitor.low_contrasts() == []
        sizes = axe_visitor.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert sizes[0] <= sizes[1], "nothing sticks out to the right"
        background = axe_visitor.find("body").value_of_css_property("background-color")
        assert background == ("rgba(255, 255, 255, 1)" if scheme == "light" else "rgba(18, 22, 27, 1)")


def test_all_tables_are_printed(axe_visitor, pages):
    axe_visitor.driver.get(pages[1].as_uri())
    laid_out = {}
    for media in ("screen", "print"):
        axe_visitor.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
        laid_out[media] = {
            table.value_of_css_property("content-visibility") for table in axe_visitor.find_all(".scroll")
        }
    axe_visitor.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert laid_out == {"screen": {"auto"}, "print": {"visible"}}
