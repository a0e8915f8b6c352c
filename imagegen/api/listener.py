"""One stream's share of what happens: so much of it waits for a client that reads slowly, and no more."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

from imagegen.api.frames import Message
from imagegen.api.tokens import Caller
from imagegen.policies import STREAM_QUEUE
from imagegen.ports_events import Place, Scope

SLOW = "too slow: connect again"

Key = tuple[str, UUID | str | None]
"""What is followed, and its id: all owners' has none."""


@dataclass(eq=False)
class Listener:
    """One stream's share of what happens from `place` on; `over` says why nothing more will come."""

    scope: Scope
    caller: Caller
    place: Place
    ripe: bool = True
    over: str | None = None
    _waiting: deque[Message] = field(default_factory=deque)
    _something: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> Key:
        """By what the lines that concern it are found."""
        if self.scope.job_id is not None:
            return "job", self.scope.job_id
        return ("batch", self.scope.batch_id) if self.scope.batch_id is not None else ("owner", self.scope.owner)

    @property
    def subject(self) -> UUID | None:
        """The job or batch that it follows."""
        return self.scope.job_id or self.scope.batch_id

    def tell(self, message: Message) -> None:
        """Lets it have the message; where too many wait already, it gets none of them and nothing more."""
        if self.over is None:
            self._waiting.append(message)
            self._something.set()
            if len(self._waiting) > STREAM_QUEUE:
                self.clear()
                self.end(SLOW)

    def end(self, why: str) -> None:
        """Nothing comes after what waits."""
        self.over = self.over or why
        self._something.set()

    def clear(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()

    async def next(self, seconds: float) -> Message | None:
        """The next message; None: none came within these seconds, or it is over."""
        if not self._waiting and self.over is None:
            self._something.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._something.wait()
            except TimeoutError:
                return None
        return self._waiting.popleft() if self._waiting else None
