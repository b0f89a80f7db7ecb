"""Pages of the server, checked with axe-core: they break no rule of WCAG 2.2 AA or of good practice."""

import pytest

from fixtures.browser import serving_here
from fixtures.predict_page import enter
from fixtures.sentiment import named
from fixtures.waiting import waiting

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 390)])
def test_pages_break_no_rule(served_folder, served_classifier, axe_visitor, tmp_path, scheme, width):
    visitor, store = axe_visitor, tmp_path / "store.sqlite"
    visitor.emulate(scheme, width)
    with serving_here(served_classifier, served_folder / "head", store=store) as (address, server):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, named(5, 8)["text"])
        visitor.wait(lambda: visitor.find_all("#words mark"))
        visitor.find(".curve summary").click()
        assert visitor.violations() == []
        server.store.add_predictions([waiting(0), waiting(1)])
        visitor.driver.get(f"{address}/ui/review")
        visitor.wait(lambda: visitor.find("#task").get_attribute("data-ready"))
        assert visitor.violations() == []


def test_the_pages_for_logging_in_and_for_routes_break_no_rule(served_folder, served_classifier, axe_visitor):
    with serving_here(served_classifier, served_folder / "head", api_key="sesame") as (address, _):
        for path in ("/docs", "/ui/"):
            axe_visitor.driver.get(f"{address}{path}")
            assert axe_visitor.violations() == []
        axe_visitor.driver.execute_script("document.querySelector('label').remove()")
        assert [broken.split(":")[0] for broken in axe_visitor.violations()] == ["label"]
