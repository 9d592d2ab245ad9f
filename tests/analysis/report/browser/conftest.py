"""Headless Chromium: ``pip install -e '.[test,browser]'``, a Chromium of the system, then ``pytest -m browser``.

A Chromium is what ``MEANDRIFT_CHROMIUM`` names, or one on the path. Without one, or without playwright, the tests are
skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = os.environ.get("MEANDRIFT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Return a browser for all tests of the session."""
    driver = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'meandrift[browser]'")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the path, and MEANDRIFT_CHROMIUM names none")
    with driver.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a page and waits until its last chart is drawn; errors on it fail the test."""
    contexts, errors = [], []

    def open_page(target: Path | str, *, width: int = 1280, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(target.as_uri() if isinstance(target, Path) else target)
        drawn(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def drawn(page: Any) -> None:
    """Wait until all that was asked for is drawn."""
    page.wait_for_timeout(50)
    page.wait_for_selector("html[data-drawn=yes]", timeout=60_000, state="attached")


@pytest.fixture
def wait_for_drawing() -> Callable[[Any], None]:
    return drawn
