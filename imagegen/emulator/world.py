"""Everything behind the emulator's address but the sockets: routes, books, faults, tasks and files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from imagegen.emulator.api import Api, Bench, Route
from imagegen.emulator.callbacks import Callbacks
from imagegen.emulator.faults import Faults, Moment, Rule
from imagegen.emulator.files import Files
from imagegen.emulator.gemini import Gemini
from imagegen.emulator.latency import Latency
from imagegen.emulator.ledger import Ledger
from imagegen.emulator.limits import Limits
from imagegen.emulator.nanobanana import NanoBanana
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.picture.studio import Studio
from imagegen.emulator.references import References
from imagegen.emulator.wire import Reply, Request, json_reply
from imagegen.errors import InvalidRequest

APIS: tuple[type[NanoBanana] | type[Gemini], ...] = (NanoBanana, Gemini)
FUNDS = Decimal(5000)
"""US dollars on each reseller account at the start."""

SUPPORTED: Mapping[str, frozenset[str]] = {api.name: api.faults for api in APIS}


def furnish(
    ledger: Ledger,
    outbound: Outbound,
    callbacks: Callbacks,
    *,
    latency: str | float = 0,
    faults: Iterable[Rule | Mapping[str, Any]] = (),
    plain: bool = False,
    key: str | None = None,
    seed: int = 0,
    funds: Decimal = FUNDS,
    limits: str = "",
    clock: Callable[[], float] = time.time,
) -> World:
    """A world with everything in it, for sockets or for none; see `Emulator` for the settings."""
    script = Faults(SUPPORTED, faults, clock)
    studio = Studio(plain=plain)
    return World(
        Bench(
            ledger=ledger,
            faults=script,
            files=Files(studio, ledger, script),
            studio=studio,
            latency=Latency(latency, seed=seed),
            callbacks=callbacks,
            outbound=outbound,
            references=References(),
            limits=Limits(limits, SUPPORTED, ledger, clock),
            key=key,
            funds=funds,
            clock=clock,
        )
    )


class World:
    """Answers requests. Thread-safe; opens no socket itself."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._apis: list[Api] = [api(bench) for api in APIS]
        self._exact: dict[tuple[str, str], Route] = {}
        self._below: list[Route] = []
        self._paths: set[str] = set()
        self._owners = {route: api.name for api in self._apis for route in api.routes()}
        for route in (*self._owners, *self._own_routes()):
            self._paths.add(route.path)
            if route.path.endswith("*"):
                self._below.append(route)
            else:
                self._exact[route.method, route.path] = route

    def handle(self, request: Request) -> Reply:
        """The answer to one request, whatever it is."""
        route = self._route(request.method, request.path)
        if route is None:
            status = 405 if request.path in self._paths else 404
            return json_reply({"error": {"code": status, "message": f"no such route: {request.path}"}}, status)
        if not route.path.startswith("/__"):
            self.bench.ledger.asked(f"{route.method} {route.path}")
        return route.handler(request)

    def breaks(self, method: str, target: str) -> bool:
        """Whether a fault resets this request's connection before its body is read."""
        path = unquote(target.partition("?")[0])
        route = self._route(method, path)
        provider = self._owners.get(route) if route else None
        if route is None or provider is None:
            return False
        return self.bench.faults.first(Moment.CONNECTION, provider, route.role, path) is not None

    def reset(self) -> None:
        """Empty books, no tasks or files, and the faults it was started with."""
        for api in self._apis:
            api.reset()
        self.bench.files.reset()
        self.bench.faults.reset()
        self.bench.ledger.reset()
        self.bench.limits.reset()

    def _own_routes(self) -> Iterable[Route]:
        yield Route("GET", "/files/*", self.bench.files.fetch)
        yield Route("GET", "/__ledger", lambda _: json_reply(self.bench.ledger.document()))
        yield Route("POST", "/__reset", self._reset)
        yield Route("GET", "/__faults", lambda _: self._script())
        yield Route("POST", "/__faults", self._add_faults)
        yield Route("DELETE", "/__faults", self._clear_faults)
        yield Route("GET", "/__health", lambda _: json_reply({"status": "ok", "providers": list(SUPPORTED)}))

    def _route(self, method: str, path: str) -> Route | None:
        exact = self._exact.get((method, path))
        below = (route for route in self._below if method == route.method and path.startswith(route.path[:-1]))
        return exact or next(below, None)

    def _reset(self, _: Request) -> Reply:
        self.reset()
        return json_reply({"status": "ok"})

    def _script(self) -> Reply:
        return json_reply(self.bench.faults.documents())

    def _add_faults(self, request: Request) -> Reply:
        try:
            self.bench.faults.add(read_rules(request.json()))
        except InvalidRequest as error:
            return json_reply({"error": {"code": 400, "message": str(error), "problems": error.problems}}, 400)
        except ValueError as error:
            return json_reply({"error": {"code": 400, "message": f"the body is no JSON list: {error}"}}, 400)
        return self._script()

    def _clear_faults(self, _: Request) -> Reply:
        self.bench.faults.clear()
        return self._script()


def read_rules(document: Any) -> list[Rule]:
    """A fault script: a list of rules, or one rule alone."""
    rules = [document] if isinstance(document, dict) else document
    if not isinstance(rules, list):
        raise InvalidRequest.of("faults", "a script is a list of rules", 'Give [{"fault": "refusal", "times": 1}].')
    return [Rule.read(rule) for rule in rules]
