"""The web application of `mnist demo`: one page, and the answers to what is drawn on it or shown to it."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from io import BytesIO
from typing import Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from commands.demo_answers import Answers
from commands.photo import BOXES, drawn_digit
from commands.pictures import image_of, open_picture
from stages.dataset.pictures import opened
from stages.process.errors import UserError

# Of one picture. The page makes photos smaller before it sends them.
MOST_BYTES, MOST_PIXELS = 8_000_000, 16_000_000
# Pixels of a drawing's longer side: the page sends one of 140.
MOST_DRAWN = 512
# Not all that Pillow opens: for some it starts other programs.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")
# Seconds within which a request must be sent.
PATIENCE = 20
# Threads for each kind of request; when all are busy, the next request waits.
THREADS = {"predict": 4, "reasons": 2}
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def make_app(answers: Answers, hosts: list[str]) -> FastAPI:
    """Return the application; it answers under the names and addresses `hosts` alone."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, max_body_size=MOST_BYTES)
    page = _page(answers)
    pools = {task: ThreadPoolExecutor(number, task) for task, number in THREADS.items()}
    policy = _content_security_policy(page)

    @app.get("/")
    async def index() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.post("/{task}/{kind}")
    async def ask(
        request: Request, task: Literal["predict", "reasons"], kind: Literal["drawing", "picture", "test"]
    ) -> JSONResponse:
        content = await _body(request)

        def work() -> dict[str, Any]:
            image = _image(answers, kind, content)
            return answers.answer(image) if task == "predict" else answers.reasons(image)

        return JSONResponse(await asyncio.get_running_loop().run_in_executor(pools[task], work))

    @app.exception_handler(UserError)
    async def cannot_be_used(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code)

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if _is_foreign(request):
            response = JSONResponse({"error": "this page answers to itself alone"}, 403)
        else:
            response = await call_next(request)
        response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})
        return response

    return app


def _is_foreign(request: Request) -> bool:
    """Return whether another site's page sent this: browsers name it in `Origin`."""
    origin, host = request.headers.get("origin"), request.headers.get("host", "").lower()
    return origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}")


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(PATIENCE):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408, f"the picture took longer than {PATIENCE} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the picture broke off") from None


def _image(answers: Answers, kind: str, content: bytes) -> np.ndarray:
    """Return the prepared image of a request; raises `UserError` or `HTTPException` where it cannot be one."""
    info = answers.info
    if kind == "test":
        index = int(content) if re.fullmatch(rb"\d{1,9}", content) else -1
        if not 0 <= index < len(answers.test.labels):
            raise HTTPException(404, f"there are test images 0 … {len(answers.test.labels) - 1}")
        return np.asarray(answers.test.images[index])
    if kind == "drawing" and info.dataset not in BOXES:
        raise HTTPException(404, f"{info.dataset} cannot be drawn")
    _check_size(content, kind)
    picture = open_picture(BytesIO(content), "the picture")
    if kind == "picture":
        return answers.prepared(image_of(picture, info))
    ink = np.asarray(picture.convert("L"))
    return answers.prepared(drawn_digit(ink, info.dataset, (info.height, info.width)))


def _check_size(content: bytes, kind: str) -> None:
    """Raise for a picture or drawing that is too large, or of another format, before any of it is decoded."""
    try:
        with opened(BytesIO(content), FORMATS) as picture:
            size = picture.size
    except Image.DecompressionBombError:
        size = (MOST_PIXELS, MOST_PIXELS)
    # Pillow raises all kinds of exceptions for a broken file.
    except Exception:
        raise UserError(f"this is no picture that can be read; send one of {', '.join(FORMATS)}") from None
    if size[0] * size[1] > MOST_PIXELS:
        raise HTTPException(413, f"the picture has more than {MOST_PIXELS:,} pixels; make it smaller")
    if kind == "drawing" and max(size) > MOST_DRAWN:
        raise HTTPException(413, f"the drawing is {size[0]} x {size[1]} pixels; at most {MOST_DRAWN} for each side")


def _page(answers: Answers) -> str:
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("commands").joinpath("demo.html.jinja").read_text(encoding="utf-8"))
    info = answers.info
    about = {
        "classes": info.class_names,
        "drawable": info.dataset in BOXES,
        "examples": answers.examples,
        "formats": [f"image/{name.lower()}" for name in FORMATS],
        "models": [{"name": each.model.name, "title": each.model.title} for each in answers.trained],
        "mostBytes": MOST_BYTES,
    }
    return template.render(about=about, info=info, models=[each.model.title for each in answers.trained])


def _content_security_policy(page: str) -> str:
    """Return the policy under which `page` runs its own script and style, talks to its server, and loads nothing."""

    def hashes(tag: str) -> str:
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = [hashlib.sha256(content.encode()).digest() for content in contents]
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
