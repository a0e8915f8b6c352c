"""`imagegen token`: a bearer token for the HTTP door, signed with the configured or the development secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from imagegen.cli.context import join_running, settings_here, tokens
from imagegen.cli.output import emit
from imagegen.clock import SystemClock
from imagegen.errors import InvalidRequest
from imagegen.settings import Settings
from imagegen.settings_values import BadValue, parse_duration

DEFAULT_TTL = "30d"


class _Duration(click.ParamType[timedelta]):
    """`90s`, `12h`, `30d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return timedelta(seconds=parse_duration(str(value)))
        except BadValue as error:
            self.fail(str(error), param, ctx)


@click.command("token")
@click.option("--owner", required=True, help="Whose token it is: its `sub`.")
@click.option("--service", is_flag=True, help="It sees and may name every owner.")
@click.option("--ttl", type=_Duration(), default=DEFAULT_TTL, show_default=True, help="How long it holds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def token(owner: str, service: bool, ttl: timedelta, as_json: bool) -> None:
    """Make a bearer token for the HTTP door."""
    owner = owner.strip()
    if not owner or not owner.isprintable() or len(owner) > tokens().MAX_OWNER:
        raise InvalidRequest.of("--owner", "is no owner name", f"Name it with 1 to {tokens().MAX_OWNER} characters.")
    made = mint_here(signing_settings(), owner, service=service, ttl=ttl)
    if as_json:
        emit({"token": made, "owner": owner, "service": service, "expiresIn": int(ttl.total_seconds())})
    else:
        click.echo(made)


def signing_settings() -> Settings:
    """The settings with the shared secret, of the environment or of the running `up`. Raises `InvalidRequest`."""
    settings = settings_here()
    if settings.jwt_secret is None and settings.jwks_url is None:
        settings = join_running()
    if settings.jwt_secret is None:
        raise InvalidRequest.of(
            "IMAGEGEN_JWT_SECRET", "is not set, and only who has the secret can sign", "Ask the issuer, or set it."
        )
    return settings


def mint_here(settings: Settings, owner: str, *, service: bool, ttl: timedelta) -> str:
    """A token that the door with these settings takes."""
    assert settings.jwt_secret is not None
    made: str = tokens().mint(
        settings.jwt_secret.get_secret_value(), owner, now=SystemClock().now(), ttl=ttl, service=service,
        audience=settings.jwt_audience,
    )  # fmt: skip
    return made
