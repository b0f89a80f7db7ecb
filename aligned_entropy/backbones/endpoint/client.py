"""HTTP client of an endpoint: retries with back-off, limits, counts, and a key that is never shown."""

from __future__ import annotations

import json
import os
import random
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ...display.wording import cut
from ...errors import ArgumentError, EndpointError
from .responses import LONGEST_WAIT, error_message, json_object, seconds_to_wait

if TYPE_CHECKING:
    import httpx2

KEY_VARIABLES = ("ALIEN_ENDPOINT_KEY", "OPENAI_API_KEY")
FIRST_WAIT = 0.5  # seconds between the first two tries of a request
REFUSED = {
    401: "the key is missing or wrong",
    403: "the key may not use this model",
    404: "no such path or model, or one for chat=True alone",
}
FAILURES = 20  # requests in a row without any reply, after which the endpoint counts as gone
SHOWN = 200  # characters of a message of the server

T = TypeVar("T")
R = TypeVar("R")


class RequestError(Exception):
    """Reason why one request has no usable reply; other requests may have one."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Usage:
    """Counts of what an endpoint was asked.

    Attributes:
        requests: number of requests that were sent, retries included.
        retries: number of requests that repeated a failed one.
        prompt_tokens: number of tokens of all prompts, as counted by the server.
        completion_tokens: number of tokens that were generated, as counted by the server.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __str__(self) -> str:
        return (
            f"{self.requests:,} requests ({self.retries:,} of them retries), {self.prompt_tokens:,} prompt tokens, "
            f"{self.completion_tokens:,} completion tokens"
        )


class EndpointClient:
    """Client of one endpoint; its methods may be called from several threads.

    The key is read from ``ALIEN_ENDPOINT_KEY``, or else from ``OPENAI_API_KEY``; a local server needs none.

    Args:
        url: address of the API, such as ``http://127.0.0.1:8080/v1``.
        timeout: seconds without a byte of a reply after which a request has failed.
        retries: number of times that a failed request is repeated.
        concurrency: number of requests at once.
        max_requests: bound on the number of requests; None for no bound.

    Attributes:
        url: address of the API, without a query.
        concurrency: number of requests at once.
        usage: counts of what was asked.
        failures: number of requests in a row, the latest among them, that had no reply.
        trouble: short reason why the latest request had no reply, without a message of the server; empty if it had.

    Raises:
        ArgumentError: the address cannot be used, or a number is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        retries: int = 5,
        concurrency: int = 8,
        max_requests: int | None = None,
    ) -> None:
        import httpx2

        numbers = {"timeout": timeout, "retries": retries + 1, "concurrency": concurrency}
        for name, value in numbers.items():
            if not value > 0:
                raise ArgumentError(f"{name}={value}: a positive number is needed.")
        self._address = _address(url)
        self.url = str(self._address.copy_with(query=None))
        self.retries, self.concurrency, self.max_requests = retries, concurrency, max_requests
        self._key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), "")
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._http = httpx2.Client(headers=headers, timeout=timeout, limits=limits)
        weakref.finalize(self, self._http.close)
        self.timeout = timeout
        self.usage = Usage()
        self.failures, self.trouble = 0, ""
        self._is_stopped = threading.Event()
        self._lock = threading.Lock()

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and again where this may help; return the JSON object of the reply.

        Args:
            path: path behind the address of the API, such as ``/completions``.
            body: JSON object to send.

        Raises:
            RequestError: there is no usable reply to this request.
            EndpointError: the endpoint refuses all requests or is gone, or the bound on requests is reached.
        """
        import httpx2

        reason: str | None = None
        address = self._address.copy_with(path=self._address.path.rstrip("/") + path)
        content = json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            self._count_request(attempt)
            delay = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * (0.5 + random.random())
            try:
                response = self._http.post(address, content=content)
                self.trouble = f"it responds with {response.status_code}"
                reason = self._problem(response)
                if reason is None:
                    return self._counted(json_object(response))
                delay = seconds_to_wait(response) if "retry-after" in response.headers else delay
            except httpx2.TimeoutException:
                reason = self.trouble = f"no reply within {self.timeout:g} s"
            except (httpx2.RemoteProtocolError, httpx2.DecodingError, ValueError):
                reason = self.trouble = "the reply was cut off"
            except httpx2.TransportError as error:
                self.trouble = "no connection"
                reason = f"no connection to {self.url}: {self._shown(str(error) or type(error).__name__)}"
            if attempt < self.retries:
                self._pause(delay)
        self._count_failure(reason)
        raise RequestError(f"{reason}, after {self.retries + 1} tries")

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R | RequestError]]:
        """Call a function that sends requests for every item, several at once; yield items as they are finished.

        Args:
            function: function of an item; a :class:`RequestError` that it raises is yielded in place of its value.
            items: items of any number; few are read ahead.

        Raises:
            EndpointError: raised by the function; requests that were not sent yet are left out.
        """
        self._is_stopped.clear()
        running: dict[Future[R], T] = {}
        waiting = iter(items)
        with ThreadPoolExecutor(self.concurrency) as pool:
            try:
                while True:
                    while len(running) < 2 * self.concurrency and (item := next(waiting, None)) is not None:
                        running[pool.submit(function, item)] = item
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        item = running.pop(future)
                        error = future.exception()
                        if error is not None and not isinstance(error, RequestError):
                            raise error
                        yield item, future.result() if error is None else error
            finally:
                if running:
                    self._is_stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _problem(self, response: httpx2.Response) -> str | None:
        """Reason to send a request again; None if there is a reply.

        Raises:
            RequestError: the request will never have a reply.
            EndpointError: no request will have one.
        """
        status = response.status_code
        if status == 200:
            return None
        message = self._shown(error_message(response))
        if status in REFUSED:
            raise EndpointError(
                f"{self.url} refuses with {status}, {REFUSED[status]}: {message}. Check the address, the name of the "
                f"model and the key in {' or '.join(KEY_VARIABLES)}."
            )
        if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
            return f"the server responds with {status}: {message}"
        if status < 400:
            raise EndpointError(f"{self.url} responds with {status} and not with JSON: give the address of the API.")
        self.failures = 0
        raise RequestError(f"the server refuses the request with {status}: {message}", status)

    def _pause(self, seconds: float) -> None:
        """Wait, unless the run ends because of an error of another request or a signal."""
        if self._is_stopped.wait(seconds):
            raise RequestError("the run has ended")

    def _counted(self, reply: dict[str, Any]) -> dict[str, Any]:
        """Count the tokens of a reply, and return it."""
        counts = reply.get("usage")
        tokens = counts if isinstance(counts, dict) else {}
        numbers = [tokens.get(name) for name in ("prompt_tokens", "completion_tokens")]
        prompt, completion = (number if isinstance(number, int) else 0 for number in numbers)
        with self._lock:
            self.failures, self.trouble = 0, ""
            self.usage = replace(
                self.usage,
                prompt_tokens=self.usage.prompt_tokens + prompt,
                completion_tokens=self.usage.completion_tokens + completion,
            )
        return reply

    def _count_request(self, attempt: int) -> None:
        with self._lock:
            if self.max_requests is not None and self.usage.requests >= self.max_requests:
                self.trouble = f"the bound of {self.max_requests} requests is reached"
                raise EndpointError(
                    f"the bound of {self.max_requests} requests is reached ({self.usage}): what was asked is stored, "
                    "so raise the bound and run again to continue."
                )
            is_retry = int(attempt > 0)
            self.usage = replace(self.usage, requests=self.usage.requests + 1, retries=self.usage.retries + is_retry)

    def _count_failure(self, reason: str | None) -> None:
        with self._lock:
            self.failures += 1
            failures = self.failures
        if failures >= FAILURES:
            raise EndpointError(
                f"{failures} requests in a row had no reply, the last one: {reason}. What was asked before is stored: "
                "run again to continue when the server works, with fewer requests at once if it is too busy."
            )

    def _shown(self, text: str) -> str:
        """Start of a message on one line; a key in it is made unreadable."""
        text = " ".join(text.split())
        return (text.replace(self._key, "***") if self._key else text)[:SHOWN].rstrip(" .")


def _address(url: str) -> httpx2.URL:
    import httpx2

    try:
        address = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise ArgumentError(
            f"the endpoint {cut(url, 80)} is no address: {error}. Write http://127.0.0.1:8080/v1."
        ) from error
    if address.userinfo:
        raise ArgumentError(
            f"the address of the endpoint at {address.host} holds a user name or a password: leave it out, and put the "
            f"key into {KEY_VARIABLES[0]}."
        )
    if address.scheme not in ("http", "https") or not address.host:
        raise ArgumentError(f"the endpoint {cut(url, 80)} is no address: write http://127.0.0.1:8080/v1 or https://….")
    if address.path.rstrip("/").endswith(("/completions", "/embeddings")):
        raise ArgumentError(
            f"the endpoint {cut(url, 80)} names a path of the API: leave out /completions, /chat/completions or "
            "/embeddings, as in http://127.0.0.1:8080/v1."
        )
    return address
