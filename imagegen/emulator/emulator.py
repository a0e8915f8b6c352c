"""The emulator as a part: start it, script it, read its books, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from imagegen.emulator.callbacks import CallbackSender
from imagegen.emulator.faults import Rule
from imagegen.emulator.ledger import Ledger
from imagegen.emulator.outbound import Outbound
from imagegen.emulator.server import Server
from imagegen.emulator.world import FUNDS, furnish


class Emulator:
    """Every provider's API on one loopback address, with real pictures and scripted faults.

    `port` 0 takes a free one; `latency` is seconds or `lognormal:MEDIAN:SIGMA`; `key` None takes any key; `plain` draws
    flat pictures at next to no cost; `funds` is each reseller account's US dollars; `allow_hosts` are hosts beside the
    loopback that webhooks and reference pictures may reach; `limits` are rates like `gemini=60/m,nanobanana=20/10s`,
    beyond which an order is answered 429. Use it as a context manager, or `start` and `stop`.
    """

    def __init__(
        self,
        port: int = 0,
        latency: str | float = 0,
        faults: Iterable[Rule | Mapping[str, Any]] = (),
        plain: bool = False,
        key: str | None = None,
        *,
        host: str = "127.0.0.1",
        seed: int = 0,
        funds: Decimal = FUNDS,
        allow_hosts: Collection[str] = (),
        limits: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._host, self._port = host, port
        self._ledger = Ledger()
        self._outbound = Outbound(allow_hosts)
        self._callbacks = CallbackSender(self._outbound, self._ledger)
        self._world = furnish(
            self._ledger,
            self._outbound,
            self._callbacks,
            latency=latency,
            faults=faults,
            plain=plain,
            key=key,
            seed=seed,
            funds=funds,
            limits=limits,
            clock=clock,
        )
        self._server: Server | None = None

    def start(self) -> Self:
        """Listens; PartUnavailable where the port is taken."""
        self._server = Server(self._host, self._port, self._world)
        return self

    def stop(self) -> None:
        """Ends every connection, webhook and thread. An emulator is started once."""
        if self._server is None:
            return
        self._outbound.close()
        self._server.close()
        self._callbacks.close()
        self._server = None

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens inside: connections are refused, and those that were open break."""
        if self._server is None:
            raise RuntimeError("the emulator is not started: use `with Emulator() as emulator`")
        self._server.refuse()
        try:
            yield
        finally:
            self._server.listen()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end: the address of every provider."""
        if self._server is None:
            raise RuntimeError("the emulator is not started: use `with Emulator() as emulator`")
        return f"http://{self._server.address}"

    def ledger(self) -> dict[str, Any]:
        """What `GET /__ledger` answers: charges and counts."""
        return self._ledger.document()

    def fault(
        self,
        fault: str,
        *,
        provider: str | None = None,
        prompt_contains: str | None = None,
        route: str | None = None,
        times: int | None = None,
        probability: float = 1.0,
        seed: int = 0,
        for_seconds: float | None = None,
        **params: Any,
    ) -> Rule:
        """Scripts one fault (see `imagegen.emulator.faults`); the rule's `fired` counts its hits."""
        rule = Rule(fault, provider, prompt_contains, route, times, probability, seed, params, for_seconds=for_seconds)
        return self._world.bench.faults.add([rule])[0]

    def reset(self) -> None:
        """Empty books, no tasks, no files, no planned webhooks, and the faults it was made with."""
        self._callbacks.forget()
        self._world.reset()
