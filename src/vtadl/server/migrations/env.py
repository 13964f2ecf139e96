"""Alembic's entry: runs migrations on the connection that `vtadl.server.database` hands over."""

from alembic import context

from vtadl.server.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
