"""The commands of imagegen: `imagegen …` and `celery -A tasks imagegen …` are the same."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from imagegen.cli.alerts import alerts
from imagegen.cli.bucket import bucket
from imagegen.cli.budgets import budgets
from imagegen.cli.cache import cache
from imagegen.cli.cancel_retry import cancel_jobs, retry_jobs
from imagegen.cli.costs import costs
from imagegen.cli.deliveries import deliveries
from imagegen.cli.demo import demo
from imagegen.cli.doctor import doctor
from imagegen.cli.emulator import emulator
from imagegen.cli.erase import erase
from imagegen.cli.operate import config, migrate
from imagegen.cli.output import INTERRUPTED, USAGE, emit_error, exit_code
from imagegen.cli.pause import pause, resume
from imagegen.cli.providers import providers
from imagegen.cli.show import list_jobs, show, watch
from imagegen.cli.styles import styles
from imagegen.cli.submit import batch, submit
from imagegen.cli.token import token
from imagegen.cli.up import up
from imagegen.errors import ImagegenError, InvalidRequest

_JSON = "imagegen.json"


class Commands(click.Group):
    """A group whose errors are lines for people, or JSON with `--json`, and end in the contract's exit codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Asked for here, because an option that does not parse leaves nothing else to ask.
        ctx.meta[_JSON] = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            self._refuse(ctx, error)

    def _refuse(self, ctx: click.Context, error: click.UsageError) -> NoReturn:
        emit_error(_as_ours(error), ctx.meta[_JSON])
        ctx.exit(USAGE)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImagegenError as error:
            emit_error(error, ctx.meta[_JSON])
            ctx.exit(exit_code(error))
        except click.UsageError as error:
            if isinstance(error, click.exceptions.NoArgsIsHelpError):
                raise
            self._refuse(ctx, error)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _as_ours(error: click.UsageError) -> InvalidRequest:
    """Click's finding as field, reason and remedy; the field as it is typed."""
    field, reason = "command", error.format_message()
    if isinstance(error, click.BadParameter) and error.param is not None:
        field = error.param.opts[0] if isinstance(error.param, click.Option) else str(error.param.name).upper()
        reason = "is missing" if isinstance(error, click.MissingParameter) else error.message
    elif isinstance(error, click.NoSuchOption | click.BadOptionUsage):
        field, reason = error.option_name, error.message
    path = error.ctx.command_path if error.ctx else "imagegen"
    # Below `celery` the path lacks Celery's own options, and its command is the same as ours.
    path = path[max(0, path.find("imagegen")) :]
    return InvalidRequest.of(field, reason.rstrip("."), f"See {path} --help.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def imagegen() -> None:
    """Pictures bought once, never lost, and accounted for to the cent."""


for _command in (
    up, demo, submit, batch, show, watch, list_jobs, cancel_jobs, retry_jobs, pause, resume, budgets, costs, cache,
    providers, styles, deliveries, erase, token, doctor, alerts, config, migrate, bucket, emulator,
):  # fmt: skip
    imagegen.add_command(_command)


def main() -> None:
    """The console script `imagegen`; the exit code is the contract's."""
    imagegen(prog_name="imagegen")
