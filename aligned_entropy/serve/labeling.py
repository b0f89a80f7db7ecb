"""Feedback of a request as a row of the store, and texts that are to be deleted from it."""

from __future__ import annotations

from starlette.exceptions import HTTPException

from ..data.table import blank_word
from ..data.tagged_words import TaggedWords
from ..features.texts import Text, TextPair, parts_of
from ..store import NewFeedback, Store, StoredPrediction
from .checks import check_kind, check_texts
from .messages import DeletionRequest, FeedbackRequest, true_label
from .server import Server

NO_TEXTS = "this server stores no texts, see --store-texts"


def opened_store(server: Server) -> Store:
    """Store of a server.

    Raises:
        HTTPException: it has none.
    """
    if server.store is None:
        raise HTTPException(404, "this server stores no feedback: start it with --feedback FILE or --store URL.")
    return server.store


async def new_feedback(request: FeedbackRequest, server: Server) -> NewFeedback:
    """Check feedback, and look up the prediction that it names.

    Raises:
        DataError: the text or the label does not fit the model.
        HTTPException: the feedback names neither a text nor a stored prediction, a word is empty, its words belong to
            another text, or it needs a text and the server stores none.
        StoreError: the database cannot be used.
    """
    store = opened_store(server)
    words = _check_form(request)
    stored = None
    if request.id is not None:
        stored = await server.in_store(store.prediction, request.id)
        if stored is None:
            raise HTTPException(404, f"no prediction {request.id[:40]!r} is remembered: send its text instead.")
    elif store.texts != "keep":
        raise HTTPException(422, f"{NO_TEXTS}: send the id of a prediction.")
    text = _text(request, stored, words)
    classifier = server.head.classifier
    if text is not None:
        single = " ".join(text) if isinstance(text, list) else text
        check_texts([single], server.settings)
        check_kind([single], classifier)
    label = true_label(classifier.task, request, classifier.label_names)
    if stored is None:
        return NewFeedback(text=text, label=label, reviewer=request.reviewer)
    return feedback_on(stored, server, label, text=text, reviewer=request.reviewer)


def feedback_on(
    prediction: StoredPrediction,
    server: Server,
    label: str | list[str],
    *,
    text: Text | list[str] | None = None,
    reviewer: str | None = None,
) -> NewFeedback:
    """Make feedback on a stored prediction.

    Args:
        prediction: stored prediction.
        server: server of the model.
        label: checked label, list of labels, or tags of words.
        text: text, or the words that the tags label; None for the text of the prediction.
        reviewer: name of the person who gave the label.
    """
    classifier, words = server.head.classifier, None
    if isinstance(text, list) and isinstance(prediction.text, str):
        words = TaggedWords(prediction.text, text, classifier.label_names)
    return NewFeedback(
        text=prediction.text if text is None else text,
        label=label,
        prediction=prediction.id,
        predicted=prediction.predicted,
        uncertainty=prediction.uncertainty,
        error_probability=prediction.error_probability,
        accepted=prediction.accepted,
        head=prediction.head,
        wrong=classifier.task.is_wrong(prediction.predicted, label, words),
        reviewer=reviewer,
    )


def text_to_delete(request: DeletionRequest) -> Text | list[str]:
    """Text, pair of texts or list of words of a request.

    Raises:
        HTTPException: a list of words is the first text of a pair.
    """
    if request.text_pair is None:
        return request.text
    if isinstance(request.text, list):
        raise HTTPException(422, "text_pair is the second text of a pair: send the first one as a string in text.")
    return TextPair(request.text, request.text_pair)


def _check_form(request: FeedbackRequest) -> list[str] | None:
    """Check which fields feedback has; returns its words, if there are some.

    Raises:
        HTTPException: it has too many or too few.
    """
    words = request.text if isinstance(request.text, list) else None
    if words and (position := blank_word(words)) is not None:
        raise HTTPException(422, f"word {position} of the text is empty: leave it out with its tag.")
    if request.text_pair is not None and not (isinstance(request.text, str) and request.id is None):
        raise HTTPException(422, "text_pair is the second text of a pair: send the first one as a string in text.")
    if (request.id is None and request.text is None) or (request.id is not None and isinstance(request.text, str)):
        reason = "send either the id of a prediction, or a text; an id together with a list of words for tags."
        raise HTTPException(422, reason)
    return words


def _text(
    request: FeedbackRequest, stored: StoredPrediction | None, words: list[str] | None
) -> Text | list[str] | None:
    """Text (or pair of texts, or words) that feedback labels; None if it is not stored.

    Raises:
        HTTPException: the words belong to another text, or cannot be compared with it.
    """
    if stored is None:
        if isinstance(request.text, str) and request.text_pair is not None:
            return TextPair(request.text, request.text_pair)
        return request.text
    if words is None:
        return stored.text
    if stored.text is None:
        raise HTTPException(422, f"{NO_TEXTS}, so that words cannot be compared with those of the prediction.")
    if "".join("".join(words).split()) != "".join("".join(_parts(stored.text)).split()):
        raise HTTPException(422, f"these are not the words of the text of prediction {stored.id[:40]!r}.")
    return words


def _parts(text: Text | list[str]) -> list[str]:
    return text if isinstance(text, list) else list(parts_of(text))
