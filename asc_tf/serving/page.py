"""The page for people at `/`: static files, and a description of the model for them."""

import functools
import hashlib
import importlib.resources
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from asc_tf.core.version import __version__
from asc_tf.serving.backends import Backend
from asc_tf.serving.descriptions import get_settings, read_max_seconds
from asc_tf.serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]

INDEX = "index.html"
DESCRIPTION = "/page/model.json"
"""Address of the description; it needs the token, which the files do not."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # The player plays the chosen file, which is a blob of the page.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asks each time, so that an upgraded server is never mixed with old scripts.
    "Cache-Control": "no-cache",
}

AUDIO_KEYS = (
    *("sample_rate", "segment_samples", "hop_samples", "channels", "short_clips"),
    *("segments", "pooling", "last_segment"),
)

FRONTEND_KEYS = (
    *("n_fft", "win_length", "hop_length", "window"),
    *("n_mels", "fmin", "fmax", "mel_scale", "mel_norm"),
)
"""Settings of the spectrogram that the page draws."""


@functools.cache
def read_files() -> dict[str, tuple[bytes, str, str]]:
    """Read the files of the page: content, media type and entity tag by name."""
    found = {}
    folder = importlib.resources.files("asc_tf.serving") / "page"
    for file in folder.iterdir():
        kind = TYPES.get("." + file.name.rpartition(".")[2])
        if kind:
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[file.name] = content, kind, tag
    return found


def make_routes(index: Handler, description: Handler) -> list[Route]:
    """Make the routes of the page.

    Args:
        index: Handler of `/` for clients that do not ask for HTML.
        description: Handler of the description, behind the check of the token.
    """

    async def show(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            response = _send_file(request, INDEX)
        else:
            response = await index(request)
        response.headers["Vary"] = "Accept"
        return response

    async def send(request: Request) -> Response:
        return _send_file(request, request.path_params["file"])

    return [
        Route("/", show),
        Route(DESCRIPTION, description),
        Route("/page/{file}", send),
    ]


def _send_file(request: Request, name: str) -> Response:
    if name not in read_files():
        return JSONResponse({"error": f"no file {name!r} of the page"}, 404)
    content, kind, tag = read_files()[name]
    headers = HEADERS | {"ETag": tag}
    known = request.headers.get("if-none-match", "")
    if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def list_addresses(name: str) -> dict[str, str]:
    """List the addresses of a server, for programs that ask for `/`."""
    model = f"/v1/models/{name}"
    return {
        "server": f"asc-tf {__version__}",
        "status": model,
        "metadata": f"{model}/metadata",
        "predict": f"{model}:predict",
        "classify": f"{model}:classify",
        "health": "/healthz",
        "readiness": "/readyz",
        "metrics": "/metrics",
    }


def describe_for_page(backend: Backend, settings: Settings) -> dict[str, Any]:
    """Describe a model and the limits of the server for the page.

    Returns:
        Name, version, labels, names of signatures, `audio` (sample rate in Hz, segment
        and hop in samples ...), `frontend` (FFT and mel bands; what the model's
        description lacks is left out) and `limits` (bytes, seconds).
    """
    described = backend.description
    frontend = get_settings(described, "frontend")
    return {
        "server": f"asc-tf {__version__}",
        "name": settings.name,
        "version": backend.version,
        "labels": list(backend.labels),
        "signatures": sorted(backend.signatures),
        "audio": {key: described[key] for key in AUDIO_KEYS if key in described},
        "frontend": {key: frontend[key] for key in FRONTEND_KEYS if key in frontend},
        "limits": {
            "request_bytes": round(settings.max_request_mb * 1e6),
            "seconds": min(read_max_seconds(described), settings.max_audio_seconds),
        },
    }
