"""Page for predictions in a real browser: what a visitor enters, sees, hears and downloads."""

import json
import re
import signal

import numpy as np
import pytest

from fixtures.browser import serving_here, visiting
from fixtures.predict_page import downloaded, enter, shown, slide
from fixtures.sentiment import named
from fixtures.serving import serving

HOSTILE = """<img src=x onerror="document.title='taken'"> <script>document.title='taken'</script> ${1+1} {{7*7}} "'&"""
ARABIC = "فيلم great رائع"

pytestmark = pytest.mark.browser


def test_a_visitor_enters_texts_moves_the_slider_and_downloads_a_file(served_folder, visitor, tmp_path):
    from selenium.webdriver.common.keys import Keys

    with serving(served_folder / "model", "--head", served_folder / "head", "--ui", log=tmp_path / "log") as server:
        process, send, address = server
        visitor.driver.get(f"{address}/ui")
        assert "70% of the predictions accepted" in visitor.text("#statement")
        assert visitor.text("#target-value") == "–", "the head has no target for the risk"
        lines = [named(1, 7)["text"][0], HOSTILE, ARABIC]
        enter(visitor, lines)
        predictions = json.loads(send("/v1/predict", {"texts": lines}))["predictions"]
        for row, line, prediction in zip(shown(visitor), lines, predictions, strict=True):
            decision = "accepted" if prediction["accepted"] else "deferred"
            text = f"{line} (too long: the model did not read all of it)" if prediction["truncated"] else line
            assert row == [text, prediction["label"], f"{prediction['error_probability']:.3f}", decision]
        assert visitor.text("#measure") == "Error probability"
        visitor.wait(lambda: len(visitor.find_all("#words li")) == 3)
        mean = np.mean([prediction["error_probability"] for prediction in predictions])
        heard = " ".join(visitor.find("#announcement").get_attribute("textContent").split())
        assert heard == f"{visitor.text('#summary')} {visitor.text('#estimate')}"
        assert visitor.text("#estimate").startswith(f"Estimated accuracy: {100 * (1 - mean):.1f}% 95% interval: ")
        assert "Do not rely on it:" in visitor.text("#estimate"), "three texts are too few"
        assert HOSTILE in [text.text for text in visitor.find_all("#words .pieces")]
        assert visitor.driver.title == "Predict · aligned-entropy", "HTML in a text is shown, not executed"
        right_to_left = "return getComputedStyle(document.querySelectorAll('#rows td.text')[2]).direction"
        assert visitor.driver.execute_script(right_to_left) == "rtl"

        texts = named(150, 8)["text"]
        (tmp_path / "in.csv").write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts)))
        visitor.find("#file").send_keys(str(tmp_path / "in.csv"))
        visitor.wait(lambda: "in.csv: 150 of 150 texts have a prediction" in visitor.text("#summary"))
        assert "the most uncertain 100 are shown" in visitor.text("#summary")
        before = visitor.text("#summary")
        visitor.find("#target").send_keys(Keys.HOME)
        visitor.wait(lambda: "at most 0.5% errors" in visitor.text("#statement").lower())
        assert visitor.text("#target-value") == "0.5%"
        visitor.wait(lambda: visitor.text("#summary") != before)
        visitor.find("#target").send_keys(Keys.END)
        visitor.wait(lambda: "0.5%" not in visitor.text("#statement"))
        accepted = int(visitor.text("#summary").split("; ")[1].split()[0])
        assert accepted > 0
        rows = downloaded(visitor)
        assert [row["text"] for row in rows] == texts
        assert [row["id"] for row in rows] == [str(number) for number in range(150)]
        assert sum(row["accepted"] == "True" for row in rows) == accepted
        numbers = [float(row["error_probability"]) for row in rows]
        assert [row[2] for row in shown(visitor)] == [f"{number:.3f}" for number in sorted(numbers, reverse=True)[:100]]
        visitor.find("#reset").click()
        visitor.wait(lambda: visitor.text("#summary") == before)
        assert "70% of the predictions accepted" in visitor.text("#statement")
        assert visitor.text("#target-value") == "–"

        events = [json.loads(entry["message"])["message"] for entry in visitor.driver.get_log("performance")]
        requests = [event["params"]["request"] for event in events if event["method"] == "Network.requestWillBeSent"]
        urls = [request["url"] for request in requests if request["url"].startswith(("http", "ws"))]
        assert len(urls) > 6
        assert [url for url in urls if not url.startswith(address)] == []
        process.send_signal(signal.SIGTERM)
        process.wait(60)  # the open page does not delay the shutdown


def test_everything_works_with_the_keyboard_alone(served_folder, served_classifier, visitor):
    from selenium.webdriver.common.keys import Keys

    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")

        def focus():
            active = visitor.driver.switch_to.active_element
            return active.get_attribute("id") or active.text

        def tab_to(name):
            for _ in range(20):
                visitor.press(Keys.TAB)
                if focus() == name:
                    outline = visitor.driver.switch_to.active_element.value_of_css_property("outline-style")
                    assert outline != "none", f"the focus on {name} is visible"
                    return
            raise AssertionError(f"the key Tab does not reach {name}")

        tab_to("Skip to the content")
        visitor.press(Keys.ENTER)
        tab_to("texts")
        visitor.press("a great film", Keys.ENTER, "it was dull", (Keys.CONTROL, Keys.ENTER))
        visitor.wait(lambda: "2 of 2 texts have a prediction" in visitor.text("#summary"))
        assert focus() == "texts"
        tab_to("file")
        tab_to("predict")
        visitor.press(Keys.SPACE)
        visitor.wait(lambda: "2 of 2 texts have a prediction" in visitor.text("#summary"))
        tab_to("target")
        visitor.press(Keys.ARROW_RIGHT)
        visitor.wait(lambda: "12% errors" in visitor.text("#statement"))
        tab_to("reset")
        visitor.press(Keys.ENTER)
        visitor.wait(lambda: "70% of the predictions" in visitor.text("#statement"))
        assert focus() == "target", "the focus is not lost with the button"
        tab_to("download")
        visitor.press(Keys.ENTER)
        visitor.wait((visitor.downloads / "predictions.csv").exists)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_and_heard_on_every_screen(served_folder, served_classifier, visitor, scheme):
    with serving_here(served_classifier, served_folder / "head", characters=200) as (address, _):
        for width in (1200, 390, 320):
            visitor.emulate(scheme, width)
            visitor.driver.get(f"{address}/ui/")
            enter(visitor, [*named(5, 8)["text"], "x" * 300, "long" * 40], 6)
            visitor.wait(lambda: visitor.find_all("#words mark"))
            visitor.find(".curve summary").click()
            assert visitor.low_contrasts() == []
            assert visitor.unnamed_controls() == []
            sizes = visitor.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
            assert sizes[0] <= sizes[1], "nothing sticks out to the right"


def test_two_visitors_do_not_see_each_other(served_folder, served_classifier, visitor, tmp_path):
    with (
        serving_here(served_classifier, served_folder / "head") as (address, _),
        visiting(tmp_path / "second") as second,
    ):
        for visit, lines in ((visitor, ["a great film"] * 3), (second, ["it was dull"] * 5)):
            visit.driver.get(f"{address}/ui/")
            enter(visit, lines)
        before = visitor.text("#summary"), visitor.text("#statement")
        slide(second, 0.5)
        second.wait(lambda: "; 0 of 5 predictions are accepted" in second.text("#summary"))
        assert (visitor.text("#summary"), visitor.text("#statement")) == before
        assert [row[0] for row in shown(visitor)] == ["a great film"] * 3
        assert second.complaints() == []


def test_a_visitor_whose_session_has_ended_logs_in_again(served_folder, served_classifier, visitor):
    with serving_here(served_classifier, served_folder / "head", api_key="sesame") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        for _ in range(2):
            visitor.wait(lambda: visitor.driver.current_url.split("?")[0] == f"{address}/ui/login")
            visitor.find("#password").send_keys("sesame")
            visitor.find("button.main").click()
            visitor.wait(lambda: visitor.driver.current_url == f"{address}/ui/")
            enter(visitor, ["a great film"])
            visitor.driver.delete_all_cookies()
            visitor.find("#predict").click()
        visitor.wait(lambda: visitor.driver.current_url.split("?")[0] == f"{address}/ui/login")
        others = [complaint for complaint in visitor.complaints() if not re.search("401|Password forms", complaint)]
        assert others == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.parquet", b"nonsense", "broken.parquet is not a Parquet file"),
        ("two.csv", b"a,b\n1,2\n", "no single column with texts: the columns are 'a', 'b'"),
        ("long.txt", b"good\n" * 10_001, "more than 10000 rows: use the command alien predict"),
        ("large.txt", b"x" * 4_000_001, "large.txt has 4000001 bytes, more than 4000000: divide it."),
        ("quoted '\" ü%20.pdf", b"x", "quoted '\" ü%20.pdf: the file ending '.pdf' is unknown"),
    ],
)
def test_a_file_that_is_refused_gets_a_reason(
    served_folder, served_classifier, visitor, tmp_path, name, content, message
):
    (tmp_path / name).write_bytes(content)
    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        enter(visitor, ["a great film"])
        visitor.find("#file").send_keys(str(tmp_path / name))
        visitor.wait(lambda: message in visitor.text("#problem[role=alert]"))
        assert not visitor.find("#results").is_displayed(), "no earlier predictions stand beside it"
        assert not visitor.find("#progress").is_displayed()
        assert all("422" in complaint for complaint in visitor.complaints())
        enter(visitor, ["a great film"])
        assert not visitor.find("#problem").is_displayed()


def test_a_file_that_changes_after_it_was_chosen_is_not_mixed(served_folder, served_classifier, visitor, tmp_path):
    (tmp_path / "a.txt").write_text("a great film\nit was dull")
    with serving_here(served_classifier, served_folder / "head") as (address, _):
        visitor.driver.get(f"{address}/ui/")
        visitor.find("#file").send_keys(str(tmp_path / "a.txt"))
        visitor.wait(lambda: visitor.text("#summary").startswith("a.txt: 2 of 2 texts have a prediction"))
        (tmp_path / "a.txt").write_text("a great film and more\nit was dull")
        visitor.find("#predict").click()
        visitor.wait(lambda: visitor.text("#problem") == "a.txt cannot be read; it may have changed: choose it again.")
        enter(visitor, ["a great film"])
        assert visitor.find("#file").get_attribute("value") == "", "what was predicted are the texts"


def test_ten_thousand_rows_show_their_progress_and_can_be_canceled(served_folder, served_classifier, visitor, tmp_path):
    (tmp_path / "many.txt").write_text("\n".join(named(10_000, 8)["text"]))
    batches, predict = [], served_classifier.predict
    with serving_here(served_classifier, served_folder / "head") as (address, server):
        served_classifier.predict = lambda texts: batches.append(len(texts)) or predict(texts)
        visitor.driver.get(f"{address}/ui/")
        visitor.find("#file").send_keys(str(tmp_path / "many.txt"))
        visitor.wait(lambda: "of 10,000 texts" in visitor.text("#progress-text"))
        assert float(visitor.find("progress").get_attribute("value")) < 10_000
        visitor.find("#cancel").click()
        assert not visitor.find("#progress").is_displayed()
        count = -1
        while count != len(batches):  # the server has noticed it
            count = len(batches)
            visitor.driver.execute_async_script("setTimeout(arguments[0], 300)")
        assert count < 300, "of 313 batches"
        assert not visitor.find("#problem").is_displayed()
        visitor.find("#predict").click()  # predicts the file that is chosen
        visitor.wait(lambda: "many.txt: 10,000 of 10,000 texts have a prediction" in visitor.text("#summary"))
        assert len(shown(visitor)) == 100
        assert len(downloaded(visitor)) == 10_000
