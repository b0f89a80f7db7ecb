"""Page for labeling in a real browser, by keyboard alone."""

import json

import pytest
from selenium.webdriver.common.keys import Keys

from aligned_entropy import UncertainClassifier
from aligned_entropy.errors import StoreError
from aligned_entropy.features.texts import TextPair
from fixtures import tiny
from fixtures.browser import serving_here
from fixtures.waiting import waiting

HOSTILE = """<img src=x onerror="document.title='taken'"> <script>document.title='taken'</script> ${1+1} "'&"""
ARABIC = "فيلم رائع"
TOPICS = ["Börse", "Kultur", "Politik", *(f"topic {number}" for number in range(10)), "Wetter"]

pytestmark = pytest.mark.browser


@pytest.fixture
def review(visitor, tmp_path):
    """Function that opens the page for texts; gives the store. It serves until the end of the test."""
    open_pages = []

    def open_page(classifier, rows, **settings):
        page = serving_here(classifier, store=tmp_path / "store.sqlite", **settings)
        address, server = page.__enter__()
        open_pages.append(page)
        server.store.add_predictions(rows)
        visitor.driver.get(f"{address}/ui/review")
        return server.store

    yield open_page
    visitor.driver.get("about:blank")  # a page that asks for its next text would find no server
    for page in open_pages:
        page.__exit__(None, None, None)


def ready(visitor, name):
    """Wait until a text is shown and takes labels."""
    visitor.wait(lambda: visitor.find("#task").get_attribute("data-ready") == name)


def labels(store):
    return [(row.prediction, row.label) for row in store.feedback()]


def tab_to(visitor, selector):
    """Press Tab until an element has the focus."""
    for _ in range(40):
        if visitor.driver.switch_to.active_element == visitor.find(selector):
            return
        visitor.press(Keys.TAB)
    raise AssertionError(f"{selector} cannot be reached by Tab")


def active(visitor):
    return visitor.driver.switch_to.active_element.get_attribute("id")


def test_a_visitor_labels_skips_and_undoes_by_keyboard(served_classifier, visitor, review):
    rows = [waiting(0, HOSTILE), waiting(1, ARABIC, accepted=True, inclusion=0.05), *map(waiting, range(2, 5))]
    store = review(served_classifier, rows)
    ready(visitor, "id0")
    assert active(visitor) == "task"
    assert visitor.text("#texts") == " ".join(HOSTILE.split())
    assert visitor.text("#reason") == "The suggestion is wrong with a probability of 25% (deferred by the threshold)."
    assert visitor.text("#accept") == "Take “positive” Enter"
    assert [" ".join(one.text.split()) for one in visitor.find_all("#classes button")] == [
        "1 negative 25%", "2 positive 75%",
    ]  # fmt: skip
    assert visitor.text("#counts") == "0 labeled, 5 waiting"
    visitor.press(Keys.ENTER)
    ready(visitor, "id1")
    assert active(visitor) == "task"
    assert visitor.driver.title == "Review · aligned-entropy"
    assert "accepted by the threshold, drawn at random" in visitor.text("#reason")
    assert visitor.find(".text").value_of_css_property("direction") == "rtl"

    tab_to(visitor, "#reviewer")
    visitor.press("Ann Sue 2", Keys.ENTER)
    assert active(visitor) == "task"
    tab_to(visitor, "#keys")
    visitor.press("1")
    ready(visitor, "id2")
    visitor.press("s")
    ready(visitor, "id3")
    assert visitor.text("#counts") == "2 labeled, 2 waiting, 1 skipped"
    assert labels(store) == [("id0", "positive"), ("id1", "negative")]
    assert [(row.reviewer, row.inclusion, row.wrong) for row in store.feedback()] == [
        (None, 1.0, False), ("Ann Sue 2", 0.05, True),
    ]  # fmt: skip
    visitor.driver.refresh()
    ready(visitor, "id3")
    assert visitor.find("#reviewer").get_attribute("value") == "Ann Sue 2"
    visitor.press("u")
    ready(visitor, "id2")
    assert visitor.text("#counts") == "2 labeled, 3 waiting"
    visitor.press("U")
    ready(visitor, "id1")
    assert labels(store) == [("id0", "positive")]
    for number in range(1, 5):
        ready(visitor, f"id{number}")
        visitor.press(Keys.ENTER)
    visitor.wait(lambda: active(visitor) == "empty")
    assert labels(store) == [(f"id{number}", "positive") for number in range(5)]
    store.add_predictions([waiting(5)])
    ready(visitor, "id5")  # the page looks for new texts by itself
    visitor.press("u")
    ready(visitor, "id4")


def test_keys_pressed_twice_label_one_text(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(3))))
    ready(visitor, "id0")
    visitor.press("11", Keys.ENTER)
    ready(visitor, "id1")
    assert labels(store) == [("id0", "negative")]
    tab_to(visitor, "#keys")
    visitor.press(Keys.SPACE)
    visitor.press("1s")
    tab_to(visitor, "#reviewer")
    visitor.press("x")
    assert labels(store) == [("id0", "negative")], "the keys are off"
    visitor.find("#task").click()
    tab_to(visitor, "#skip")
    visitor.press(Keys.ENTER)
    ready(visitor, "id2")
    assert store.queue_counts().skipped == 1, "buttons are still buttons"


def test_two_visitors_see_different_texts(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(4))))
    ready(visitor, "id0")
    first, address = visitor.driver.current_window_handle, visitor.driver.current_url
    visitor.driver.switch_to.new_window("tab")
    try:
        visitor.driver.get(address)
        ready(visitor, "id2")
        visitor.press("1")
        ready(visitor, "id3")
    finally:
        visitor.driver.close()
        visitor.driver.switch_to.window(first)
    visitor.press(Keys.ENTER)
    ready(visitor, "id1")
    assert labels(store) == [("id2", "negative"), ("id0", "positive")]


@pytest.fixture
def topics(tmp_path):
    names = {"id2label": dict(enumerate(TOPICS)), "label2id": {name: number for number, name in enumerate(TOPICS)}}
    tiny.model("Bert", num_labels=len(TOPICS), **names).save_pretrained(tmp_path / "topics")
    tiny.tokenizer().save_pretrained(tmp_path / "topics")
    return UncertainClassifier.from_pretrained(tmp_path / "topics")


def test_a_class_is_found_among_many(topics, visitor, review):
    likely = {"topic 3": 0.5, "Wetter": 0.3, "topic 1": 0.1}
    rows = [waiting(n, predicted="topic 3", probabilities=likely, label_set=["topic 3", "Wetter"]) for n in range(4)]
    store = review(topics, rows)
    ready(visitor, "id0")
    shown = [" ".join(one.text.split()) for one in visitor.find_all("#classes button")]
    assert shown == ["1 topic 3 in the set 50%", "2 Wetter in the set 30%", "3 topic 1 10%"]
    visitor.press("2")
    ready(visitor, "id1")
    visitor.press("/")
    assert active(visitor) == "filter"
    visitor.press(Keys.ENTER)
    assert (active(visitor), len(labels(store))) == ("filter", 1), "nothing has been searched for or chosen"
    visitor.press("BORSE")
    assert [one.text for one in visitor.find_all("#matches li")] == ["Börse"]
    visitor.press(Keys.ENTER)
    ready(visitor, "id2")
    visitor.press("/", "pi")  # in the middle of "topic", and of no other name
    visitor.press(Keys.DOWN, Keys.DOWN, Keys.UP)
    option = visitor.find("#filter").get_attribute("aria-activedescendant")
    assert visitor.find(f"#{option}").text.startswith("topic 1")
    visitor.press(Keys.ENTER)
    ready(visitor, "id3")
    assert labels(store) == [("id0", "Wetter"), ("id1", "Börse"), ("id2", "topic 1")]
    visitor.press("/", "nothing", Keys.ENTER)
    assert visitor.text("#matches") == "No class has this name."
    visitor.press(Keys.ESCAPE)
    assert (active(visitor), visitor.find("#filter").get_attribute("value")) == ("task", "")
    visitor.press(Keys.ENTER)
    visitor.wait(lambda: labels(store)[3:] == [("id3", "topic 3")])


def test_a_lost_connection_keeps_the_label(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(2))))
    ready(visitor, "id0")
    visitor.driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    visitor.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    visitor.press("1")
    visitor.wait(lambda: "The label “negative” is not stored yet" in visitor.text("#problem"))
    assert "The server cannot be reached." in visitor.text("#problem")
    visitor.press("2")  # the label that is on its way stays
    visitor.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline | {"offline": False})
    ready(visitor, "id1")
    assert (labels(store), visitor.text("#problem")) == ([("id0", "negative")], "")
    assert all("INTERNET_DISCONNECTED" in message for message in visitor.complaints())


def test_a_label_that_the_server_could_not_store_survives_a_reload(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(2))))
    ready(visitor, "id0")

    def fail(row, **_):
        raise StoreError("the disk is full.")

    add_feedback, store.add_feedback = store.add_feedback, fail
    visitor.press("1")
    visitor.wait(lambda: "the disk is full. The label “negative” is not stored yet" in visitor.text("#problem"))
    visitor.driver.refresh()
    store.add_feedback = add_feedback
    ready(visitor, "id1")
    assert labels(store) == [("id0", "negative")]
    assert all("503" in message for message in visitor.complaints())


def test_an_ended_session_leads_to_the_login_and_back(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(2))), api_key="sesame", root_path="/alien")

    def log_in():
        visitor.wait(lambda: active(visitor) == "password")
        visitor.press("sesame", Keys.ENTER)

    log_in()
    ready(visitor, "id0")
    assert visitor.driver.current_url.endswith("/alien/ui/review")
    visitor.driver.delete_all_cookies()
    visitor.press("1")
    log_in()
    ready(visitor, "id1")
    assert labels(store) == [("id0", "negative")]
    assert [message for message in visitor.complaints() if "401" not in message] == []
    tab_to(visitor, "header form button")
    visitor.press(Keys.ENTER)
    visitor.wait(lambda: active(visitor) == "password")
    visitor.driver.back()
    visitor.wait(lambda: active(visitor) == "password")


def test_a_text_that_is_gone_is_left_out(served_classifier, visitor, review):
    store = review(served_classifier, list(map(waiting, range(2))))
    ready(visitor, "id0")
    store.delete_prediction("id0")
    visitor.press("1")
    ready(visitor, "id1")
    assert visitor.text("#problem") == "this text is no longer in the queue."
    assert all("404" in message for message in visitor.complaints())


def test_many_labels_are_chosen_one_by_one(multilabel_model_folder, visitor, review):
    classifier = UncertainClassifier.from_pretrained(multilabel_model_folder)
    rows = [waiting(n, predicted=["praise"], probabilities={"praise": 0.9, "number": 0.4}) for n in range(2)]
    store = review(classifier, rows)
    ready(visitor, "id0")
    assert visitor.text("#accept") == "Store “praise” Enter"
    visitor.press("23")  # in the order of the model's classes
    assert visitor.text("#accept") == "Store “number” Enter"
    visitor.press("2")
    assert visitor.text("#accept") == "Store “no label” Enter"
    visitor.press("1", Keys.ENTER)
    ready(visitor, "id1")
    assert labels(store) == [("id0", [classifier.label_names[0]])]


def test_words_are_tagged_one_by_one(token_model_folder, visitor, review):
    entity = {"entity_group": "X", "word": "red cat", "start": 4, "end": 11}
    rows = [waiting(n, "the red cat sat", predicted=[entity], probabilities=None) for n in range(2)]
    store = review(UncertainClassifier.from_pretrained(token_model_folder), rows)
    ready(visitor, "id0")
    words = [one.get_attribute("aria-label") for one in visitor.find_all("#words button")]
    assert words == ["the: O", "red: B-X", "cat: I-X", "sat: O"]
    assert visitor.find("#words [aria-pressed=true]").get_attribute("aria-label") == "red: B-X"
    visitor.press("1", "1")  # the mark moves on
    visitor.driver.refresh()
    ready(visitor, "id0")
    words = [one.get_attribute("aria-label") for one in visitor.find_all("#words button")]
    assert words == ["the: O", "red: O", "cat: O", "sat: O"], "a reload keeps the tags"
    visitor.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    visitor.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, "2")
    visitor.press(Keys.ENTER)
    ready(visitor, "id1")
    assert labels(store) == [("id0", ["B-X", "O", "O", "O"])]
    assert store.feedback()[0].wrong is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_by_everybody(topics, visitor, review, scheme):
    pair = TextPair("word " * 2000, "word" * 300)
    likely = {"topic 3": 0.5, "Wetter": 0.0001}
    rows = [waiting(n, pair, predicted="topic 3", probabilities=likely, label_set=["topic 3"]) for n in range(2)]
    review(topics, rows)
    ready(visitor, "id0")
    visitor.press("s")
    ready(visitor, "id1")
    visitor.press("/")
    visitor.emulate(scheme)
    assert visitor.low_contrasts() == []
    assert visitor.unnamed_controls() == []
    for part in visitor.find_all(".text"):
        assert part.size["height"] < 0.5 * visitor.driver.execute_script("return innerHeight")
    visitor.press(Keys.ESCAPE)
    tab_to(visitor, ".text")  # a long text can be scrolled by keyboard
    for width in (320, 390, 768):
        visitor.emulate(scheme, width)
        script = "return [document.documentElement.scrollWidth, innerWidth]"
        content, screen = visitor.driver.execute_script(script)
        assert content <= screen, width
    assert json.loads(visitor.find("#review").get_attribute("data-labels")) == TOPICS
