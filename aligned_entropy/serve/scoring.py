"""Route of a server without a model: it takes outputs of a model that runs elsewhere in place of texts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Request
from pydantic import Field, JsonValue, Strict
from starlette.exceptions import HTTPException

from ..data.outputs import OUTPUT_COLUMNS
from .checks import api_key_checks, check_count, check_text
from .heads import OutputsRow
from .messages import Message, PredictResponse
from .server import Server, Settings, while_connected

Number = Annotated[float, Strict()]
NO_MODEL = "this server has no model and reads no texts: send the outputs of the model to POST /v1/score."


class Outputs(Message):
    """Outputs of a model for one text, in one of three forms, as in a row of a file of outputs."""

    logits: list[Number] | None = Field(
        default=None, description="Logit of each class, in the order of the head.", examples=[[-1.2, 2.3]]
    )
    probabilities: list[Number] | None = Field(
        default=None, description="Probability of each class, in place of logits; their sum is 1."
    )
    top_logprobs: JsonValue = Field(
        default=None,
        description="Log-probabilities of the most likely tokens, in place of logits: {token: number}, or a list of "
        '{"token": …, "logprob": …}. A token belongs to the class whose name it is.',
    )
    hidden: list[Number] | None = Field(default=None, description="Vector of the text, if the head was fitted on some.")
    embedding: list[Number] | None = Field(default=None, description="Vector of the text, another name for hidden.")
    text: str | None = Field(default=None, description="Text, if the head reads its words.")


class ScoreRequest(Message):
    """Outputs to score."""

    outputs: list[Outputs] = Field(description="Outputs of the model, one row for each text.")
    probabilities: bool = Field(
        default=True, description="False if the response need not contain the probabilities of the classes."
    )


def add_score_routes(app: FastAPI, server: Server) -> None:
    """Add the route for outputs, and refusals in place of the routes for texts."""
    needs_api_key = api_key_checks(server.settings)

    @app.post("/v1/score", dependencies=needs_api_key, response_model_exclude_unset=True)
    async def score(body: ScoreRequest, request: Request) -> PredictResponse:
        """Score outputs of a model: the predicted class, its uncertainty and the probability that it is wrong."""
        check_count(len(body.outputs), "rows of outputs", server.settings)
        rows = [_row(number, row, server.settings) for number, row in enumerate(body.outputs)]
        predictions = await while_connected(request, server.predict(rows))
        return PredictResponse(predictions=await server.record([], predictions, body.probabilities))

    @app.post("/v1/predict", dependencies=needs_api_key, include_in_schema=False)
    async def predict() -> None:
        raise HTTPException(404, NO_MODEL)

    @app.post("/v1/feedback", dependencies=needs_api_key, include_in_schema=False)
    async def feedback() -> None:
        raise HTTPException(
            404, "a server without a model stores no feedback: keep outputs and labels in a file for alien refit."
        )


def _row(number: int, outputs: Outputs, settings: Settings) -> OutputsRow:
    """Columns of a row that have values.

    Raises:
        HTTPException: the row does not have exactly one form of outputs, or its text is empty, too long or not valid
            Unicode.
    """
    if outputs.text is not None:
        check_text(outputs.text, f"the text in row {number} of outputs", settings)
    columns: dict[str, Any] = {name: value for name, value in outputs.model_dump().items() if value is not None}
    forms = [name for name in OUTPUT_COLUMNS if name in columns]
    if len(forms) != 1:
        given = " and ".join(forms) or "none of them"
        raise HTTPException(422, f"row {number} of outputs has {given}: send one of {', '.join(OUTPUT_COLUMNS)}.")
    return OutputsRow(number, columns)
