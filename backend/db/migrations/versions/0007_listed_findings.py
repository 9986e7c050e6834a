"""What a list shows of a finding has a column of its own. It is filled in when the server starts."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("findings", sa.Column("listed", sa.JSON, nullable=True))


def downgrade() -> None:
    op.drop_column("findings", "listed")
