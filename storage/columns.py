"""What all tables are made of: types of columns, the root of the classes, and values given at execution."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar, cast

from sqlalchemy import CheckConstraint, Column, DateTime, MetaData, Numeric, Table, Text, bindparam, literal_column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import SQLModel

TEXT: Any = Text()
MOMENT: Any = DateTime(timezone=True)
DOLLARS: Any = Numeric(14, 6)
JSON: Any = JSONB(none_as_null=True)
VALUE = "v_"


def words(values: Iterable[str]) -> str:
    """The values as a SQL list, sorted: `'a', 'b'`."""
    return ", ".join(f"'{value!s}'" for value in sorted(values))


def among(column: ColumnElement[Any], wanted: Iterable[str]) -> ColumnElement[bool]:
    """`column IN ('a', 'b')` with the words in the SQL itself, so that partial indexes apply."""
    return column.in_([literal_column(f"'{word!s}'") for word in sorted(wanted)])


def one_of(column: str, values: type[StrEnum] | Iterable[str]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({words(values)})", name=column)


def value(name: str, kind: Any) -> ColumnElement[Any]:
    """A value given at execution (`Database.run`), of a column's type or like one.

    It gets a name that no column has: SQLAlchemy takes a value with a column's name for that column's new content.
    """
    return bindparam(VALUE + name, type_=kind.type if isinstance(kind, Column) else kind)


class Row(SQLModel):
    """Root of all tables, with metadata and constraint names of their own: the database may be shared."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )


def table(row: type[Row]) -> Table:
    """The Core table of a class."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]
