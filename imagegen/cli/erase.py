"""`imagegen erase`: what was asked for and drawn, of a job or of an owner, goes; the books stay."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from imagegen.cli.context import erasing, services_of
from imagegen.cli.output import DONE, counted, emit
from imagegen.errors import InvalidRequest
from imagegen.ports_erasures import Scope, Stake

_SPELLING = "Write job:ID or owner:NAME."


@click.command()
@click.argument("scope", metavar="job:ID|owner:NAME")
@click.option("--dry-run", is_flag=True, help="Only count what there is; nothing is changed.")
@click.option("--yes", is_flag=True, help="Do not ask before an owner is erased.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.pass_context
def erase(ctx: click.Context, scope: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase the content of an ended job, or of an owner, for good.

    Prompts, references and pictures go. Ids, times, costs, providers and models stay: the books do not change. Live
    jobs of an owner are cancelled; what is still under way is erased when it ends. Budgets and pauses of the owner
    stay.
    """
    wanted = _scope(scope)
    services = services_of(ctx)
    work = erasing()
    stake: Stake = work.stake_of(wanted, services)
    if dry_run:
        _tell_stake(scope, stake, as_json)
        ctx.exit(DONE)
    if wanted.job_id is not None:
        done = work.erase_job(wanted.job_id, services)
    else:
        _confirm(scope, stake, yes, as_json)
        done = work.erase_owner(wanted.owner, services)
    if as_json:
        emit({"scope": scope, **done.document()})
        return
    _tell(done.document())


def _scope(text: str) -> Scope:
    kind, _, name = text.partition(":")
    if kind == "owner" and name:
        return Scope(owner=name)
    if kind != "job" or not name:
        raise InvalidRequest.of("SCOPE", f"{text!r} is neither a job nor an owner", _SPELLING)
    try:
        return Scope(job_id=UUID(name))
    except ValueError:
        raise InvalidRequest.of("SCOPE", f"{name!r} is no id of a job", _SPELLING) from None


def _confirm(scope: str, stake: Stake, yes: bool, as_json: bool) -> None:
    if yes:
        return
    if as_json:
        raise InvalidRequest.of("--yes", "is missing", "Look with --dry-run first; nobody can be asked with --json.")
    live = f", {stake.live} of them live" if stake.live else ""
    what = f"{counted(stake.jobs, 'job')}{live}, {counted(stake.pictures, 'picture')}, {counted(stake.styles, 'style')}"
    click.confirm(f"Erase {scope} for good: {what}?", abort=True, err=True)


def _tell_stake(scope: str, stake: Stake, as_json: bool) -> None:
    told = {name: getattr(stake, name) for name in ("jobs", "live", "pictures", "bytes", "styles")}
    if as_json:
        emit({"scope": scope, **told})
        return
    click.echo(
        f"would erase {counted(stake.jobs, 'job')} ({stake.live} live), {counted(stake.pictures, 'picture')} "
        f"of {stake.bytes} bytes, {counted(stake.styles, 'style')}"
    )


def _tell(done: dict[str, Any]) -> None:
    click.echo(
        f"erased {counted(done['jobs'], 'job')}, {counted(done['pictures'], 'picture')} of {done['bytes']} bytes"
    )
    if done["styles"]:
        click.echo(f"erased {counted(done['styles'], 'style')}")
    if done["waits"]:
        reason = done["trouble"] or "a paid call or the search for its picture is under way"
        click.echo(f"erased later: {counted(done['waits'], 'job')}; {reason}")
    for one in done["providers"]:
        if one["note"] is not None:
            click.echo(f"{one['provider']}: {counted(one['orders'], 'paid call')}; {one['note']}")
