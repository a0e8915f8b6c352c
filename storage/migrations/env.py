"""Alembic's entry: migrates over the connection that `storage.migrate` hands it, or writes SQL without one."""

from __future__ import annotations

from alembic import context

from storage.tables import METADATA

attributes = context.config.attributes
options = {
    "target_metadata": METADATA,
    "version_table": attributes["version_table"],
    "version_table_schema": attributes.get("schema"),
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
else:
    context.configure(connection=attributes["connection"], **options)

with context.begin_transaction():
    context.run_migrations()
