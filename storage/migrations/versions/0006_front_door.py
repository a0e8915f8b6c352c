"""What the HTTP door needs of the tables: an owner's batches, newest first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BATCHES = "imagegen_batches"


def upgrade() -> None:
    """Lists by owner and as a whole, as those of jobs."""
    op.create_index("imagegen_batches_owner", BATCHES, ["owner", sa.text("created_at DESC"), sa.text("id DESC")])
    op.create_index("imagegen_batches_newest", BATCHES, [sa.text("created_at DESC"), sa.text("id DESC")])
