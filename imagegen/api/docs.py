"""`/docs`: every route as one page of plain HTML, with nothing of another host in it: its readers hold tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
section {{ border-top: 1px solid #ccc; padding: .5rem 0 }}
pre {{ background: #f4f4f4; padding: .5rem; white-space: pre-wrap }}
</style></head><body>
{body}
</body></html>
"""


def serve_docs(app: FastAPI) -> None:
    """Adds the page."""

    @app.head("/docs", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))


def page(document: Mapping[str, Any]) -> str:
    """The HTML page of an OpenAPI document."""
    return _PAGE.format(title=escape(document["info"]["title"]), body="\n".join(_lines(document)))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    info, models = document["info"], document.get("components", {}).get("schemas", {})
    yield f"<h1>{escape(info['title'])}</h1>{_text(info.get('description', ''))}"
    yield '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'
    tagged: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            section = "".join(_route(f"{method.upper()} {path}", route, models))
            tagged.setdefault((route.get("tags") or ["more"])[0], []).append(section)
    for tag, sections in tagged.items():
        yield f"<h2>{escape(tag)}</h2>{''.join(sections)}"


def _route(name: str, route: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h3><code>{escape(name)}</code></h3>{_text(route.get('description', ''))}"
    yield _names("Parameters", [one["name"] for one in route.get("parameters", [])])
    for media, body in route.get("requestBody", {}).get("content", {}).items():
        model = models.get(str(body.get("schema", {}).get("$ref", "")).rpartition("/")[2], {})
        yield _names(f"Body, {media}", list(model.get("properties", {})))
        for one in list(body.get("examples", {}).values()):
            yield f"<pre>{escape(json.dumps(one['value'], ensure_ascii=False))}</pre>"
    answers = "; ".join(f"{status} {one['description']}" for status, one in route["responses"].items())
    yield f"{_text(f'Answers: {answers}')}</section>"


def _text(words: str) -> str:
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(words))
    return "".join(f"<p>{part}</p>" for part in coded.split("\n\n") if part)


def _names(title: str, names: list[str]) -> str:
    told = ", ".join(f"<code>{escape(one)}</code>" for one in names)
    return f"<p>{escape(title)}{': ' if told else ''}{told}</p>" if names or title.startswith("Body") else ""
