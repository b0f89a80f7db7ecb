"""Cards: short texts whatever the size, and HTML in which the data of a user are text alone."""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from aligned_entropy.display.card import Card, Displayed, Share, one_line
from aligned_entropy.display.short_repr import ShortRepr
from aligned_entropy.display.svg import Curve, risk_svg
from fixtures.html_page import HOSTILE, Page


def card(count, **options):
    header = ["text", "predicted", "P(wrong)", "accepted"]
    values = {"notes": ["A sentence. " * 40], "header": header, "count": count}
    row = options.pop("row", lambda i: [f"text {i} " * 20, "a class", Share(i / 10), i > 1])
    return Card("Things: " + "many " * 60, row=row, **(values | options))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 100_000])
def test_a_card_as_text_has_ten_lines_of_eighty_columns(count):
    lines = card(count).text().splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Things: many")


def test_the_first_and_the_last_rows_are_shown_with_the_number_of_the_others():
    shown = Card("Things", header=["number"], count=1000, row=lambda i: [str(i)]).text().splitlines()
    assert shown == ["Things", "number", "0", "1", "2", "3", "… 993 more", "997", "998", "999"]
    (table,) = Page(card(12, notes=()).html()).tables
    assert len(table) == 1 + 10
    assert [row[0].strip() for row in table[5:8]] == [("text 4 " * 20).strip(), "… 3 more", ("text 8 " * 20).strip()]
    assert "more" not in card(10, notes=()).html()


def test_the_cells_of_a_text_are_words_and_not_python():
    row = ["text", None, Share(0.25), True, False, 12345, Share(float("nan"))]
    text = Card("T", header=list("abcdefg"), count=1, row=lambda i: row).text()
    assert text.splitlines()[-1].split() == ["text", "–", "0.250", "yes", "no", "12,345", "–"]


def test_what_users_wrote_is_text_in_html():
    page = Page(card(3, row=lambda i: [HOSTILE, HOSTILE, Share(0.5), True], notes=[HOSTILE]).html())
    assert page.scripts == []
    assert {tag for tag, _ in page.tags} <= {"div", "style", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.tables[0][1][0].strip() == " ".join(HOSTILE.split())
    assert HOSTILE in page.all_text


def test_html_loads_nothing_and_keeps_the_colors_of_the_page():
    source = card(3, figure=lambda: risk_svg([Curve(HOSTILE, [0.5, 1.0], [0.0, 0.2])])).html()
    assert not re.search(r"https?:|src=|url\(|@import|@font-face|<link", source)
    assert "color:inherit" in source
    assert not re.search(r"background(-color)?:(?!transparent)", source)
    assert Page(source).scripts == []


def test_a_bar_is_as_long_as_its_share():
    page = Page(card(3, row=lambda i: ["a", "b", Share([0.25, 1.5, float("nan")][i]), None]).html())
    bars = [attributes.get("style") for tag, attributes in page.tags if tag == "td"]
    assert "rgba(213,94,0,.45) 25.0%" in bars[2]
    assert [bar for bar in bars if bar] == [bars[2]]


def test_control_characters_do_not_reach_a_terminal_or_a_browser():
    assert one_line("a\x1b[31mred\x07\r\nb\u202egnp.exe") == "a [31mred b gnp.exe"
    assert one_line("من\u200cمن 👩\u200d👧") == "من\u200cمن 👩\u200d👧"  # joiners are part of words
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
    text = Card("a\nb", ["c\x1b[2J"], ["text"], 1, lambda i: ["d\x9be\x00"]).text()
    assert not set(text) & {"\x1b", "\x9b", "\x00"}
    assert text.splitlines()[0] == "a b"


def test_wide_characters_count_twice():
    from rich.cells import cell_len

    text = Card("T", (), ["text", "label"], 1, lambda i: ["東京" * 100, "大阪" * 100]).text()
    assert len(text.splitlines()) == 3
    assert max(map(cell_len, text.splitlines())) <= 80


def test_a_result_shows_its_card():
    class Result(Displayed):
        def _card(self):
            return Card("Result: fine")

    assert repr(Result()) == str(Result()) == "Result: fine"
    assert "<b>Result: fine</b>" in Result()._repr_html_()


def test_the_curve_goes_through_its_points():
    source = risk_svg([Curve("a", [0.5, 1.0], [0.1, 0.2])], (0.5, 0.1))
    points = [list(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', source)[1].split()]
    left, bottom, width, height, top = 48, 158, 300, 150, 0.22
    expected = [[left + width * x, bottom - height * y / top] for x, y in [(0.5, 0.1), (1.0, 0.2)]]
    assert points == [pytest.approx(point, abs=0.06) for point in expected]
    _, circle = re.finditer(r'<circle cx="([\d.]+)" cy="([\d.]+)"', source)  # the first is that of the legend
    assert [float(circle[1]), float(circle[2])] == pytest.approx(expected[0], abs=0.06)


@dataclass(frozen=True, repr=False)
class Settings(ShortRepr):
    size: int = 3
    share: float = 0.5
    name: str = ""
    array: object = None
    values: list = field(default_factory=list)
    hidden: object = field(default=0, repr=False)


def test_fields_at_their_default_are_left_out():
    assert repr(Settings()) == "Settings()"
    assert repr(Settings(4, name="a", hidden=5)) == "Settings(size=4, name='a')"
    assert eval(repr(Settings(share=0.25, values=[1, 2]))) == Settings(share=0.25, values=[1, 2])


def test_arrays_are_shown_by_type_and_shape_and_long_values_are_cut():
    assert repr(Settings(array=np.zeros((1000, 384), np.float32))) == "Settings(array=float32 [1000, 384])"
    assert repr(Settings(array=torch.zeros(9, 2))) == "Settings(array=float32 [9, 2])"
    assert repr(Settings(array=np.array([0.25, 1 / 3]))) == "Settings(array=[0.25, 0.3333])"
    assert repr(Settings(array=np.float32(0.5))) == "Settings(array=0.5)"
    assert repr(Settings(values=list(range(100_000)))) == "Settings(values=[0, 1, … 100,000 in all])"
    long = repr(Settings(name="x" * 10_000, values=["y" * 10_000] * 8))
    assert len(long.splitlines()) <= 10
    assert max(map(len, long.splitlines())) <= 80


def test_settings_inside_of_settings_are_whole_and_long_lists_of_them_are_cut():
    inner = Settings(4, name="a")
    assert repr(Settings(values=[inner])) == "Settings(values=[Settings(size=4, name='a')])"
    assert "Settings(size=4, name='a'), … 9 in all]" in " ".join(repr(Settings(values=[inner] * 9)).split())


@pytest.mark.parametrize(
    ("risk", "labels"),
    [
        (0.3, ["0%", "10%", "20%", "30%"]),
        (0.05, ["0%", "2%", "4%"]),
        (0.9, ["0%", "50%"]),
        (0.01, ["0%", "0.5%", "1%"]),
    ],
)
def test_the_axis_of_the_risk_has_round_values(risk, labels):
    source = risk_svg([Curve("a", [0.5, 1.0], [0.0, risk])])
    assert re.findall(r'text-anchor="end">([^<]*)<', source) == labels


def test_the_threshold_is_in_the_legend():
    curves = [Curve("a", [0.5, 1.0], [0.1, 0.2])]
    assert ">threshold<" in risk_svg(curves, (0.5, 0.1))
    assert ">threshold<" not in risk_svg(curves)
