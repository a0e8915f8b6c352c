"""`imagegen emulator`: every provider on a port of this machine."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from imagegen.emulator.command import serve
from imagegen.errors import InvalidRequest, PartUnavailable


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--latency", default="0", show_default=True, help="Seconds, or lognormal:MEDIAN:SIGMA.")
@click.option(
    "--faults", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Fault script, JSON or YAML."
)
@click.option("--plain", is_flag=True, help="Flat pictures of the exact size: next to no CPU.")
@click.option("--key", envvar="IMAGEGEN_EMULATOR_KEY", help="The one key that is let in; any, where unset.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the latency.")
@click.option("--funds", default="5000", show_default=True, help="US dollars on each account.")
@click.option(
    "--limit", "limits", multiple=True, metavar="PROVIDER[:MODEL]=N/UNIT", help="Rate beyond which orders get 429."
)
@click.option("--allow-host", "allow_hosts", multiple=True, help="Host beside the loopback that webhooks may reach.")
def emulator(
    port: int,
    host: str,
    latency: str,
    faults: Path | None,
    plain: bool,
    key: str | None,
    seed: int,
    funds: str,
    limits: tuple[str, ...],
    allow_hosts: tuple[str, ...],
) -> None:
    """Serve every provider's API, for trials and tests.

    With real pictures, exact books and scripted faults.
    """
    try:
        money = Decimal(funds)
    except InvalidOperation:
        raise click.BadParameter(f"{funds!r} is no amount of US dollars", param_hint="--funds") from None
    try:
        serve(
            port, latency, faults, plain=plain, key=key, host=host, seed=seed, funds=money, allow_hosts=allow_hosts,
            limits=",".join(limits), say=_say,
        )  # fmt: skip
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    except PartUnavailable as error:
        click.echo(str(error), err=True)
        sys.exit(3)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
