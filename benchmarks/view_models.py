"""Accuracy, time and bytes of the class models of views on development splits, against other ways of fitting them.

Classifiers and texts are those of ``benchmarks/views.py``; no test split is read. Class models are fitted on the
training texts. Prints for every way the share of the measured texts on which the view alone is right, the gain in
ROC-AUC of error detection by the view with its prior weight over softmax response, in hundredths with DeLong's standard
error, the seconds of the fit, and the size of the view. Means are over the classifiers of a data set.

    ALIEN_DATA=DATA python benchmarks/view_models.py sst2:full cola:full --seeds 3
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union
from torch import Tensor
from torch.nn import functional as F
from views import classifier_features, splits

from aligned_entropy.features.arrays import Features
from aligned_entropy.head import class_models
from aligned_entropy.head.class_models import ClassModel, NgramModel
from aligned_entropy.head.scoring import log_softmax_response
from aligned_entropy.head.view_features import FOLDS, fit_view
from aligned_entropy.head.views import MAX_BUCKETS, MAX_TABLE, PRIOR_WEIGHT, View, ngram_buckets
from aligned_entropy.stats import paired_auc

LogProbabilities = Callable[[int], Tensor]  # of the calibration texts (1) and of the measured texts (2)
Way = tuple[str, float, int, LogProbabilities]
LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "layers": lambda v: v,
    "layers, every second": lambda v: v[:, 1::2],
    "layers, the last alone": lambda v: v[:, -1:],
    "layers, the first half": lambda v: v[:, : v.shape[1] // 2],
}
BUCKETS = (2**12, 2**14, 2**20)
STRENGTHS = {"layers": (1e-4, 1e-3, 1e-2), "tokens": (1.0, 10.0, 100.0)}  # inverse penalties of logistic regression


def folds(rows: int) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0)) % FOLDS


def logistic(inputs: list[np.ndarray], labels: np.ndarray, strengths: tuple[float, ...]) -> LogProbabilities:
    """Fit a logistic regression on the first inputs; the strength has the highest likelihood of one fold."""
    held_out = folds(len(labels)).numpy() == 0

    def fit(strength: float, rows: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=300).fit(inputs[0][rows], labels[rows])

    losses = [
        -fit(strength, ~held_out).predict_log_proba(inputs[0][held_out])[range(held_out.sum()), labels[held_out]].mean()
        for strength in strengths
    ]
    model = fit(strengths[int(np.argmin(losses))], np.full(len(labels), True))
    return lambda part: torch.tensor(model.predict_log_proba(inputs[part])).float()


class TextModel(NgramModel):
    """Ridge regression on the words and characters of texts, in place of the token ids."""

    def __init__(self, texts: list[str], labels: Tensor, classes: int, fold: Tensor) -> None:
        ClassModel.__init__(self, labels, classes, fold)
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
        self.vectorizer = make_union(words, characters)
        self._design = self.vectorizer.fit_transform(texts).tocsr()


def ngram_design(tokens: Tensor, frequency: Tensor) -> sparse.csr_matrix:
    """N-grams ``[N, B]`` of texts, weighted by the inverse document frequency of the texts of a fit."""
    index = ngram_buckets(tokens, len(frequency))
    rows, columns = (index < len(frequency)).nonzero(as_tuple=True)
    buckets = index[rows, columns]
    entries = (frequency.float()[buckets].numpy(), (rows.numpy(), buckets.numpy()))
    norms = F.pad(frequency.float().square(), (0, 1))[index].sum(1).clamp(min=1e-12).sqrt().numpy()
    return sparse.diags(1 / norms) @ sparse.csr_matrix(entries, (len(tokens), len(frequency)))


def ways(parts: list[Features], texts: list[list[str]], classes: int) -> Iterator[Way]:
    """Yield name, seconds of the fit, bytes (0 where no view is made) and log-probabilities of every way to fit."""
    labels = torch.tensor(parts[0].labels)
    layers, tokens = ([torch.tensor(np.asarray(part.views[name])) for part in parts] for name in ("layers", "tokens"))

    def timed(name: str, key: str, values: list[Tensor]) -> Way:
        start = time.perf_counter()
        view = fit_view(key, values[0], labels, classes, folds(len(labels)))
        seconds = time.perf_counter() - start
        size = sum(buffer.nbytes for buffer in view.state_dict().values())
        return name, seconds, size, lambda part: view.log_probabilities(values[part]).log_softmax(-1)

    for name, chosen in LAYERS.items():
        yield timed(name, "layers", [chosen(values) for values in layers])
    start = time.perf_counter()
    mean, scale = layers[0].float().mean(0), layers[0].float().std(0).clamp(min=1e-6)
    standardized = [((values.float() - mean) / scale).numpy() for values in layers]
    models = [
        logistic([values[:, layer] for values in standardized], labels.numpy(), STRENGTHS["layers"])
        for layer in range(layers[0].shape[1])
    ]
    seconds = time.perf_counter() - start
    yield "layers, logistic regression", seconds, 0, lambda part: sum(model(part) for model in models) / len(models)  # type: ignore[return-value]
    yield timed("tokens", "tokens", tokens)
    apart = [torch.stack([ids, torch.full_like(ids, -1)], -1).flatten(1) for ids in tokens]
    yield timed("tokens, 1-grams", "tokens", apart)
    for buckets in BUCKETS:
        class_models.MAX_BUCKETS, class_models.MAX_TABLE = buckets, buckets * classes
        yield timed(f"tokens, {buckets:,} buckets", "tokens", tokens)
    class_models.MAX_BUCKETS, class_models.MAX_TABLE = MAX_BUCKETS, MAX_TABLE
    frequency = NgramModel(tokens[0], labels, classes, folds(len(labels))).frequency
    designs = [ngram_design(ids, frequency) for ids in tokens]
    start = time.perf_counter()
    model = logistic(designs, labels.numpy(), STRENGTHS["tokens"])
    yield "tokens, logistic regression", time.perf_counter() - start, 0, model
    start = time.perf_counter()
    text_model = TextModel(texts[0], labels, classes, folds(len(labels)))
    penalty, factor, shift = text_model.choose()
    solution = text_model.solve((), penalty).scaled(factor, shift)
    seconds = time.perf_counter() - start
    designs = [None, *(text_model.vectorizer.transform(part) for part in texts[1:])]
    yield (
        "words and characters",
        seconds,
        0,
        lambda part: (torch.from_numpy(designs[part] @ solution.weights.numpy()) + solution.biases).log_softmax(-1),
    )


def measured(log_probabilities: LogProbabilities, parts: list[Features]) -> tuple[float, float, float]:
    """Accuracy of a view, and the gain of its signal over softmax response with its standard error, in hundredths."""
    columns = []
    for part in (1, 2):
        predicted = torch.tensor(parts[part].predictions)
        score = torch.logit(log_softmax_response(torch.tensor(parts[part].logits)).double().exp(), eps=1e-12)
        columns.append(torch.stack([score, View.against(log_probabilities(part).double(), predicted)[:, 0]], 1))
    mean, deviation = columns[0].mean(0), columns[0].std(0)
    signals = ((columns[1] - mean) / deviation).numpy()
    correct = log_probabilities(2).argmax(-1).numpy() == parts[2].labels
    gain, error = paired_auc(parts[2].errors, signals @ [1, PRIOR_WEIGHT], signals[:, 0])
    return 100 * correct.mean(), 100 * gain, 100 * error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="data set and mode of training, such as cola:full")
    parser.add_argument("--base", default="minilm", help="model to train")
    parser.add_argument("--seeds", type=int, default=1, help="number of trained classifiers of each data set")
    parser.add_argument("--runs", type=Path, default=Path("runs/views"), help="folder of trained classifiers")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print("data | view | alone right, % | gain | seconds | KiB", flush=True)
    for data in options.data:
        name, mode = data.split(":")
        rows = defaultdict(list)
        for seed in range(options.seeds):
            classifier, parts = classifier_features(options.base, name, mode, seed, options.runs)
            texts = [[str(text) for text in part.texts] for part in splits(name, seed)]
            for way, seconds, size, model in ways(parts, texts, len(classifier.label_names)):
                rows[way].append([*measured(model, parts), seconds, size / 1024])
        for way, values in rows.items():
            right, gain, error, seconds, size = np.mean(values, axis=0)
            print(f"{data} | {way} | {right:.1f} | {gain:+.2f} ± {error:.2f} | {seconds:.2f} | {size:,.0f}", flush=True)


if __name__ == "__main__":
    main()
