"""nanobananaapi.ai: submit, record-info, credit, callbacks (docs.nanobananaapi.ai; codes partly from kie's envelope).

Every answer is HTTP 200; the body's `code` tells. Unconfirmed for the real host, and so chosen here: codes 402, 404,
422, 429, 455; the pro callback's shape (generate-2's); a refund of failed tasks; three tries of a callback; prices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock
from typing import Any, ClassVar

from imagegen.emulator import sizes
from imagegen.emulator.api import ANYWHERE, PICTURES, WEBHOOKS, Bench, Route
from imagegen.emulator.faults import CREDIT, POLL, SUBMIT, Moment, Rule
from imagegen.emulator.files import ResultFile
from imagegen.emulator.ledger import DELIVERED, FAILED, LOST, REFUSED, Charge
from imagegen.emulator.nanobanana_orders import GENERATE, PRO, ROOT, SECOND, Brief, Invalid, read
from imagegen.emulator.outbound import NotReachable
from imagegen.emulator.picture.sitting import Reference, Sitting
from imagegen.emulator.references import NotAPicture
from imagegen.emulator.wire import DROP, Reply, Request, json_reply

CREDIT_PRICE = Decimal("0.005")
"""US dollars per credit (kie's figure, UNCONFIRMED here)."""

FLAGGED = "Your prompt was flagged by Website as violating content policies."
MESSAGES = {
    401: "You do not have access permissions",
    402: "Insufficient credits. Please top up to continue.",
    404: "recordInfo is null",
    429: "Your call frequency is too high. Please try again later.",
    455: "The service is under maintenance. Please try again later.",
    500: "Internal Error, Please try again later.",
}


@dataclass
class Task:
    """One accepted order. `flag` is the successFlag it will show from `ready_at` on; None never comes."""

    id: str
    brief: Brief
    params: str
    created_at: float
    ready_at: float
    sitting: Sitting
    flag: int | None = 1
    error: int = 0
    message: str = ""
    damage: Rule | None = None
    addresses: int = 0


class NanoBanana:
    """The whole of nanobananaapi.ai that imagegen speaks to."""

    name: ClassVar[str] = "nanobanana"
    faults: ClassVar[frozenset[str]] = (
        ANYWHERE | PICTURES | WEBHOOKS | {"refusal", "async_failure", "stuck", "success_without_task_id"}
    )

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._lock = Lock()
        self._tasks: dict[str, Task] = {}

    def routes(self) -> Iterable[Route]:
        """Three ways to submit, the record, the credit."""
        for path in (GENERATE, PRO, SECOND):
            yield Route("POST", ROOT + path, self.submit, SUBMIT)
        yield Route("GET", f"{ROOT}/record-info", self.record_info, POLL)
        yield Route("GET", "/api/v1/common/credit", self.credit, CREDIT)

    def reset(self) -> None:
        """Forgets every task."""
        with self._lock:
            self._tasks.clear()

    def submit(self, request: Request) -> Reply:
        """`POST generate`, `generate-pro`, `generate-2`."""
        self._bench.ledger.count("submissions")
        if not self._let_in(request):
            return self._code(401)
        try:
            brief, params = read(request)
            references = self._references(brief.image_urls)
        except Invalid as invalid:
            return self._code(422, str(invalid))
        # No header tells when to come again: none is documented.
        if self._bench.limits.take(self.name, brief.model) is not None:
            return self._code(429)
        rule = self._bench.faults.first(Moment.ANSWER, self.name, SUBMIT, request.path, brief.prompt)
        refused = self._refusal(rule)
        if refused is not None:
            return refused
        if self._funds() < brief.price:
            return self._code(402)
        return self._accept(request, brief, params, references, rule)

    def record_info(self, request: Request) -> Reply:
        """`GET record-info?taskId=`: free."""
        self._bench.ledger.count("polls")
        if not self._let_in(request):
            return self._code(401)
        with self._lock:
            task = self._tasks.get(request.query.get("taskId", ""))
        prompt = task.brief.prompt if task else ""
        rule = self._bench.faults.first(Moment.ANSWER, self.name, POLL, request.path, prompt)
        struck = self._refusal(rule)
        if struck is not None:
            return struck
        if task is None:
            return self._code(404)
        done = task.flag is not None and self._bench.clock() >= task.ready_at
        reply = json_reply({"code": 200, "msg": "success", "data": self._record(task, request.base, done=done)})
        return _held(rule, reply)

    def credit(self, request: Request) -> Reply:
        """`GET /api/v1/common/credit`: credits left, a bare number."""
        if not self._let_in(request):
            return self._code(401)
        rule = self._bench.faults.first(Moment.ANSWER, self.name, CREDIT, request.path)
        left = float(self._funds() / CREDIT_PRICE)
        reply = json_reply({"code": 200, "msg": "success", "data": left})
        return self._refusal(rule) or _held(rule, reply)

    def _accept(
        self, request: Request, brief: Brief, params: str, references: tuple[Reference, ...], rule: Rule | None
    ) -> Reply:
        bench = self._bench
        picture, webhooks = (
            bench.faults.first(Moment.PICTURE, self.name, SUBMIT, request.path, brief.prompt),
            bench.faults.all(Moment.WEBHOOK, self.name, SUBMIT, request.path, brief.prompt),
        )
        now = bench.clock()
        task = Task(bench.ids(), brief, params, now, now + bench.latency.sample(), _sitting(brief, references))
        task.damage = picture
        outcome = _fate(task, rule)
        charged = task.flag in (0, 1, None) or (rule is not None and bool(rule.params.get("charged")))
        charges: tuple[Charge, ...] = ()
        if charged:
            charge = bench.charge(task.id, self.name, brief.model, brief.price, brief.prompt, brief.callback)
            charge.ready_at, charges = task.ready_at, (charge,)
        with self._lock:
            self._tasks[task.id] = task
        self._call_back(task, request.base, webhooks)
        data = {} if rule is not None and rule.fault == "success_without_task_id" else {"taskId": task.id}
        word = "message" if brief.model == "nano-banana-pro" else "msg"
        reply = json_reply({"code": 200, word: "success", "data": data})
        reply.charges, reply.outcome = charges, outcome
        reply.drop = rule is not None and rule.fault == "lost_answer"
        return _held(rule, reply)

    def _call_back(self, task: Task, base: str, faults: Mapping[str, Rule]) -> None:
        url = task.brief.callback
        if url is None or task.flag is None or "lost_callback" in faults:
            return
        copies = int(faults["duplicate_callback"].params["copies"]) if "duplicate_callback" in faults else 1
        delay = task.ready_at - task.created_at
        if "early_callback" in faults:
            task.ready_at, delay, copies = task.created_at, 0.0, copies - 1
            self._bench.callbacks.at_once(url, self._callback(task, base))
        if "late_callback" in faults:
            delay += float(faults["late_callback"].params["seconds"])
        for _ in range(copies):
            self._bench.callbacks.later(delay, url, lambda: self._callback(task, base))

    def _callback(self, task: Task, base: str) -> bytes:
        """The webhook's body: the first endpoint has its own shape, the newer ones send the record."""
        record = self._record(task, base, done=True)
        if task.brief.model != "nano-banana":
            return json.dumps({"code": 200, "msg": "success", "data": record}).encode()
        info = {"resultImageUrl": record["response"]["resultImageUrl"]} if record["response"] else None
        message = task.message or "Playground task completed successfully."
        return json.dumps(
            {"code": task.error or 200, "msg": message, "data": {"taskId": task.id, "info": info}}
        ).encode()

    def _record(self, task: Task, base: str, *, done: bool) -> dict[str, Any]:
        flag = task.flag if done else 0
        address = self._address(task, base) if flag == 1 else None
        return {
            "taskId": task.id,
            "paramJson": task.params,
            "completeTime": _clock_face(task.ready_at) if done else "",
            "createTime": _clock_face(task.created_at),
            "response": {"originImageUrl": None, "resultImageUrl": address} if address else None,
            "successFlag": flag,
            "errorCode": task.error if done else 0,
            "errorMessage": task.message if done else "",
            "operationType": task.brief.operation,
        }

    def _address(self, task: Task, base: str) -> str:
        """The result's address. An expired one is replaced once somebody was turned away from it."""
        expires = task.damage is not None and task.damage.fault == "expired_url"
        ending = "jpeg" if task.brief.format == "jpeg" else "png"
        with self._lock:
            if task.addresses == 0 or (expires and self._bench.files.refused(f"{task.id}-{task.addresses}.{ending}")):
                task.addresses += 1
            name = f"{task.id}-{task.addresses}.{ending}"
        fresh = not expires or task.addresses > 1
        damage = None if expires else task.damage
        self._bench.files.put(name, ResultFile(self.name, task.sitting, damage, fresh=fresh))
        return f"{base}/files/{name}"

    def _references(self, urls: tuple[str, ...]) -> tuple[Reference, ...]:
        try:
            return tuple(self._bench.references.look_at(self._bench.outbound.get(url)) for url in urls)
        except (NotReachable, NotAPicture) as error:
            raise Invalid(f"Image fetch failed. Check access settings or the file type. ({error})") from error

    def _let_in(self, request: Request) -> bool:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._bench.accepts(key.strip())

    def _funds(self) -> Decimal:
        return self._bench.funds - self._bench.ledger.total(self.name)

    def _refusal(self, rule: Rule | None) -> Reply | None:
        """The answer of a fault that takes no order, or None."""
        if rule is None:
            return None
        if rule.fault == "not_charged_drop":
            return DROP
        if rule.fault == "refusal":
            return self._code(400, FLAGGED) if rule.params["when"] == "submit" else None
        if rule.fault == "server_error":
            status = int(rule.params["status"])
            return self._code(status, MESSAGES[500], status)
        code = {"rate_limit": 429, "no_credit": 402, "bad_key": 401, "maintenance": 455}.get(rule.fault)
        if code is None:
            return None
        reply = self._code(code, http_status=int(rule.params["http_status"] or 200))
        if rule.params.get("retry_after") is not None:
            reply.headers["Retry-After"] = str(rule.params["retry_after"])
        return reply

    def _code(self, code: int, message: str | None = None, http_status: int = 200) -> Reply:
        return json_reply({"code": code, "msg": message or MESSAGES[code], "data": None}, http_status)


def _sitting(brief: Brief, references: tuple[Reference, ...]) -> Sitting:
    ratio = brief.ratio
    if ratio == "auto":
        allowed = sizes.TEN if brief.model == "nano-banana-pro" else sizes.FOURTEEN
        ratio = sizes.nearest((references[0].width, references[0].height), allowed) if references else "1:1"
    size = sizes.FIRST[ratio] if brief.model == "nano-banana" else sizes.pixels(ratio, brief.tier)
    return Sitting(brief.prompt, size[0], size[1], brief.format, references=references)


def _fate(task: Task, rule: Rule | None) -> str:
    """Sets how the task ends, and gives the outcome its charge gets."""
    if rule is None:
        return DELIVERED
    if rule.fault == "stuck":
        task.flag = None
        return FAILED
    if rule.fault == "success_without_task_id":
        return LOST
    if rule.fault == "refusal":
        task.flag, task.error, task.message = 3, 400, FLAGGED
        return REFUSED
    if rule.fault == "async_failure":
        task.flag, task.error = int(rule.params["flag"]), int(rule.params["code"])
        task.message = MESSAGES[500] if task.error == 500 else "Generation failed."
        return FAILED
    return DELIVERED


def _held(rule: Rule | None, reply: Reply) -> Reply:
    if rule is not None and rule.fault == "hang":
        reply.hold = float(rule.params["seconds"])
    elif rule is not None and rule.fault == "lost_answer":
        reply.drop = True
    return reply


def _clock_face(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
