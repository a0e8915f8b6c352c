"""Google's Gemini Developer API: `generateContent` of the image models, and the list of models.

Alive and dead model ids, tokens and prices as of 2026-11: ai.google.dev/gemini-api/docs/deprecations and /pricing.
A refused call counts its prompt's tokens and is not charged; with the fault's `charged` it has thought first and pays
for that and the prompt (what the real one bills is UNCONFIRMED).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar

from imagegen.emulator import sizes
from imagegen.emulator.api import ANYWHERE, Bench, Route
from imagegen.emulator.faults import MODELS, SUBMIT, Moment, Rule
from imagegen.emulator.files import spoil
from imagegen.emulator.gemini_errors import bad_key, error, invalid, no_model, refused, too_many
from imagegen.emulator.gemini_request import (
    MAX_INLINE,
    InvalidArgument,
    Model,
    PermissionDenied,
    Wanted,
    read,
)
from imagegen.emulator.ledger import DELIVERED, FAILED, REFUSED
from imagegen.emulator.picture.sitting import Sitting
from imagegen.emulator.wire import DROP, Reply, Request, json_reply

MILLION = Decimal(1_000_000)


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    text_in: Decimal
    text_out: Decimal
    image_out: Decimal


NANO_BANANA_21 = Model({"1K": 1120, "2K": 1680, "4K": 3780}, sizes.FOURTEEN, "medium")
PRO = Model({"1K": 1120, "2K": 1120, "4K": 2000}, sizes.TEN, "high")
LITE = Model({"1K": 1120}, sizes.FOURTEEN, None)
PRICE_21 = Price(Decimal("1.50"), Decimal("7.50"), Decimal(30))
PRICE_PRO = Price(Decimal("2.00"), Decimal(12), Decimal(120))
PRICE_LITE = Price(Decimal("0.25"), Decimal("1.50"), Decimal(30))
"""Text prices of the lite model are assumed."""

ALIVE: Mapping[str, tuple[Model, Price]] = {
    "gemini-nano-banana-2.1": (NANO_BANANA_21, PRICE_21),
    "gemini-3-pro-image": (PRO, PRICE_PRO),
    "nano-banana-pro-preview": (PRO, PRICE_PRO),
    "gemini-3.1-flash-lite-image": (LITE, PRICE_LITE),
}
THINKING_TOKENS = {"minimal": 0, "low": 80, "medium": 200, "high": 600}
REFERENCE_TOKENS = 560
"""Input tokens of one picture (pricing page, 3-pro; assumed for the others)."""

THOUGHT = "I lay out the scene first, then the light, and look once more at every word of the brief."
ANSWER = "Here is your picture."
VERSIONS = ("/v1beta", "/v1")
"""Both are served: the documentation says v1beta, google-genai 3 asks for v1."""

_MARK = b'"@picture@"'


class Gemini:
    """The part of generativelanguage.googleapis.com that imagegen speaks to."""

    name: ClassVar[str] = "gemini"
    faults: ClassVar[frozenset[str]] = ANYWHERE | {
        "refusal", "thought_only", "no_image", "missing_parts", "no_candidates",
        "html_file", "truncated_file", "wrong_file", "wrong_size",
    }  # fmt: skip

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def routes(self) -> Iterable[Route]:
        """Both API versions."""
        for version in VERSIONS:
            yield Route("POST", f"{version}/models/*", self.generate, SUBMIT)
            yield Route("GET", f"{version}/models", self.models, MODELS)
            yield Route("GET", f"{version}/models/*", self.model, MODELS)

    def reset(self) -> None:
        """It keeps nothing between calls."""

    def models(self, request: Request) -> Reply:
        """`GET /v1beta/models`."""
        document = {"models": [_described(name) for name in ALIVE]}
        return self._free(request) or json_reply(document)

    def model(self, request: Request) -> Reply:
        """`GET /v1beta/models/{model}`."""
        name = request.path.partition("/models/")[2]
        return self._free(request) or (json_reply(_described(name)) if name in ALIVE else no_model(name))

    def generate(self, request: Request) -> Reply:
        """`POST /v1beta/models/{model}:generateContent`."""
        name, _, method = request.path.partition("/models/")[2].partition(":")
        self._bench.ledger.count("submissions")
        denied = self._denied(request)
        if denied is not None:
            return denied
        if method != "generateContent" or name not in ALIVE:
            return no_model(name)
        try:
            wanted = self._read(request, name)
        except InvalidArgument as wrong:
            return invalid(wrong)
        except PermissionDenied as wrong:
            return error(403, "PERMISSION_DENIED", str(wrong))
        excess = self._bench.limits.take(self.name, name)
        if excess is not None:
            return too_many(excess)
        rule = self._bench.faults.first(Moment.ANSWER, self.name, SUBMIT, request.path, wanted.prompt)
        return refused(rule) or self._answer(request, name, wanted, rule)

    def _read(self, request: Request, name: str) -> Wanted:
        if len(request.body) > MAX_INLINE:
            raise InvalidArgument(f"Request payload size exceeds the limit: {MAX_INLINE} bytes.")
        try:
            body = request.json()
        except ValueError as error:
            raise InvalidArgument(f"Invalid JSON payload received. {error}") from error
        return read(body, name, ALIVE[name][0], self._bench.references)

    def _answer(self, request: Request, name: str, wanted: Wanted, rule: Rule | None) -> Reply:
        bench = self._bench
        damage = bench.faults.first(Moment.PICTURE, self.name, SUBMIT, request.path, wanted.prompt)
        outcome = _Outcome.of(rule)
        usage = usage_of(wanted, ALIVE[name][0], image=outcome.image, answered=outcome.answered)
        amount = price_of(usage, ALIVE[name][1]) if outcome.answered else Decimal(0)
        response_id = bench.ids()
        document = {
            **outcome.document(wanted),
            "usageMetadata": usage,
            "modelVersion": name,
            "responseId": response_id,
        }
        reply = Reply(body=self._body(document, wanted, damage), hold=bench.latency.sample(), outcome=outcome.charged)
        if amount:
            reply.charges = (bench.charge(response_id, self.name, name, amount, wanted.prompt, None),)
        if rule is not None and rule.fault == "hang":
            reply.hold = float(rule.params["seconds"])
        reply.drop = rule is not None and rule.fault == "lost_answer"
        return reply

    def _body(self, document: Mapping[str, Any], wanted: Wanted, damage: Rule | None) -> Callable[[], bytes]:
        """The answer's bytes, made late; the picture is spliced in rather than sent through the JSON encoder."""
        shell = json.dumps(document, ensure_ascii=False).encode()

        def build() -> bytes:
            if _MARK not in shell:
                return shell
            data, _ = spoil(damage, self._bench.studio, _sitting(wanted))
            head, tail = shell.rsplit(_MARK, 1)
            if _MARK in head:
                draft, _ = spoil(None, self._bench.studio, _draft(wanted))
                head = head.replace(_MARK, b'"' + base64.b64encode(draft) + b'"')
            return b"".join((head, b'"', base64.b64encode(data), b'"', tail))

        return build

    def _denied(self, request: Request) -> Reply | None:
        key = request.headers.get("x-goog-api-key") or request.query.get("key", "")
        if not key:
            return error(
                403,
                "PERMISSION_DENIED",
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API.",
            )
        return None if self._bench.accepts(key) else bad_key()

    def _free(self, request: Request) -> Reply | None:
        denied = self._denied(request)
        if denied is not None:
            return denied
        rule = self._bench.faults.first(Moment.ANSWER, self.name, MODELS, request.path)
        if rule is not None and rule.fault == "lost_answer":
            return DROP
        return refused(rule)


@dataclass(frozen=True)
class _Outcome:
    """What a paid call ends with: the finish reason, whether there is a picture, and what the charge is called."""

    finish: str = "STOP"
    block: str | None = None
    image: bool = True
    answered: bool = True
    parts: str = "all"
    charged: str = DELIVERED

    @classmethod
    def of(cls, rule: Rule | None) -> _Outcome:
        """What a fault makes of the call."""
        if rule is None:
            return cls()
        if rule.fault == "refusal":
            reason = str(rule.params["reason"])
            refused = cls(image=False, answered=bool(rule.params["charged"]), parts="none", charged=REFUSED)
            return replace(refused, block=reason) if rule.params["blocked"] else replace(refused, finish=reason)
        if rule.fault == "no_image":
            return cls(finish=str(rule.params["reason"]), image=False, parts="text", charged=FAILED)
        if rule.fault == "missing_parts":
            return cls(image=False, parts="none", charged=FAILED)
        if rule.fault == "no_candidates":
            return cls(image=False, parts="no candidates", charged=FAILED)
        return cls(parts="thoughts", charged=FAILED) if rule.fault == "thought_only" else cls()

    def document(self, wanted: Wanted) -> dict[str, Any]:
        """Candidates and feedback, with `_MARK` where a picture belongs."""
        if self.block is not None:
            return {"promptFeedback": {"blockReason": self.block, "safetyRatings": []}}
        if self.parts == "no candidates":
            return {}
        candidate: dict[str, Any] = {"finishReason": self.finish, "index": 0}
        parts = self._parts(wanted)
        candidate["content"] = {"role": "model", "parts": parts} if parts else {"role": "model"}
        if self.finish != "STOP":
            candidate["finishMessage"] = f"Unable to show the generated image. Reason: {self.finish}."
        return {"candidates": [candidate]}

    def _parts(self, wanted: Wanted) -> list[dict[str, Any]]:
        if self.parts == "none":
            return []
        picture = {"inlineData": {"mimeType": "image/png", "data": _MARK[1:-1].decode()}}
        parts: list[dict[str, Any]] = []
        if self.parts == "thoughts" or wanted.thoughts:
            parts += [{"text": THOUGHT, "thought": True}, {**picture, "thought": True}]
        if self.parts == "text":
            parts.append({"text": "I cannot draw this, but I can tell you about it."})
        if self.parts == "all":
            parts += [{"text": ANSWER}] if wanted.text else []
            parts.append({**picture, "thoughtSignature": base64.b64encode(b"imagegen emulator").decode()})
        return parts


def usage_of(wanted: Wanted, model: Model, *, image: bool, answered: bool = True) -> dict[str, Any]:
    """`usageMetadata`: about four characters a token, a fixed number per picture and thinking level."""
    words = max(4, _tokens(wanted.prompt))
    seen = REFERENCE_TOKENS * len(wanted.references)
    prompt = [{"modality": "TEXT", "tokenCount": words}]
    if seen:
        prompt.append({"modality": "IMAGE", "tokenCount": seen})
    if not answered:
        return {"promptTokenCount": words + seen, "totalTokenCount": words + seen, "promptTokensDetails": prompt}
    drawn = model.tokens[wanted.tier] if image else 0
    said = _tokens(ANSWER) if wanted.text and image else 0
    thought = THINKING_TOKENS[wanted.thinking] if wanted.thinking else 0
    usage: dict[str, Any] = {"promptTokenCount": words + seen}
    if drawn or said:
        usage["candidatesTokenCount"] = drawn + said
        details = [{"modality": "IMAGE", "tokenCount": drawn}]
        usage["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": said}, *details] if said else details
    if thought:
        usage["thoughtsTokenCount"] = thought
    usage["totalTokenCount"] = words + seen + drawn + said + thought
    usage["promptTokensDetails"] = prompt
    return usage


def _tokens(text: str) -> int:
    """Counted in fours, so that every charge is a whole number of millionths of a dollar at every price."""
    return 4 * -(-len(text) // 16)


def price_of(usage: Mapping[str, Any], price: Price) -> Decimal:
    """US dollars for these tokens, exactly."""
    drawn: int = sum(
        detail["tokenCount"] for detail in usage.get("candidatesTokensDetails", ()) if detail["modality"] == "IMAGE"
    )
    said: int = usage.get("candidatesTokenCount", 0) - drawn + usage.get("thoughtsTokenCount", 0)
    total: Decimal = usage["promptTokenCount"] * price.text_in + said * price.text_out + drawn * price.image_out
    return total / MILLION


def _sitting(wanted: Wanted) -> Sitting:
    width, height = sizes.pixels(wanted.ratio, wanted.tier)
    return Sitting(wanted.prompt, width, height, "png", wanted.seed, wanted.references)


def _draft(wanted: Wanted) -> Sitting:
    """The smaller picture a thinking model shows on the way."""
    width, height = sizes.pixels(wanted.ratio, "1K")
    return replace(_sitting(wanted), width=width // 4, height=height // 4)


def _described(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "description": "Image model of the imagegen emulator",
        "inputTokenLimit": 65536,
        "outputTokenLimit": 32768,
        "supportedGenerationMethods": ["generateContent"],
    }
