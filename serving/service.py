"""The BentoML service: carries requests to polydistill.classifier, which decides the answers.

No adaptive batching: it would take APIs of one parameter and promise no order, and a request already is a batch.
"""

import os
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from polydistill.classifier import (
    MAX_BODY_BYTES,
    Classifier,
    ClassifyRequest,
    ClassifyResponse,
    RequestError,
    parse_request,
)
from polydistill.traffic import UNLOGGED, answers, traffic_log

# BentoML has read, and remembers, whether it may report usage before it loads a service.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
usage_stats.do_not_track.cache_clear()

# Opened here, so that a log that cannot be written stops the server; a service that fails is started again and again.
TRAFFIC = traffic_log()
LOGGED = ContextVar("LOGGED", default=True)
"""Whether the request that is answered is to be logged; BentoML hands the context on to the thread that answers."""

OVERVIEW = {"classify": "POST /classify", "models": "GET /models", "openapi": "GET /docs.json", "health": "GET /readyz"}


def version() -> str:
    """Return the version of the bento that is served."""
    return str(bentoml.server_context.bento_version)


def refusal(error: RequestError) -> Response:
    """Return the response that refuses a request."""
    return JSONResponse({"error": str(error)}, status_code=error.status)


async def models(_: Request) -> Response:
    """Answer GET /models."""
    classifier: Classifier = bentoml.get_current_service().classifier
    return JSONResponse({"model_version": version(), "models": classifier.models()})


@bentoml.asgi_app(Starlette(routes=[Route("/models", models)]))
@bentoml.service(name="Classification")
class Classification:
    """Classifies short texts in the languages that it was distilled for."""

    def __init__(self) -> None:
        self.classifier = Classifier.load(Path(__file__).parent / "winners")

    @bentoml.api
    def classify(self, request: ClassifyRequest, /) -> ClassifyResponse:
        """Return for each text its language, its likeliest label and the probabilities of all labels."""
        try:
            task = self.classifier.choose_task(request.task)
            predictions = self.classifier.classify(request.texts, request.language, task)
        except RequestError as error:
            return refusal(error)  # BentoML passes a response on as it is
        response = ClassifyResponse(task=task, model_version=version(), predictions=predictions)
        if TRAFFIC and LOGGED.get():
            TRAFFIC.append(answers(response, request.texts, datetime.now(UTC)))
        return response


class Gate:
    """Refuses bad requests before BentoML does, which logs a traceback for each and says less of what is wrong."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it is a good one."""
        if scope["type"] == "http" and scope["path"] == "/":
            # In place of BentoML's page, which has the browser tell a third party of every visit.
            await JSONResponse(OVERVIEW)(scope, receive, send)
            return
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/classify"):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await read_body(request)
            parse_request(request.headers.get("Content-Type", "application/json"), body)
        except RequestError as error:
            await refusal(error)(scope, receive, send)
            return
        LOGGED.set(UNLOGGED not in request.headers)
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, receive_again, send)


async def read_body(request: Request) -> bytes:
    """Return the body of the request.

    Raises:
        RequestError: As soon as it is larger than any good one.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise RequestError(f"the request is too large, at most {MAX_BODY_BYTES:,} bytes; send several", 413)
    return bytes(body)


Classification.add_asgi_middleware(Gate)
