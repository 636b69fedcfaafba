"""A browser to look at pages with, as a person does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "no Chromium here to look at pages with: apt install chromium"


@contextmanager
def browser_page() -> Iterator[Page]:
    """Yield an empty page of a browser that reaches this machine alone; skip the test if there is no browser."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[alone])
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.set_default_timeout(120_000)
        yield page
        browser.close()
