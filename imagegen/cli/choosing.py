"""Which jobs a command is about: ids of jobs and batches, or filters; never both, never neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import click

from imagegen.cli.options import code_of_failure, moment, moment_before
from imagegen.cli.output import columns, dollars, emit, label
from imagegen.errors import InvalidRequest, NotFound
from imagegen.jobs import Job
from imagegen.ports import Services
from imagegen.records import JobFilter
from imagegen.settings_values import PROVIDERS
from imagegen.states import Status

Command = TypeVar("Command", bound=Callable[..., Any])
PAGE = 200
"""Jobs read at once."""

_FILTERS = ("status", "code", "provider", "project", "owner", "since")
_HEADING = ("ID", "STATUS", "CODE", "DOLLARS", "NAME", "WOULD")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a dry run tells of one job. `dollars`: what it costs, or may cost, US; `would`: what would happen to it;
    `needs_buy`: not without the owner's word."""

    job: Job
    dollars: Decimal
    would: str
    needs_buy: bool = False


def choosing(statuses: Sequence[Status]) -> Callable[[Command], Command]:
    """Adds ids and filters to a command about jobs of these statuses; `chosen` takes what they come to."""
    added = [
        click.argument("ids", type=click.UUID, nargs=-1, metavar="[ID]..."),
        click.option("--status", type=click.Choice([one.value for one in statuses])),
        code_of_failure,
        click.option("--provider", type=click.Choice(PROVIDERS)),
        click.option("--project", help="Project id."),
        click.option("--owner", help="Owner."),
        click.option("--since", type=moment, help="Made after: an RFC 3339 time, or a duration back from now."),
        click.option("--dry-run", is_flag=True, help="Only count them and their dollars; nothing is changed."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
    ]

    def decorate(command: Command) -> Command:
        for one in reversed(added):
            command = one(command)
        return command

    return decorate


def chosen(
    services: Services, ids: Sequence[UUID], given: Mapping[str, Any], statuses: Sequence[Status]
) -> Iterator[Job]:
    """The jobs one by one, each once; those of filters page by page, of the given `statuses` alone.

    A batch stands for its members of these statuses, or for all of them where it has none. Raises `InvalidRequest`
    for neither ids nor filters, or both, and `NotFound` for an id of nothing, before the first job.
    """
    filters = {name: given[name] for name in _FILTERS if given[name] is not None}
    if ids and filters:
        wrong = f"--{next(iter(filters))}"
        raise InvalidRequest.of(wrong, "is given together with ids", "Name the jobs, or filter them.")
    if not ids and not filters:
        raise InvalidRequest.of("ID", "is missing", "Name jobs or batches by their ids, or give a filter.")
    if ids:
        named = [job for one in ids for job in _named(one, services, statuses)]
        return iter({job.id: job for job in named}.values())
    return _matching(services, filters, statuses)


def _named(wanted: UUID, services: Services, statuses: Sequence[Status]) -> Sequence[Job]:
    try:
        return [services.jobs.get(wanted)]
    except NotFound:
        pass
    try:
        _, members = services.jobs.get_batch(wanted)
    except NotFound:
        raise NotFound(f"no job or batch has the id {wanted}") from None
    return [job for job in members if job.status in statuses] or members


def _matching(services: Services, filters: Mapping[str, Any], statuses: Sequence[Status]) -> Iterator[Job]:
    """In the order that jobs go through these statuses, so that one which moves on meanwhile is met all the same."""
    since: datetime | timedelta | None = filters.get("since")
    after = None if since is None else moment_before(since, services.clock.now())
    seen: set[UUID] = set()
    for status in statuses:
        if filters.get("status") not in {None, status.value}:
            continue
        where = JobFilter(
            status=status, code=filters.get("code"), provider=filters.get("provider"),
            project_id=filters.get("project"), owner=filters.get("owner"), since=after,
        )  # fmt: skip
        for job in _pages(services, where):
            if job.id not in seen:
                seen.add(job.id)
                yield job


def _pages(services: Services, where: JobFilter) -> Iterator[Job]:
    cursor: str | None = None
    while True:
        jobs, cursor = services.jobs.list(where, limit=PAGE, cursor=cursor)
        yield from jobs
        if cursor is None:
            return


def print_forecast(forecasts: Iterator[Forecast], as_json: bool) -> None:
    """The dry run: how many, for how many dollars, and each of them."""
    found = list(forecasts)
    whole = sum((one.dollars for one in found), Decimal(0))
    if as_json:
        emit({"count": len(found), "dollars": float(whole), "items": [_forecast_document(one) for one in found]})
        return
    rows = [
        (
            str(one.job.id), one.job.status.value, one.job.error_code or "", dollars(one.dollars),
            label(one.job.document()), one.would,
        )
        for one in found
    ]  # fmt: skip
    if rows:
        click.echo(columns([_HEADING, *rows], frozenset({3})))
    click.echo(f"{len(found)} {'job' if len(found) == 1 else 'jobs'}, {dollars(whole)}")


def _forecast_document(one: Forecast) -> dict[str, Any]:
    told = {"jobId": str(one.job.id), "status": one.job.status.value, "code": one.job.error_code}
    return {**told, "dollars": float(one.dollars), "would": one.would, "needsBuy": one.needs_buy}
