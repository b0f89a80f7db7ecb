"""Progress bars of other libraries stay out of the output, and a user's own bars and settings stay as they were."""

import io
import subprocess
import sys
import threading

import pytest
from datasets.utils import tqdm as datasets_bar
from huggingface_hub.utils import tqdm as hub_bar
from tqdm.auto import tqdm

from aligned_entropy.display.progress_bars import without_progress_bars
from fixtures import tiny


def output(make=tqdm):
    """What a bar over three items writes."""
    page = io.StringIO()
    assert list(make(range(3), file=page)) == [0, 1, 2]
    return page.getvalue()


@pytest.mark.parametrize("make", [tqdm, hub_bar, datasets_bar])
def test_bars_are_silent_inside_the_block_alone(make):
    before = make.__init__
    with without_progress_bars():
        assert output(make) == ""
    assert "3/3" in output(make)
    assert make.__init__ is before


def test_bars_are_silent_until_the_last_block_ends_and_after_an_error():
    @without_progress_bars()
    def fail():
        with without_progress_bars():
            assert output() == ""
        assert output() == ""
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert "3/3" in output()


def test_threads_share_the_silence_and_end_it_together():
    inside, end = threading.Event(), threading.Event()

    @without_progress_bars()
    def work():
        inside.set()
        end.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(10)
    with without_progress_bars():
        pass
    silent = output()
    end.set()
    thread.join()
    assert silent == ""
    assert "3/3" in output()


SCRIPT = """
import sys, transformers
from huggingface_hub.utils import are_progress_bars_disabled
from aligned_entropy import UncertainClassifier
from aligned_entropy.finetune import TrainConfig, train_classifier
folder = sys.argv[1]
data = ([f"{word} film" for word in ("bad", "good")] * 20, ["no", "yes"] * 20)
for mode in ("freeze", "full"):
    train_classifier(folder, data, f"{folder}/{mode}", TrainConfig(mode, epochs=1, max_length=16))
UncertainClassifier.from_pretrained(f"{folder}/full").predict(["a good film"])
assert transformers.utils.logging.is_progress_bar_enabled() and not are_progress_bars_disabled()
print("loaded", file=sys.stderr)
transformers.AutoModel.from_pretrained(folder)
"""


def test_training_and_loading_write_no_bar(tmp_path):
    """The same process shows that the bars of transformers are on, as soon as a call is the user's own."""
    tiny.model("Bert").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ours, theirs = done.stderr.split("loaded\n")
    assert done.stdout == ""
    assert "it/s" not in ours  # transformers may report on the new layer, but draws no bar
    assert "%|" not in ours
    assert "Loading weights: 100%" in theirs
