"""Carrying what the outbox holds: one attempt at a time, guarded, within ten seconds; the job never hears of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from uuid import UUID

from imagegen import policies
from imagegen.errors import ImagegenError, InvalidRequest
from imagegen.guard import Lookup, checked_address, system_lookup
from imagegen.outbox import Delivery, Sending, State, Target, judged
from imagegen.ports import Services
from imagegen.webhooks import SETTING, event_body

log = logging.getLogger(__name__)


def hand_out(services: Services) -> int:
    """The sweep's part: tells the workers which deliveries are due; how many."""
    due = services.deliveries.due(at=services.clock.now(), limit=policies.DELIVERIES_AT_ONCE)
    if due:
        services.hints.deliveries(due)
    return len(due)


def deliver(delivery_id: UUID, number: int, services: Services, lookup: Lookup = system_lookup) -> State | None:
    """Attempt `number` at a delivery, and what it came to; None: another courier has it, or it is not due."""
    delivery = services.deliveries.take(delivery_id, number, at=services.clock.now())
    if delivery is None:
        return None
    began = services.clock.monotonic()
    status, error, final = _sent(delivery, services, lookup)
    spent = round((services.clock.monotonic() - began) * 1000)
    sending = Sending(at=services.clock.now(), ms=spent, status=status, error=error)
    told = judged(delivery, sending, final=final)
    services.deliveries.settle(delivery, sending, told)
    if told.state is not State.DELIVERED:
        log.warning("delivery %s of %s: %s (%s)", delivery.id, delivery.event_id, told.state, error)
    return told.state


def _sent(delivery: Delivery, services: Services, lookup: Lookup) -> tuple[int | None, str | None, bool]:
    """HTTP status, error, and whether no repetition mends that."""
    try:
        if delivery.target is Target.TASK:
            assert isinstance(delivery.address, Mapping)
            services.hints.notify(delivery.address, delivery.task_id, delivery.document)
            return None, None, False
        return _posted(delivery, services, lookup)
    except InvalidRequest as error:
        return None, _reason(error), not error.retryable
    except ImagegenError as error:
        return None, str(error), False


def _posted(delivery: Delivery, services: Services, lookup: Lookup) -> tuple[int | None, str | None, bool]:
    if services.signer is None:
        return None, f"{SETTING} is not set", False
    until = services.clock.monotonic() + policies.DELIVERY_TOTAL
    url = str(delivery.address)
    addresses = checked_address(url, "callbackUrl", services.allow_hosts, lookup)
    body = event_body(delivery.kind, delivery.at, delivery.document)
    headers = services.signer.headers(delivery.event_id, body, services.clock.now())
    reply = services.transport.call(
        "POST", url, data=body, headers=headers, addresses=addresses,
        total=until - services.clock.monotonic(), max_bytes=policies.DELIVERY_REPLY,
    )  # fmt: skip
    if 200 <= reply.status < 300:
        return reply.status, None, False
    what = "redirects, which is not followed" if 300 <= reply.status < 400 else f"answers {reply.status}"
    return reply.status, f"the receiver {what}", False


def _reason(error: InvalidRequest) -> str:
    return "; ".join(f"{problem['field']} {problem['reason']}" for problem in error.problems)
