"""Train a model of SetFit on a CSV file and predict others; runs where setfit is installed, for tickets.py.

    PYTHON benchmarks/peers/peer_setfit.py BODY TRAIN.csv MODEL OUT.npz STEPS MAX_LENGTH FILE.csv …

BODY has the files of an encoder; the body of SetFit gets the mean of its vectors, normalized, as all-MiniLM-L6-v2 does.
Settings are the defaults of SetFit, but for the number of steps and the number of tokens of a text. OUT.npz holds the
probabilities of every file by its stem, the names of the classes in their order, the steps that the defaults would
take, and the seconds of CPU and of the clock from the start of the process to the first prediction of the saved model.
"""

import csv
import sys
import time
import warnings
from pathlib import Path

import numpy as np

START = time.perf_counter()


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def main():
    import datasets
    import setfit
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from setfit.sampler import ContrastiveDataset

    warnings.filterwarnings("ignore")
    body, train, folder, out, steps, max_length, *files = sys.argv[1:]
    texts, labels = read(train)
    names = sorted(set(labels))
    numbers = [names.index(label) for label in labels]
    encoder = Transformer(body, max_seq_length=int(max_length))
    parts = [encoder, Pooling(encoder.get_embedding_dimension(), "mean"), Normalize()]
    whole = f"{folder}-body"
    SentenceTransformer(modules=parts, device="cpu").save(whole)
    model = setfit.SetFitModel.from_pretrained(whole, labels=names, device="cpu")
    settings = setfit.TrainingArguments(
        max_steps=int(steps), report_to="none", save_strategy="no", output_dir=str(Path(folder).parent)
    )
    data = datasets.Dataset.from_dict({"text": texts, "label": numbers})
    setfit.Trainer(model=model, args=settings, train_dataset=data).train()
    model.save_pretrained(folder)
    model = setfit.SetFitModel.from_pretrained(folder, device="cpu")
    model.predict_proba(texts[:1])
    seconds = time.process_time(), time.perf_counter() - START
    pairs = ContrastiveDataset(texts, numbers, multilabel=False)
    usual = (pairs.len_pos_pairs + pairs.len_neg_pairs) // settings.embedding_batch_size
    found = {Path(name).stem: model.predict_proba(read(name)[0], as_numpy=True) for name in files}
    np.savez(out, names=np.array(names), seconds=np.array(seconds), usual=np.array(usual), **found)


main()
