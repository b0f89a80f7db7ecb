"""The JSON file of `--prompt`."""

import codecs
import json

import pytest

from aligned_entropy import DataError
from aligned_entropy.cli.loading import _read_prompt

PROMPT = {"labels": {"negative": "bad", "positive": ["good", "größer"]}, "template": "{text} It was"}


@pytest.mark.parametrize("start", [b"", codecs.BOM_UTF8])
def test_a_prompt_is_read_with_and_without_a_byte_order_mark(tmp_path, start):
    path = tmp_path / "prompt.json"
    path.write_bytes(start + json.dumps(PROMPT, ensure_ascii=False).encode())
    assert _read_prompt(path) == PROMPT


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b'{"labels": {"a": "b", "a": "c"}, "template": "{text}"}', "'a'"),
        (b'{"labels": {"a": "b"}}', "holds the keys labels: write a JSON object with labels and template"),
        (b'{"labels": {"a": "b"}, "template": "{text}", "exmples": []}', "exmples"),
        (b"[]", "holds a list"),
    ],
)
def test_a_damaged_or_incomplete_prompt_is_refused(tmp_path, content, reason):
    path = tmp_path / "prompt.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        _read_prompt(path)
