"""Sessions of visitors who have entered the API key of the server."""

from __future__ import annotations

import hashlib
import hmac
import time

SESSION_SECONDS = 12 * 3600


class Sessions:
    """Tokens that show that a visitor has entered the API key.

    A token is the time at which the session ends, with its HMAC. The key of the HMAC is derived from the API key alone,
    so that the session holds on every server with this key, and ends on all of them when the key changes.

    Args:
        api_key: API key of the server.
    """

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key.encode()
        # scrypt, because a stolen token must not allow to guess a short key quickly
        self._signing_key = hashlib.scrypt(self._api_key, salt=b"aligned-entropy page session", n=2**14, r=8, p=1)

    def is_password(self, entered: str) -> bool:
        """True if a visitor has entered the API key; the comparison takes the same time for every text."""
        return hmac.compare_digest(entered.encode("utf-8", "surrogatepass"), self._api_key)

    def begin(self) -> str:
        """Token of a session that begins now."""
        end = str(int(time.time()) + SESSION_SECONDS)
        return f"{end}.{self._signature(end)}"

    def is_valid(self, token: str) -> bool:
        """True if a token was made with the API key of this server and its session has not ended."""
        end, _, signature = token.partition(".")
        is_genuine = hmac.compare_digest(signature.encode("utf-8", "surrogatepass"), self._signature(end).encode())
        return is_genuine and time.time() < int(end)

    def _signature(self, end: str) -> str:
        return hmac.new(self._signing_key, end.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
