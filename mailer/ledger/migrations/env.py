"""Run by ``mailer.ledger.upgrade``, inside its transaction and on its connection."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
context.run_migrations()
