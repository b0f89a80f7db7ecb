"""Parts of an HTTP response: the JSON object of a reply, the message of an error, the time to wait."""

from __future__ import annotations

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

LONGEST_WAIT = 60.0  # seconds between two tries of a request


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """JSON object of a reply.

    Raises:
        ValueError: the reply is no JSON object.
    """
    reply = response.json()
    if not isinstance(reply, dict):
        raise ValueError("no JSON object")
    return reply


def error_message(response: httpx2.Response) -> str:
    """Message of an error of the server."""
    try:
        body = response.json()
    except ValueError:
        return response.text or response.reason_phrase
    error = body.get("error", body) if isinstance(body, dict) else body
    return str(error.get("message", error) if isinstance(error, dict) else error)


def seconds_to_wait(response: httpx2.Response) -> float:
    """Seconds that the server asks to wait, at most :data:`LONGEST_WAIT`; 1 if they cannot be read."""
    value = response.headers["retry-after"]
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
        except ValueError:
            seconds = 1.0
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else 1.0
