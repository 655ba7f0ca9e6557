"""What several servers tell each other: changed keys, who lives, what is held, and what was taken by second."""

import sqlalchemy as sa
from alembic import op

from foveal.accounting.schema import REAL, WHOLE

revision = "2"
down_revision = "1"


def upgrade() -> None:
    change = op.create_table("change", sa.Column("number", WHOLE, nullable=False), sqlite_strict=True)
    op.bulk_insert(change, [{"number": 1}])
    op.create_table(
        "server",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beat", WHOLE, nullable=False),
        sa.Column("batch", WHOLE, nullable=False),
        sa.Column("seen_s", REAL, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "held",
        sa.Column("server_id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("num_running", WHOLE, nullable=False),
        sa.Column("reserved_nano", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "server_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "taken",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("second", WHOLE, nullable=False),
        sa.Column("requests", WHOLE, nullable=False),
        sa.Column("prompt_tokens", WHOLE, nullable=False),
        sa.Column("generated_tokens", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("key_id", "second"),
        sqlite_strict=True,
    )
