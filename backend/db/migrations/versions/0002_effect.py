"""Components are sorted by their effect too. The index is emptied, so that it is built again with it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM components")
    op.execute("DELETE FROM decompositions")
    op.add_column("components", sa.Column("effect", sa.Double, nullable=False, server_default="0"))
    op.create_index("ix_components_effect", "components", ["hash", "effect", "ordinal"])


def downgrade() -> None:
    op.drop_index("ix_components_effect", "components")
    op.drop_column("components", "effect")
