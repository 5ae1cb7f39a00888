"""Chromium, and what goes wrong on a page in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HERE = {"127.0.0.1", "localhost", ""}


@contextmanager
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        # In CI a missing browser is an error.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def troubles_of(page: Page) -> list[str]:
    """Return a list that will have the page's console errors, failed requests and requests that leave the machine.

    One that the page has broken off itself has not failed.
    """
    troubles = []
    page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: request.failure == "net::ERR_ABORTED" or troubles.append(f"{request.failure}: {request.url}"),
    )
    page.on("response", lambda answer: answer.status >= 400 and troubles.append(f"{answer.status}: {answer.url}"))
    page.on(
        "request",
        lambda request: (urlsplit(request.url).hostname or "") in HERE or troubles.append(f"away: {request.url}"),
    )
    return troubles
