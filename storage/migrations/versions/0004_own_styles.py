"""Style capsules belong to an owner; those that nobody owns are everybody's."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

STYLES = "imagegen_styles"


def upgrade() -> None:
    """Whatever is stored stays everybody's: its owner is the empty text."""
    op.add_column(STYLES, sa.Column("owner", sa.Text(), nullable=False, server_default=""))
    op.alter_column(STYLES, "owner", server_default=None)
    op.drop_constraint(f"{STYLES}_pkey", STYLES, type_="primary")
    op.create_primary_key(f"{STYLES}_pkey", STYLES, ["owner", "id"])
