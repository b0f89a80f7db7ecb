"""Names of columns from variables, which come before the usual names and only where a table has them."""

import json
import os
import subprocess
import sys

CODE = """
import json
from aligned_entropy.data import labeled_texts, multilabel_texts
from aligned_entropy.data.columns import find_text_columns
from aligned_entropy.data.table import Table
from aligned_entropy.errors import DataError

def labeled(**columns):
    try:
        data = labeled_texts(columns)
    except DataError as error:
        return str(error)
    return [list(map(str, data.texts)), [data.label_names[label] for label in data.labels]]

print(json.dumps({
    "named": labeled(ticket=["7", "8"], body=["a", "b"], team=["x", "y"]),
    "usual": labeled(text=["a", "b"], label=["x", "y"]),
    "both": labeled(text=["c", "d"], body=["a", "b"], label=["v", "w"], team=["x", "y"]),
    "pairs": find_text_columns(Table({"body": ["a"], "reply": ["b"]})),
    "several": multilabel_texts({"body": ["a", "b"], "team": [["x"], ["x", "y"]]}).label_names,
    "neither": labeled(bodys=["a"], queue=["x"]),
    "several_texts": labeled(text=["a"], comment=["b"], label=["x"]),
    "no_label": labeled(text=["a"], teams=["x"]),
}))
"""


def test_a_variable_names_a_column():
    variables = {"ALIEN_TEXT_COLUMN": "body", "ALIEN_TEXT_PAIR_COLUMN": "reply", "ALIEN_LABEL_COLUMN": "team"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, env=os.environ | variables)
    given = json.loads(done.stdout)
    assert given["named"] == given["usual"] == given["both"] == [["a", "b"], ["x", "y"]]
    assert given["pairs"] == ["body", "reply"]
    assert given["several"] == ["x", "y"]
    assert given["neither"] == (
        "no text column among 'bodys', 'queue' (looked for body, text, sentence, content, review, document, tweet, "
        "comment, question, message, comment_text): name it with text_column='…' or --text-column, or "
        "correct ALIEN_TEXT_COLUMN, which names 'body' (did you mean 'bodys'?). No column has a usual name of labels, "
        "either: name theirs, too, with label_column='…' or --label-column, or correct ALIEN_LABEL_COLUMN, which names "
        "'team'."
    )
    assert "or correct ALIEN_TEXT_COLUMN, which names 'body'; for pairs of texts" in given["several_texts"]
    assert given["no_label"].endswith("or correct ALIEN_LABEL_COLUMN, which names 'team' (did you mean 'teams'?).")
