"""Options of ``alien serve``: its network, its limits and its keys."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

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
class ServedEndpointOptions(EndpointOptions):
    """Endpoint in place of a model, whose clients wait: it is given up earlier than by other commands."""

    endpoint_timeout: EndpointTimeout = 10.0
    retries: Retries = 1


def server_settings(
    limits: LimitOptions,
    network: NetworkOptions,
    *,
    api_key: str | None,
    admin_key: str | None,
    feedback: Path | None,
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
        feedback=feedback,
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
