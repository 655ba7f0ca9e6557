"""Keys and the ledger, as the first version of the file has them."""

import sqlalchemy as sa
from alembic import op

from foveal.accounting.schema import REAL, WHOLE

revision = "1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "key",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("created_s", REAL, nullable=False),
        sa.Column("expires_s", REAL),
        sa.Column("revoked_s", REAL),
        sa.Column("requests_per_minute", WHOLE),
        sa.Column("prompt_tokens_per_minute", WHOLE),
        sa.Column("generated_tokens_per_minute", WHOLE),
        sa.Column("max_concurrent_requests", WHOLE),
        sa.Column("spending_limit_nano", WHOLE),
        sa.Column("spent_nano", WHOLE, nullable=False),
        sa.Column("is_operator", WHOLE, nullable=False),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "ledger",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("ended_s", REAL, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("prompt_tokens", WHOLE, nullable=False),
        sa.Column("image_tokens", WHOLE, nullable=False),
        sa.Column("cached_tokens", WHOLE, nullable=False),
        sa.Column("completion_tokens", WHOLE, nullable=False),
        sa.Column("cost_nano", WHOLE, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("duration_s", REAL, nullable=False),
        sa.Column("first_token_s", REAL),
        sqlite_strict=True,
    )
    op.create_index("ledger_by_time", "ledger", ["ended_s"])
