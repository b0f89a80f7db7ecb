"""Options of ``alien serve``: its network, its limits and its keys."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from .elsewhere_options import EndpointOptions, EndpointTimeout, Retries
from .options import OptionGroup

if TYPE_CHECKING:
    from ..serve.server import Settings

ENVIRONMENT_PREFIX = "ALIEN"  # alien serve reads every option from the variable with this prefix, such as ALIEN_PORT


def _root_path(value: str) -> str:
    if value.strip("/") and not value.startswith("/"):
        raise typer.BadParameter(f"{value} does not begin with a slash: write /{value}.")
    return value.rstrip("/")


def _proxies(value: str) -> str:
    for address in value.split(","):
        try:
            if address.strip() != "*":
                ip_network(address.strip())
        except ValueError:
            raise typer.BadParameter(f"{address.strip()!r} is neither an IP address nor a network nor *.") from None
    return value


def _origins(values: list[str] | None) -> list[str] | None:
    for value in values or []:
        if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", value):
            raise typer.BadParameter(f"{value!r} is no origin: write https://example.org, without a path, or *.")
    return values


@dataclass(frozen=True)
class NetworkOptions(OptionGroup):
    """Options of the connections to clients and proxies."""

    panel: ClassVar[str] = "Network"

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(metavar="N", help="Port to listen on.", min=0, max=65535)] = 8000
    keep_alive: Annotated[
        float,
        typer.Option(metavar="X", help="Seconds until an idle connection is closed; more than the proxy's.", min=0.1),
    ] = 75.0
    root_path: Annotated[
        str, typer.Option(help="Path under which a proxy offers the server, such as /alien.", callback=_root_path)
    ] = ""
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            help="Addresses of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, separated by "
            "commas; * for all.",
            callback=_proxies,
        ),
    ] = "127.0.0.1"
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may send requests from a browser, or *; repeatable, in the variable separated by "
            "spaces.",
            callback=_origins,
        ),
    ] = None


@dataclass(frozen=True)
class LimitOptions(OptionGroup):
    """Options that limit requests and their batches."""

    panel: ClassVar[str] = "Limits"

    batch: Annotated[int, typer.Option(metavar="N", help="Maximum number of texts per batch.", min=1)] = 32
    wait: Annotated[float, typer.Option(metavar="X", help="Milliseconds to wait until a batch is full.", min=0)] = 2.0
    queue: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of waiting texts; more are refused.", min=1)
    ] = 1024
    max_texts: Annotated[int, typer.Option(metavar="N", help="Maximum number of texts per request.", min=1)] = 64
    max_characters: Annotated[int, typer.Option(metavar="N", help="Maximum number of characters per text.", min=1)] = (
        100_000
    )
    max_body: Annotated[
        int, typer.Option(metavar="N", help="Maximum size of a request in bytes, also when it is decompressed.", min=1)
    ] = 4_000_000
    timeout: Annotated[float, typer.Option(metavar="X", help="Seconds until a request is aborted.", min=0.1)] = 30.0


@dataclass(frozen=True)
class StoreOptions(OptionGroup):
    """Options of the store of predictions and feedback."""

    panel: ClassVar[str] = "Store"

    feedback: Annotated[
        Path | None,
        typer.Option(help="SQLite file for predictions and true labels; without a store, feedback is refused."),
    ] = None
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database in place of the file, which servers may share: postgresql://USER:PASSWORD@HOST/NAME; the "
            "variable hides the password.",
        ),
    ] = None
    store_texts: Annotated[
        Literal["keep", "hash", "omit"],
        typer.Option(help="Form of stored texts: as they are, as a hash by which they can be deleted, or none."),
    ] = "keep"
    keep_days: Annotated[
        float, typer.Option(metavar="X", help="Days until a stored prediction is deleted; feedback stays.", min=0)
    ] = 30.0
    keep_predictions: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of stored predictions; older ones are deleted.", min=1)
    ] = 100_000
    review_share: Annotated[
        float,
        typer.Option(
            metavar="X",
            help="Share of the predictions, besides deferred ones, that are drawn for review.",
            min=0,
            max=1,
        ),
    ] = 0.05

    @property
    def place(self) -> str | Path | None:
        """File or URL of the store; None without one.

        Raises:
            BadParameter: both are given, or one is empty.
        """
        if self.feedback is not None and self.store is not None:
            raise typer.BadParameter(f"--feedback {self.feedback} and --store name two stores: leave one out.")
        if self.store == "" or (self.store is None and os.environ.get(f"{ENVIRONMENT_PREFIX}_STORE") == ""):
            raise typer.BadParameter("--store is empty: write postgresql://…, the path of a file, or leave it out.")
        return self.feedback if self.store is None else self.store


@dataclass(frozen=True)
class ServedEndpointOptions(EndpointOptions):
    """Endpoint in place of a model, whose clients wait: it is given up earlier than by other commands."""

    endpoint_timeout: EndpointTimeout = 10.0
    retries: Retries = 1


def server_settings(
    limits: LimitOptions,
    network: NetworkOptions,
    store: StoreOptions,
    *,
    api_key: str | None,
    admin_key: str | None,
    page: bool,
) -> Settings:
    """Settings of the server for the options of the command."""
    from ..serve.server import Settings

    return Settings(
        batch=limits.batch,
        wait=limits.wait / 1000,
        queue=limits.queue,
        texts=min(limits.max_texts, limits.queue),
        characters=limits.max_characters,
        body=limits.max_body,
        timeout=limits.timeout,
        api_key=api_key,
        admin_key=admin_key,
        store=store.place,
        store_texts=store.store_texts,
        keep_seconds=86400 * store.keep_days,
        keep_predictions=store.keep_predictions,
        review_share=store.review_share,
        page=page,
        root_path=network.root_path,
        cors_origins=tuple(network.cors_origin or ()),
    )


def check_keys(keys: dict[str, str | None]) -> None:
    """Refuse keys that are empty, because a server without a key is open to all.

    Args:
        keys: key by the name of its variable without the prefix.

    Raises:
        BadParameter: a key or its variable is empty.
    """
    for name, key in keys.items():
        variable = f"{ENVIRONMENT_PREFIX}_{name}"
        if key == "" or (key is None and variable in os.environ):
            raise typer.BadParameter(f"the key {variable} is empty: set a key, or remove the variable.")
