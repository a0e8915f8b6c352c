"""Two owners: neither sees the other's anything, over every route that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from imagegen.api import streams
from tests.door import Door, served
from tests.pipeline_parts import World

pytest_plugins = ["tests.worlds"]
FOX = {"prompt": "a fox", "provider": "nanobanana", "width": 320, "height": 180}
NOIR = {"name": "Noir", "modifiers": ["film grain"]}
OPEN = {"/health", "/ready"}
SERVICES = {"/metrics"}
"""For service tokens alone."""
UNDESCRIBED = {"/files/{key:path}", "/api/webhooks/{provider}", "/openapi.json", "/docs"}
"""Served without a token and not in the OpenAPI: guarded by an address that nobody guesses, or nobody's secret."""
BUDGET = {"scope": "owner:ada", "period": "month", "limit": 5}
BODIES: dict[str, Any] = {
    "/api/images/generate": FOX,
    "/api/images/estimate": FOX,
    "/api/images/budgets": BUDGET,
    "/api/images/batches": {"characters": [{"name": "Tom"}]},
    "/api/images/styles/{style_id}": NOIR,
}
QUERIES = {
    ("get", "/api/images/costs"): {"emulated": "true"},
    ("delete", "/api/images/budgets"): {"scope": "owner:ada"},
}


@pytest.fixture
def door(world: World) -> Iterator[Door]:
    """The door before a world, for ada."""
    with served(world.services) as door:
        yield door


@pytest.fixture
def belongings(door: Door) -> dict[str, str]:
    """What ada has, by the names that paths give it, and a budget of hers."""
    door.as_("shop", service=True).put("/api/images/budgets", BUDGET)
    return {
        "job_id": door.post("/api/images/generate", {**FOX, "projectId": "adas"}).json()["jobId"],
        "batch_id": door.post("/api/images/batches", {"characters": [{"name": "adas Mara"}]}).json()["batchId"],
        "style_id": door.put("/api/images/styles/adas", NOIR).json()["id"],
    }


def routes(door: Door) -> list[tuple[str, str]]:
    """Every method and path of the served OpenAPI behind the gate."""
    paths = door.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods if path not in OPEN]


def send(door: Door, method: str, path: str, names: dict[str, str]) -> Any:
    body, query = BODIES.get(path) if method in {"post", "put"} else None, QUERIES.get((method, path))
    return door.client.request(method, path.format(**names), headers=door.headers, json=body, params=query)


def standing(door: Door) -> list[Any]:
    """What the owner's lists show."""
    lists = ("jobs", "batches", "styles", "budgets", "costs?emulated=true")
    return [door.get(f"/api/images/{path}").json() for path in lists]


def served_paths(router: Any) -> set[str]:
    """Every path of an application or router, those of the routers that it includes too."""
    found: set[str] = set()
    for route in router.routes:
        found |= {route.path} if hasattr(route, "path") else served_paths(route.original_router)
    return found


def test_no_route_is_left_out(door: Door) -> None:
    """Every route that the application serves is walked below, or is one of those that need no token."""
    walked = {path for _, path in routes(door)}
    assert served_paths(door.client.app) == walked | OPEN | UNDESCRIBED
    assert not walked & UNDESCRIBED


def test_nobody_gets_in_without_a_token(door: Door, belongings: dict[str, str]) -> None:
    """401 with WWW-Authenticate on every route; health, readiness and the documentation are open."""
    stranger = Door(door.services, door.client)
    found = routes(door)
    assert len(found) >= 19
    for method, path in found:
        reply = send(stranger, method, path, belongings)
        assert (reply.status_code, reply.json()["code"]) == (401, "UNAUTHENTICATED"), path
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert [door.client.get(path).status_code for path in ("/health", "/ready", "/openapi.json")] == [200] * 3


def test_another_owners_things_are_as_if_they_were_not_there(door: Door, belongings: dict[str, str]) -> None:
    """Whatever a path names answers bob word for word as an unknown id does; nothing of ada's changes."""
    bob = door.as_("bob")
    before = standing(door)
    for method, path in routes(door):
        # A style is put on bob's own shelf.
        if "{" not in path or method == "put":
            continue
        unknown = {**{name: str(uuid4()) for name in belongings}, "style_id": "none"}
        theirs, none = (send(bob, method, path, names) for names in (belongings, unknown))
        assert (theirs.status_code, none.status_code) == (404, 404), path
        for name, value in belongings.items():
            none_text = none.text.replace(unknown[name], value)
            if unknown[name] in none.text:
                assert theirs.text == none_text, path
    assert before == standing(door)


def test_lists_show_ones_own(door: Door, belongings: dict[str, str]) -> None:
    """Bob's lists hold nothing of ada's, with any filter; naming her is refused; his own is there for him alone."""
    bob = door.as_("bob")
    for method, path in routes(door):
        if method != "get" or "{" in path or path.endswith("/events") or path in SERVICES:
            continue
        query = QUERIES.get((method, path), {})
        assert bob.get(path, **query).json()["items"] == [], path
        assert bob.get(path, owner="ada", **query).json()["code"] == "FORBIDDEN", path
        assert len(door.get(path, **query).json()["items"]) >= 1, path
    assert bob.get("/api/images/jobs", project="adas").json()["items"] == []
    bobs = bob.post("/api/images/generate", FOX).json()["jobId"]
    assert [job["jobId"] for job in bob.get("/api/images/jobs").json()["items"]] == [bobs]


def test_what_is_for_services_is_for_no_owner(door: Door, belongings: dict[str, str]) -> None:
    """403 for every owner, whatever it adds; a service reads it."""
    assert {path for _, path in routes(door)} >= SERVICES
    for path in SERVICES:
        for reply in (door.get(path), door.as_("bob").get(path), door.get(path, owner="ada")):
            assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")
        assert door.as_("shop", service=True).get(path).status_code == 200


def test_streams_tell_ones_own(door: Door, belongings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the beginning of all events bob is told nothing of ada's, and naming her is refused; ada is told of hers."""
    monkeypatch.setattr(streams, "STREAM_LIFE", 0.2)
    path, bob, service = "/api/images/events", door.as_("bob"), door.as_("shop", service=True)
    assert "data:" not in bob.get(path, lastEventId="0").text
    assert bob.get(path, owner="ada").json()["code"] == "FORBIDDEN"
    for told in (door.get(path, lastEventId="0"), service.get(path, lastEventId="0", owner="ada")):
        assert told.text.count("data:") == 2
        assert belongings["job_id"] in told.text
    assert "data:" not in service.get(path, lastEventId="0", owner="bob").text


def test_nobody_asks_in_anothers_name(door: Door) -> None:
    """`owner` in a body is the caller's or refused with 403; a service names whom it likes."""
    for path, body in (("generate", FOX), ("batches", {"characters": [{"name": "Tom"}]})):
        reply = door.post(f"/api/images/{path}", {**body, "owner": "bob"})
        assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")
        assert door.post(f"/api/images/{path}", {**body, "owner": "ada"}).status_code == 202
        assert door.as_("shop", service=True).post(f"/api/images/{path}", {**body, "owner": "bob"}).status_code == 202
    assert len(door.as_("bob").get("/api/images/batches").json()["items"]) == 1
    reply = door.post("/api/images/estimate", {**FOX, "owner": "bob"})
    assert (reply.status_code, reply.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", ["/api/images/generate", "/api/images/estimate"])
def test_anothers_picture_is_no_reference(door: Door, belongings: dict[str, str], path: str) -> None:
    """`job:` with ada's id tells bob word for word what it tells of an id that nobody has."""
    bob, unknown = door.as_("bob"), str(uuid4())
    theirs, none = (
        bob.post(path, {**FOX, "referenceImages": [f"job:{job_id}"]}) for job_id in (belongings["job_id"], unknown)
    )
    assert (theirs.status_code, theirs.text.replace(belongings["job_id"], unknown)) == (422, none.text)


def test_a_service_sees_all(door: Door, belongings: dict[str, str]) -> None:
    """Jobs, batches and styles of every owner, all together or one owner's."""
    service = door.as_("shop", service=True)
    assert service.get(f"/api/images/jobs/{belongings['job_id']}").json()["owner"] == "ada"
    assert service.get(f"/api/images/batches/{belongings['batch_id']}").status_code == 200
    assert service.get("/api/images/styles/adas", owner="ada").status_code == 200
    assert service.get("/api/images/styles/adas").status_code == 404
    assert len(service.get("/api/images/jobs").json()["items"]) == 2
    assert service.get("/api/images/jobs", owner="bob").json()["items"] == []
    assert service.get("/api/images/jobs").json()["items"][0]["owner"] == "ada"
    assert service.post("/api/images/generate", FOX).json()["owner"] == "shop"


def test_styles_are_ones_own_before_everybodys(door: Door) -> None:
    """What a service puts, everybody may name; an owner's own of the same id hides it for that owner alone."""
    service, bob = door.as_("shop", service=True), door.as_("bob")
    service.put("/api/images/styles/noir", {"name": "House noir"})
    door.put("/api/images/styles/noir", {"name": "Adas noir"})
    assert [one.get("/api/images/styles/noir").json()["name"] for one in (door, bob)] == ["Adas noir", "House noir"]
    assert [style["name"] for style in door.get("/api/images/styles").json()["items"]] == ["Adas noir"]
    used = [one.post("/api/images/generate", {**FOX, "visualStyleCapsuleId": "noir"}).json() for one in (door, bob)]
    assert [job["style"]["name"] for job in used] == ["Adas noir", "House noir"]
