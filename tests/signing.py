"""The providers' side of signed callbacks: what each of them would send, with keys of our own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook

KIE_KEY = "a key of kie's"
GOOGLE_SECRET, REPLICATE_SECRET = (
    "whsec_" + base64.b64encode(bytes([letter]) * 32).decode() for letter in (b"g"[0], b"r"[0])
)
AUDIENCE = "my-project"
Headers = dict[str, str]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Google's, of this test run."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Signers:
    """Every provider's keys. `kid` names Google's present key."""

    google: rsa.RSAPrivateKey = field(default_factory=rsa_key)
    fal: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)
    kid: str = "2026"

    def google_keys(self) -> dict[str, Any]:
        """Google's key set."""
        told = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.google.public_key()))
        return {"keys": [{**told, "kid": self.kid, "alg": "RS256", "use": "sig"}]}

    def fal_keys(self) -> dict[str, Any]:
        """fal's key set: an older key beside the present one."""
        older = ed25519.Ed25519PrivateKey.generate()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": public_x(key)} for key in (older, self.fal)]}

    def jwt(self, at: datetime, **claims: Any) -> str:
        """Google's token for an address that was given with a request."""
        moment = int(at.timestamp())
        told = {"iss": "https://generativelanguage.googleapis.com", "aud": AUDIENCE, "iat": moment, "exp": moment + 600}
        told = {name: value for name, value in {**told, **claims}.items() if value is not None}
        return jwt.encode(told, self.google, algorithm="RS256", headers={"kid": self.kid})


def public_x(key: ed25519.Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def nanobanana(signers: Signers, body: bytes, at: datetime) -> Headers:
    """Nothing is signed."""
    return {}


def kie(signers: Signers, body: bytes, at: datetime) -> Headers:
    task = json.loads(body)["data"]["taskId"]
    seconds = str(int(at.timestamp()))
    digest = hmac.new(KIE_KEY.encode(), f"{task}.{seconds}".encode(), hashlib.sha256).digest()
    return {"X-Webhook-Timestamp": seconds, "X-Webhook-Signature": base64.b64encode(digest).decode()}


def gemini(signers: Signers, body: bytes, at: datetime) -> Headers:
    """A registered webhook."""
    return standard(GOOGLE_SECRET, body, at)


def gemini_dynamic(signers: Signers, body: bytes, at: datetime) -> Headers:
    """An address that was given with a request."""
    told = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp()))}
    return {**told, "webhook-signature": signers.jwt(at)}


def replicate(signers: Signers, body: bytes, at: datetime) -> Headers:
    return standard(REPLICATE_SECRET, body, at)


def fal(signers: Signers, body: bytes, at: datetime) -> Headers:
    request, user, seconds = "req-1", "user-1", str(int(at.timestamp()))
    message = "\n".join([request, user, seconds, hashlib.sha256(body).hexdigest()])
    told = {"Request-Id": request, "User-Id": user, "Timestamp": seconds}
    signed = {**told, "Signature": signers.fal.sign(message.encode()).hex()}
    return {f"X-Fal-Webhook-{name}": value for name, value in signed.items()}


def standard(secret: str, body: bytes, at: datetime) -> Headers:
    signature = Webhook(secret).sign("msg_1", at.astimezone(UTC), body.decode())
    told = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp()))}
    return {**told, "webhook-signature": signature}


Sign = Callable[[Signers, bytes, datetime], Headers]
SIGNED: Mapping[str, Sign] = {
    "kie": kie,
    "gemini": gemini,
    "gemini dynamic": gemini_dynamic,
    "fal": fal,
    "replicate": replicate,
}
"""By provider, and the kind of its webhooks where it has two."""


def key_server(signers: Signers) -> type[BaseHTTPRequestHandler]:
    """Serves the key sets at `/google` and `/fal`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys = signers.google_keys() if self.path == "/google" else signers.fal_keys()
            told = json.dumps(keys).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    return Handler
