"""How one setting's text becomes a value: durations, rates, lists and addresses. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import SecretStr

PROVIDERS = ("nanobanana", "gemini", "fal", "replicate", "kie")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
POSTGRES_SCHEMES = {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2"}
MASK = "********"
SECRET_WORD = re.compile("pass|secret|token|key|sig", re.IGNORECASE)


class BadValue(ValueError):
    """A setting's text is wrong: `reason` and `remedy` complete the sentence "NAME: reason. remedy"."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}. {remedy}")


@dataclass(frozen=True)
class RateLimit:
    """`count` submissions per `seconds`, over the whole cluster."""

    count: int
    seconds: int

    @property
    def per_second(self) -> float:
        """Submissions per second."""
        return self.count / self.seconds

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in SECONDS.items() if seconds == self.seconds), f"{self.seconds}s")
        return f"{self.count}/{unit}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, or None where none does."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)), None)


def parse_duration(value: Any) -> Any:
    """`90`, `90s`, `10m`, `1h`, `30d` to whole seconds, at least one."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d{1,9})\s*([smhd]?)\s*", value.lower())
    seconds = int(found[1]) * SECONDS[found[2] or "s"] if found else 0
    if seconds < 1:
        raise BadValue(f"{value!r} is no duration", "Write seconds, or a number with s, m, h or d, such as 10m.")
    return seconds


def parse_list(value: Any) -> Any:
    """Words separated by commas or spaces to a tuple; None stays."""
    return tuple(word for word in re.split(r"[,\s]+", value) if word) if isinstance(value, str) else value


def parse_secrets(value: Any) -> Any:
    """Like `parse_list`, each word a secret."""
    words = parse_list(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return tuple(SecretStr(word) if isinstance(word, str) else word for word in words) if words else ()


def check_providers(names: Sequence[str] | None) -> Sequence[str] | None:
    """Refuse a provider id that does not exist, or one named twice."""
    for name in names or ():
        if name not in PROVIDERS:
            guess = nearest(name, PROVIDERS)
            hint = f"Did you mean {guess}? " if guess else ""
            raise BadValue(f"{name!r} is no provider", f"{hint}Choose among {', '.join(PROVIDERS)}.")
    if names is not None and len(set(names)) != len(names):
        raise BadValue("names a provider twice", "Name each once, the preferred first.")
    return names


def parse_rates(value: Any) -> Any:
    """`gemini=60/m,fal=10/s,gemini:some-model=5/m` to limits by `provider` or `provider:model`."""
    if not isinstance(value, str):
        return value
    return dict(_rate(item) for item in parse_list(value))


def _rate(item: str) -> tuple[str, RateLimit]:
    found = re.fullmatch(r"([a-z]+)((?::[\w.-]+)?)=([1-9]\d{0,6})/([1-9]\d{0,4})?([smhd])", item)
    if not found:
        raise BadValue(f"{item!r} is no rate limit", "Write provider=count/unit, such as gemini=60/m or fal=10/s.")
    check_providers([found[1]])
    return found[1] + found[2], RateLimit(int(found[3]), int(found[4] or 1) * SECONDS[found[5]])


def parse_rate(value: Any) -> Any:
    """`600/m` or `20/10s` to a limit."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([1-9]\d{0,6})/([1-9]\d{0,4})?([smhd])\s*", value)
    if not found:
        raise BadValue(f"{value!r} is no rate", "Write count/unit, such as 600/m or 20/10s.")
    return RateLimit(int(found[1]), int(found[2] or 1) * SECONDS[found[3]])


def parse_origins(value: Any) -> Any:
    """`https://app.example,http://localhost:3000`, as browsers write origins (RFC 6454, section 6.2); `*`: any."""
    origins = parse_list(value)
    for origin in origins:
        if not re.fullmatch(r"\*|https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?", origin):
            raise BadValue(
                f"{origin!r} is no origin", "Write scheme and host in small letters, such as https://app.example."
            )
    return origins


def parse_counts(value: Any) -> Any:
    """`gemini=40,nanobanana:some-model=10` to whole numbers from 1 on by `provider` or `provider:model`."""
    if not isinstance(value, str):
        return value
    return dict(_count(item) for item in parse_list(value))


def _count(item: str) -> tuple[str, int]:
    found = re.fullmatch(r"([a-z]+)((?::[\w.-]+)?)=([1-9]\d{0,5})", item)
    if not found:
        raise BadValue(
            f"{item!r} is no number of generations", "Write provider=count or provider:model=count, such as gemini=40."
        )
    check_providers([found[1]])
    return found[1] + found[2], int(found[3])


def parse_postgres_url(value: Any) -> Any:
    """Any usual spelling of a PostgreSQL address as `postgresql+psycopg2://…`, its password kept secret."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in POSTGRES_SCHEMES:
        raise BadValue("is no PostgreSQL address", "Write postgresql://user:password@host:5432/database.")
    base, mark, query = rest.partition("?")
    # asyncpg says `ssl` where libpq says `sslmode`.
    pairs = [("sslmode" if key == "ssl" else key, item) for key, item in parse_qsl(query, keep_blank_values=True)]
    return SecretStr(f"postgresql+psycopg2://{base}{mark}{urlencode(pairs, quote_via=quote)}")


def parse_redis_url(value: Any) -> Any:
    """A Redis address, a Unix socket's in the one spelling `unix:///path?db=0`."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    url = urlsplit(text)
    if url.scheme in {"unix", "redis+socket", "socket"} and url.path:
        return SecretStr(redis_py_url(text))
    if url.scheme not in {"redis", "rediss"} or not url.hostname:
        raise BadValue("is no Redis address", "Write redis://host:6379/0, rediss://… or unix:///path/of/socket?db=0.")
    return SecretStr(text)


def _swap_scheme(url: str, scheme: str, database_key: str) -> str:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    database = query.pop("db", None) or query.pop("virtual_host", None) or "0"
    query[database_key] = database.strip("/") or "0"
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"{scheme}://{credentials}{quote(unquote(parts.path))}?{urlencode(query)}"


def redis_py_url(url: str) -> str:
    """The address as redis-py reads it: `unix:///path?db=0` for a socket, any other as it is."""
    return _swap_scheme(url, "unix", "db") if urlsplit(url).scheme in {"unix", "redis+socket", "socket"} else url


def celery_redis_url(url: str) -> str:
    """The address as Celery's broker and result backend read it: `redis+socket:///path?virtual_host=0` for a socket."""
    is_socket = urlsplit(url).scheme in {"unix", "redis+socket", "socket"}
    return _swap_scheme(url, "redis+socket", "virtual_host") if is_socket else url


def parse_http_url(value: Any) -> Any:
    """An http(s) address with a host, without a closing slash."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str):
        return value
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise BadValue("is no http address", "Write https://host, or http:// for a test.")
    trimmed = text.rstrip("/")
    return SecretStr(trimmed) if isinstance(value, SecretStr) else trimmed


def parse_storage_url(value: Any) -> Any:
    """`s3://bucket[/prefix]` or `file:///folder`."""
    if not isinstance(value, str):
        return value
    url = urlsplit(value)
    if (url.scheme == "s3" and url.netloc) or (url.scheme == "file" and not url.netloc and url.path.startswith("/")):
        return value.rstrip("/")
    raise BadValue(f"{value!r} is no storage address", "Write s3://bucket, s3://bucket/prefix or file:///folder.")


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own: localhost, 127.0.0.0/8 or ::1."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def mask_url(url: str) -> str:
    """The address without its password and without the secrets of its query."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    netloc = f"{user.partition(':')[0]}:{MASK}{at}{host}" if ":" in user else parts.netloc
    pairs = [item.partition("=") for item in parts.query.split("&") if item]
    shown = [f"{key}{sign}{MASK if SECRET_WORD.search(key) else value}" for key, sign, value in pairs]
    query = f"?{'&'.join(shown)}" if shown else ""
    return f"{parts.scheme}://{netloc}{parts.path}{query}"


def shown(value: Any, secret_url: bool = False) -> str:
    """A value as `imagegen config` prints it; of a secret address (`secret_url`) the harmless part is shown."""
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, SecretStr):
        return mask_url(value.get_secret_value()) if secret_url else MASK
    if isinstance(value, tuple):
        return ",".join(shown(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    return mask_url(value) if isinstance(value, str) and "@" in value and "://" in value else str(value)
