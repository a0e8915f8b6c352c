"""One suite for the port `Styles`, in memory and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from imagegen.contracts import Style
from imagegen.errors import NotFound
from imagegen.ports import Styles
from imagegen.prompts import style_sha256
from imagegen.testing.memory import MemoryStyles
from storage.engine import Database
from storage.styles import PostgresStyles
from storage.tables import STYLES
from tests.jobs_kit import at

pytest_plugins = ["tests.stores"]
NOIR = Style(name="Noir", modifiers=["high contrast"], palette=["#000"], avoid=["colour"])


@pytest.fixture(params=["memory", "postgres"])
def styles(request: pytest.FixtureRequest) -> Styles:
    """An empty shelf of each kind."""
    if request.param == "memory":
        return MemoryStyles()
    database: Database = request.getfixturevalue("database")
    database.run(text(f"DELETE FROM {database.schema}.imagegen_styles"))
    return PostgresStyles(database)


def test_a_capsule_comes_back_as_it_was_put(styles: Styles) -> None:
    """Put, got and listed, the capsule is the same."""
    styles.put("noir", NOIR, at=at(0))
    assert styles.get("noir") == NOIR
    assert list(styles.list()) == [("noir", NOIR)]


def test_putting_again_replaces(styles: Styles) -> None:
    """One capsule per id, the newest."""
    styles.put("noir", NOIR, at=at(0))
    newer = NOIR.model_copy(update={"palette": ["#111"]})
    styles.put("noir", newer, at=at(1))
    assert list(styles.list()) == [("noir", newer)]


def test_the_list_is_in_the_order_of_ids(styles: Styles) -> None:
    """Whatever the order of putting."""
    for style_id in ("b", "a", "c"):
        styles.put(style_id, NOIR, at=at(0))
    assert [style_id for style_id, _ in styles.list()] == ["a", "b", "c"]


def test_an_unknown_id_is_not_found(styles: Styles) -> None:
    """NotFound, and an empty shelf lists nothing."""
    with pytest.raises(NotFound):
        styles.get("noir")
    assert list(styles.list()) == []


def test_the_row_tells_digest_and_times(database: Database) -> None:
    """The table keeps the digest that jobs refer to, when the capsule was made and when it was changed."""
    shelf = PostgresStyles(database)
    shelf.put("dated", NOIR, at=at(0))
    shelf.put("dated", NOIR, at=at(7))
    (row,) = database.run(select(STYLES).where(STYLES.c.id == "dated"))
    assert (row["sha256"], row["created_at"], row["updated_at"]) == (style_sha256(NOIR), at(0), at(7))


def test_an_owners_own_hides_everybodys(styles: Styles) -> None:
    """Everybody's capsules are there for all; an owner's own of the same id for that owner alone."""
    own = NOIR.model_copy(update={"name": "Own"})
    styles.put("noir", NOIR, at=at(0))
    styles.put("noir", own, at=at(1), owner="ada")
    styles.put("mine", own, at=at(1), owner="ada")
    assert [styles.get("noir", owner=one) for one in (None, "ada", "bob")] == [NOIR, own, NOIR]
    assert list(styles.list(owner="ada")) == [("mine", own), ("noir", own)]
    assert list(styles.list(owner="bob")) == list(styles.list()) == [("noir", NOIR)]
    with pytest.raises(NotFound):
        styles.get("mine", owner="bob")
