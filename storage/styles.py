"""The port `Styles` on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from imagegen.contracts import Style
from imagegen.errors import NotFound
from imagegen.prompts import style_sha256
from storage.engine import Database
from storage.tables import STYLES, value

SHARED = ""
"""The owner of what is everybody's."""

_OWNER = value("owner", STYLES.c.owner)
_VISIBLE = or_(STYLES.c.owner == SHARED, STYLES.c.owner == _OWNER)
# The greater owner is the owner's own, for everybody's is empty.
_GET = (
    select(STYLES)
    .where(STYLES.c.id == value("style_id", STYLES.c.id), _VISIBLE)
    .order_by(STYLES.c.owner.desc())
    .limit(1)
)
_LIST = select(STYLES).ext(distinct_on(STYLES.c.id)).where(_VISIBLE).order_by(STYLES.c.id, STYLES.c.owner.desc())
_PUT = insert(STYLES).values(
    {
        "owner": _OWNER,
        "id": value("style_id", STYLES.c.id),
        "sha256": value("digest", STYLES.c.sha256),
        "body": value("capsule", STYLES.c.body),
        "created_at": value("at", STYLES.c.updated_at),
        "updated_at": value("at", STYLES.c.updated_at),
    }
)
_PUT = _PUT.on_conflict_do_update(
    index_elements=["owner", "id"], set_={name: _PUT.excluded[name] for name in ("sha256", "body", "updated_at")}
)


class PostgresStyles:
    """Stored style capsules; thread-safe, one statement per call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, style_id: str, style: Style, *, at: datetime, owner: str | None = None) -> None:
        """Stores the capsule, replacing the owner's (everybody's) of the same id."""
        body = style.model_dump(mode="json", by_alias=True)
        told = {"style_id": style_id, "digest": style_sha256(style), "capsule": body, "at": at}
        self._database.run(_PUT, {**told, "owner": owner or SHARED})

    def get(self, style_id: str, *, owner: str | None = None) -> Style:
        """The owner's capsule, else everybody's; raises `NotFound`."""
        found = self._database.run(_GET, {"style_id": style_id, "owner": owner or SHARED})
        if not found:
            raise NotFound(f"no style {style_id!r}")
        return Style.model_validate(found[0]["body"])

    def list(self, *, owner: str | None = None) -> Sequence[tuple[str, Style]]:
        """The capsules that this owner may name, in the order of their ids."""
        found = self._database.run(_LIST, {"owner": owner or SHARED})
        return [(row["id"], Style.model_validate(row["body"])) for row in found]
