"""Checks of requests: API keys, texts, and the prediction that feedback names."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from ..backbones import EndpointBackbone, LabelWordBackbone
from ..classifier import UncertainClassifier
from ..data.files.text_files import is_damaged
from ..errors import DataError
from ..features.texts import NO_PAIRS, Text, are_pairs, length_of, parts_of
from .server import Settings


def api_key_checks(settings: Settings) -> list[Any]:
    """Dependencies that refuse requests without the API key; empty if the server has none."""
    if settings.api_key is None:
        return []
    scheme = HTTPBearer(scheme_name="ApiKey", description="API key of the server.", auto_error=False)
    return [Depends(_key_check(settings.api_key)), Security(scheme)]


def admin_key_checks(settings: Settings) -> list[Any]:
    """Dependencies that refuse requests without the admin key; they refuse all requests if the server has none."""
    description = "Key for exchanging the head and for deleting predictions."
    scheme = HTTPBearer(scheme_name="AdminKey", description=description, auto_error=False)
    return [Depends(_key_check(settings.admin_key)), Security(scheme)]


def _key_check(key: str | None) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if key is None:
            reason = "this needs the admin key, which the server has not: start it with ALIEN_ADMIN_KEY set."
            raise HTTPException(403, reason)
        authorization = request.headers.get("authorization", "").encode("latin-1")  # the bytes as they were sent
        scheme, _, sent = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(sent, key.encode()):
            reason = "the key is missing or wrong: send it as 'Authorization: Bearer …'."
            raise HTTPException(401, reason, {"WWW-Authenticate": "Bearer"})

    return check


def check_kind(texts: Sequence[Text], classifier: UncertainClassifier) -> None:
    """Check that texts are all pairs or all single texts, as the model takes them and the head was fitted on.

    Raises:
        DataError: they are not.
    """
    pairs = are_pairs(texts)
    if pairs and classifier.task.per_word:
        raise DataError(f"{NO_PAIRS}: send each text alone.")
    if isinstance(classifier.backbone, LabelWordBackbone | EndpointBackbone):
        classifier.backbone.prompts.check_kind(texts)
    if texts:
        classifier.saved.check_kind(pairs)


def check_count(count: int, unit: str, settings: Settings) -> None:
    """Check the number of texts, or of other units, in a request.

    Raises:
        HTTPException: there are too many.
    """
    if count > settings.texts:
        raise HTTPException(422, f"{count} {unit} in a request, at most {settings.texts} are allowed.")


def check_texts(texts: Sequence[Text], settings: Settings) -> None:
    """Check texts, and both texts of pairs, against the limits of the server.

    Raises:
        HTTPException: there are too many texts, or a text is empty, too long or not valid Unicode.
    """
    check_count(len(texts), "texts", settings)
    for number, text in enumerate(texts):
        check_text(text, f"text {number}", settings)


def check_text(text: Text, place: str, settings: Settings) -> None:
    """Check a text, or both texts of a pair.

    Args:
        text: text or pair of texts.
        place: position of the text in the request, for error messages.
        settings: limits of the server.

    Raises:
        HTTPException: the text is empty, too long or not valid Unicode.
    """
    parts, length = parts_of(text), length_of(text)
    if not all(part.strip() for part in parts):
        raise HTTPException(422, f"{place} is empty{', or its text_pair' if len(parts) > 1 else ''}.")
    if length > settings.characters:
        raise HTTPException(422, f"{place} has {length} characters, more than {settings.characters}.")
    if any(map(is_damaged, parts)):
        raise HTTPException(422, f"{place} holds half of a surrogate pair: send valid Unicode.")
