"""Options of commands that take a language model behind an endpoint, or outputs, in place of a model."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from .checks import json_value
from .options import ModelOptions
from .outputs_options import OutputsOptions
from .terminal import option_words

PANEL = "Language model behind an endpoint, in place of a model"
EndpointTimeout = Annotated[
    float,
    typer.Option(
        metavar="X",
        help="Seconds without a byte of a reply after which a request fails.",
        min=0.001,
        rich_help_panel=PANEL,
    ),
]
Retries = Annotated[
    int,
    typer.Option(metavar="N", help="Times that a failed request is repeated.", min=0, rich_help_panel=PANEL),
]
NAMES_OF_OUTPUTS = frozenset(option.name for option in fields(OutputsOptions))


@dataclass(frozen=True)
class ElsewhereOptions(OutputsOptions):
    """Model that is not in this process: its outputs, or the endpoint that it is behind."""

    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of an API like OpenAI's in place of MODEL, such as http://127.0.0.1:8080/v1; needs --prompt, "
            "or a head that contains it. The key is read from ALIEN_ENDPOINT_KEY or OPENAI_API_KEY; see "
            "docs/endpoints.md.",
            rich_help_panel=PANEL,
        ),
    ] = None
    model_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the model; that of the head by default.", rich_help_panel=PANEL),
    ] = None
    top_logprobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Most probable tokens to ask for: 20 for OpenAI, more where the server allows it.",
            min=1,
            rich_help_panel=PANEL,
        ),
    ] = 20
    concurrency: Annotated[
        int, typer.Option(metavar="N", help="Number of requests at once.", min=1, rich_help_panel=PANEL)
    ] = 8
    endpoint_timeout: EndpointTimeout = 60.0
    retries: Retries = 5
    max_requests: Annotated[
        int | None,
        typer.Option(metavar="N", help="Bound on the number of requests.", min=1, rich_help_panel=PANEL),
    ] = None
    extra_body: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='More parameters of every request, such as {"chat_template_kwargs": {"enable_thinking": false}}.',
            rich_help_panel=PANEL,
        ),
    ] = None
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Encoder that gives the head vectors of texts: path, hub id, minilm, or endpoint:MODEL for a model at "
            "/embeddings of the same address; that of the head by default.",
            rich_help_panel=PANEL,
        ),
    ] = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``from_endpoint`` besides the head and the prompt.

        Raises:
            BadParameter: ``--extra-body`` is no JSON object.
        """
        arguments = {option.name: getattr(self, option.name) for option in self._of_endpoint()}
        names = {"url": "endpoint", "model": "model_name", "timeout": "endpoint_timeout"}
        arguments |= {name: arguments.pop(option) for name, option in names.items()}
        arguments["field"] = self.field
        if self.extra_body is not None:
            body = json_value("--extra-body", self.extra_body)
            if not isinstance(body, dict):
                raise typer.BadParameter(f"--extra-body {self.extra_body}: a JSON object is needed.")
            arguments["extra_body"] = body
        return arguments

    def source(
        self, model: str | None, data: str | Path | None, options: ModelOptions, *, default: str | None = None
    ) -> tuple[str | None, str]:
        """Name of the model in this process, None without one, and name of the data or of the file of outputs.

        With an endpoint, the first word of the command is the data.

        Args:
            model: MODEL, if it was given.
            data: DATA, if it was given.
            options: options of the model; without it none may be given but the prompt of an endpoint.
            default: DATA if none was given.

        Raises:
            BadParameter: a word is missing or there is one too many, or options exclude each other.
        """
        self.check_place(None if data is None else model, options)
        if self.endpoint is None:
            return model, self.file(model, data, options, default=default)
        if self.outputs is not None or self.label_names is not None:
            raise typer.BadParameter(
                f"--endpoint {self.endpoint} excludes --outputs and --label-names: leave them out."
            )
        source = model or data or default
        if source is None:
            raise typer.BadParameter(f"--endpoint {self.endpoint} needs DATA.")
        return None, str(source)

    def check_place(self, model: str | None, options: ModelOptions) -> None:
        """Check that an endpoint is alone in the place of a model, and that its options have an address.

        Raises:
            BadParameter: the options exclude each other, or the address is missing.
        """
        if self.endpoint is None:
            given = option_words(replace(self._only_endpoint(), field=None))
            if given:
                raise typer.BadParameter(f"{' '.join(given)}: this is for --endpoint URL; give the address, too.")
            return
        if model is not None:
            raise typer.BadParameter(f"--endpoint {self.endpoint} takes the place of MODEL: leave out {model}.")
        if options != ModelOptions(prompt=options.prompt):
            words = " ".join(option_words(replace(options, prompt=None)))
            raise typer.BadParameter(f"{words}: the server of --endpoint loads the model; leave it out.")

    def words(self, model: str | None, data: str) -> list[str]:
        """Words of a next command: MODEL and DATA, a file of outputs, or DATA with the endpoint."""
        return super().words(model, data) if self.endpoint is None else self.words_of(model, data)

    def words_of(self, model: str | None, data: str) -> list[str]:
        """Words of a next command for the same data."""
        if self.endpoint is not None:
            return [data, *option_words(replace(self._only_endpoint(), max_requests=None))]
        field = [] if self.field is None else ["--field", self.field]
        return ["--outputs", data, *field] if model is None else [model, data]

    @staticmethod
    def _of_endpoint() -> list[Any]:
        return [option for option in fields(ElsewhereOptions) if option.name not in NAMES_OF_OUTPUTS]

    def _only_endpoint(self) -> ElsewhereOptions:
        return replace(self, outputs=None, label_names=None)


@dataclass(frozen=True)
class EndpointOptions(ElsewhereOptions):
    """Endpoint in place of a model, for a command that reads no file of outputs."""

    left_out: ClassVar[frozenset[str]] = NAMES_OF_OUTPUTS
