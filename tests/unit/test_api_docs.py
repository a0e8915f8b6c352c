"""`/docs` shows every route, with nothing from another host."""

from __future__ import annotations

import re

from fastapi import FastAPI
from fastapi.testclient import TestClient

from imagegen.api.app import create_app
from imagegen.api.docs import page
from tests.admission_parts import World


def test_every_route_is_shown_with_its_fields_and_examples() -> None:
    """Each method and path of the OpenAPI, the body's fields, an example and the answers stand in the page itself."""
    app = create_app(lambda: World().services)
    told = TestClient(app).get("/docs")
    assert told.status_code == 200
    assert told.headers["content-type"].startswith("text/html")
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in told.text
    for words in ("<code>referenceImages</code>", "a red fox in fresh snow", "409 ", "image/png", "token --owner NAME"):
        assert words in told.text


def test_the_page_has_nothing_of_another_host() -> None:
    """No script at all, and no style or icon of another host: those who read it hold tokens."""
    markup = page(create_app(lambda: World().services).openapi())
    assert "<script" not in markup
    assert re.findall(r"(?:src|href)=\"([^\"]+)\"", markup) == ["openapi.json"]


def test_words_are_words() -> None:
    """What a description says is shown, never run."""
    app = FastAPI(title="<b>&", description="`a < b`")
    told = page(app.openapi())
    assert "<b>" not in told
    assert "<code>a &lt; b</code>" in told
