"""The port `Styles` on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from imagegen.contracts import Style
from imagegen.errors import NotFound
from imagegen.prompts import style_sha256
from storage.engine import Database
from storage.tables import STYLES, value

_GET = select(STYLES).where(STYLES.c.id == value("style_id", STYLES.c.id))
_LIST = select(STYLES).order_by(STYLES.c.id)
_PUT = insert(STYLES).values(
    {
        "id": value("style_id", STYLES.c.id),
        "sha256": value("digest", STYLES.c.sha256),
        "body": value("capsule", STYLES.c.body),
        "created_at": value("at", STYLES.c.updated_at),
        "updated_at": value("at", STYLES.c.updated_at),
    }
)
_PUT = _PUT.on_conflict_do_update(
    index_elements=["id"], set_={name: _PUT.excluded[name] for name in ("sha256", "body", "updated_at")}
)


class PostgresStyles:
    """Stored style capsules; thread-safe, one statement per call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, style_id: str, style: Style, *, at: datetime) -> None:
        """Stores the capsule, replacing one of the same id."""
        body = style.model_dump(mode="json", by_alias=True)
        self._database.run(_PUT, {"style_id": style_id, "digest": style_sha256(style), "capsule": body, "at": at})

    def get(self, style_id: str) -> Style:
        """The capsule; raises `NotFound`."""
        found = self._database.run(_GET, {"style_id": style_id})
        if not found:
            raise NotFound(f"no style {style_id!r}")
        return Style.model_validate(found[0]["body"])

    def list(self) -> Sequence[tuple[str, Style]]:
        """All capsules by id, in the order of their ids."""
        return [(row["id"], Style.model_validate(row["body"])) for row in self._database.run(_LIST)]
