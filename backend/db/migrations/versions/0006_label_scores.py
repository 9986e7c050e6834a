"""Components are sorted by how well their labels predict where they fire. The index is emptied, and built again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM components")
    op.execute("DELETE FROM decompositions")
    op.add_column("components", sa.Column("label_f1", sa.Double, nullable=False, server_default="-1"))
    op.create_index("ix_components_label_f1", "components", ["hash", "label_f1", "ordinal"])
    op.add_column("decompositions", sa.Column("labels_of", sa.String(200), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("decompositions", "labels_of")
    op.drop_index("ix_components_label_f1", "components")
    op.drop_column("components", "label_f1")
