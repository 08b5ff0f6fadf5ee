"""The HTTP interface: TensorFlow Serving's addresses, uploads, health and metrics."""

import asyncio
import contextlib
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from asc_tf.serving import descriptions, json_bodies, page
from asc_tf.serving.access import check_access
from asc_tf.serving.answers import Answers
from asc_tf.serving.backends import Backend
from asc_tf.serving.metrics import CONTENT_TYPE, Metrics
from asc_tf.serving.requests import BodyReader, drop_body, is_upload
from asc_tf.serving.settings import QueueFullError, RequestError, Settings
from asc_tf.serving.versions import LOGGER, Versions
from asc_tf.serving.work import WorkThreads

VERBS = ("predict", "classify")
"""Texts after the colon of a model's address."""


class Server:
    """Handlers of the requests to one model.

    Attributes:
        is_ending: True if the server ends after the requests that it has.
    """

    def __init__(
        self, settings: Settings, versions: Versions, metrics: Metrics
    ) -> None:
        self._settings, self._versions, self._metrics = settings, versions, metrics
        self._bodies = BodyReader(settings)
        self._answers = Answers(settings, metrics)
        self._work = WorkThreads(settings.threads)
        self.is_ending = False

    @property
    def is_busy(self) -> bool:
        """True if threads still work."""
        return self._work.busy > 0

    def make_app(self) -> FastAPI:
        """Make the application."""

        @contextlib.asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            self._versions.start()
            yield
            self._versions.stop()
            self._work.stop()

        guard, post, model = self._guard, ["POST"], "/v1/models/{name}"
        predict = guard("predict", self.predict)
        classify = guard("classify", self.classify)
        metrics = guard("other", self.show_metrics)
        index, description = guard("other", self.index), guard("other", self.describe)
        routes: list[BaseRoute] = [
            *page.make_routes(index, description),
            Route("/healthz", guard("other", self.health)),
            Route("/readyz", guard("other", self.ready)),
            Route("/metrics", metrics),
            # TensorFlow Serving's address, unless it is configured otherwise.
            Route("/monitoring/prometheus/metrics", metrics),
        ]
        for address in (model, model + "/versions/{version}"):
            routes += [
                Route(f"{address}:predict", predict, methods=post),
                Route(f"{address}:classify", classify, methods=post),
                Route(f"{address}/metadata", guard("metadata", self.metadata)),
                Route(address, guard("status", self.status)),
                Route(address, guard("other", self.refuse_method), methods=post),
            ]
        # FastAPI's own pages load scripts from elsewhere.
        return FastAPI(
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            lifespan=lifespan,
            # Nothing is sent elsewhere, whatever the environment says.
            telemetry={
                "tracing": False,
                "metrics": False,
                "logs": False,
                "auto_configure": False,
            },
            routes=routes,
            exception_handlers={HTTPException: self._answer_http_error},
        )

    async def index(self, request: Request) -> Response:
        """Name the addresses."""
        return JSONResponse(page.list_addresses(self._settings.name))

    async def describe(self, request: Request) -> Response:
        """Describe the model for the page."""
        current = self._versions.current
        return JSONResponse(page.describe_for_page(current, self._settings))

    async def health(self, request: Request) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Answer 200 if new requests are welcome, 503 if the server ends."""
        state = "ending" if self.is_ending else "ready"
        return JSONResponse({"status": state}, 503 if self.is_ending else 200)

    async def show_metrics(self, request: Request) -> Response:
        """Show the metrics of Prometheus."""
        self._metrics.in_flight.set(self._work.busy)
        self._metrics.version.set(self._versions.current.version)
        return Response(self._metrics.render(), media_type=CONTENT_TYPE)

    async def status(self, request: Request) -> Response:
        """Answer as TensorFlow Serving's model status API."""
        if _find_verb(request) in VERBS:
            raise RequestError(405, f"{request.method} {request.url.path}: use POST")
        return JSONResponse(descriptions.describe_status(self._find(request).version))

    async def refuse_method(self, request: Request) -> Response:
        """Refuse POST to an address without a verb that is known."""
        if verb := _find_verb(request):
            raise RequestError(404, f"no method {verb!r}; there are {', '.join(VERBS)}")
        raise RequestError(405, f"POST {request.url.path}: use GET, or add :predict")

    async def metadata(self, request: Request) -> Response:
        """Answer as TensorFlow Serving's model metadata API."""
        found = self._find(request)
        described = descriptions.describe_model(
            self._settings.name, found.version, found.signatures
        )
        return JSONResponse(described)

    async def predict(self, request: Request) -> Response:
        """Answer as TensorFlow Serving's predict API; takes uploads too."""
        if is_upload(request):
            return await self._answer(request, self._answers.predict_upload)
        return await self._answer(request, self._answers.predict_json)

    async def classify(self, request: Request) -> Response:
        """Answer as TensorFlow Serving's classify API."""
        if is_upload(request):
            raise RequestError(400, "classify takes JSON alone; send files to :predict")
        return await self._answer(request, self._answers.classify_json)

    def _find(self, request: Request) -> Backend:
        """Find the model that an address names.

        Raises:
            RequestError: If it is not loaded.
        """
        name, current = request.path_params["name"], self._versions.current
        version = request.path_params.get("version", str(current.version))
        if name != self._settings.name:
            raise RequestError(
                404, f"no model {name!r} here; it is {self._settings.name!r}"
            )
        if version != str(current.version):
            raise RequestError(
                404, f"version {version} of {name} is not loaded; {current.version} is"
            )
        return current

    async def _answer(self, request: Request, work: Callable[..., bytes]) -> Response:
        """Do the work of a request within its time, if there is a place for it."""
        backend = self._find(request)
        self._work.check_place()
        try:
            async with asyncio.timeout(self._settings.timeout):
                body = await self._bodies.read(request)
                content = await self._work.run(
                    request,
                    partial(work, request, backend, body),
                    partial(self._bodies.release, len(body)),
                )
        except TimeoutError as error:
            seconds = self._settings.timeout
            is_read = getattr(request.state, "is_read", False)
            raise RequestError(
                504 if is_read else 408, f"not done within {seconds:g} s"
            ) from error
        return Response(content, media_type="application/json")

    def _guard(self, method: str, handler: page.Handler) -> page.Handler:
        """Check the token, turn errors into answers, count and log every request."""

        async def guarded(request: Request) -> Response:
            began = time.perf_counter()
            request.state.clips = 0
            request.state.id = uuid.uuid4().hex[:16]
            try:
                check_access(request, self._settings)
                response = await handler(request)
            except RequestError as error:
                response = _answer_error(error.status, error.message, **error.details)
            except QueueFullError:
                response = _answer_error(429, "too many requests wait; try again")
            except Exception:
                fields = {"method": method, "id": request.state.id}
                LOGGER.exception("request failed", extra={"fields": fields})
                text = "an error of the server, which is in its log"
                response = _answer_error(500, text)
            self._add_headers(response)
            if response.status_code == 408 or not await drop_body(request):
                response.headers["Connection"] = "close"
            self._finish(request, response, method, time.perf_counter() - began)
            return response

        return guarded

    def _add_headers(self, response: Response) -> None:
        if response.status_code == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if response.status_code in (429, 503):
            seconds = math.ceil(self._metrics.mean_seconds)
            response.headers["Retry-After"] = str(min(max(seconds, 1), 30))

    def _finish(
        self, request: Request, response: Response, method: str, seconds: float
    ) -> None:
        self._metrics.observe(method, response.status_code, seconds)
        response.headers["X-Request-Id"] = request.state.id
        fields = {
            "id": request.state.id,
            "method": method,
            "status": response.status_code,
            "ms": round(1000 * seconds, 1),
            "clips": request.state.clips,
            "bytes": _read_length(request),
            "client": request.client.host if request.client else "",
            "version": self._versions.current.version,
        }
        level = logging.DEBUG if method == "other" else logging.INFO
        LOGGER.log(level, "request", extra={"fields": fields})

    async def _answer_http_error(self, request: Request, error: Exception) -> Response:
        """Answer a request to an unknown address, or with an unknown method."""

        async def answer(_: Request) -> Response:
            status = getattr(error, "status_code", 500)
            reason = getattr(error, "detail", error)
            path = request.scope["path"]
            response = _answer_error(status, f"{request.method} {path}: {reason}")
            response.headers.update(getattr(error, "headers", None) or {})
            return response

        return await self._guard("other", answer)(request)


def _find_verb(request: Request) -> str:
    """Find the text after the colon of a model's address; empty if there is none."""
    _, colon, verb = request.url.path.rpartition("/")[2].rpartition(":")
    return verb if colon else ""


def _read_length(request: Request) -> int | None:
    """Read the announced length of a body in bytes; None where there is none."""
    text = request.headers.get("content-length", "")
    # Python refuses to convert thousands of digits.
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _answer_error(status: int, message: str, **details: object) -> Response:
    # Encoded as ASCII, as a name in a message may have characters without an encoding.
    content = json_bodies.encode({"error": message, **details})
    return Response(content, status, media_type="application/json")
