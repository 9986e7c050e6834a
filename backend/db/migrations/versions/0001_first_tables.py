"""Index of decompositions and components, and findings."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decompositions",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("slug", sa.String(200), nullable=False, unique=True),
        sa.Column("place", sa.String(400), nullable=False, unique=True),
        sa.Column("signature", sa.String(100), nullable=False),
        sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "components",
        sa.Column(
            "hash", sa.String(64), sa.ForeignKey("decompositions.hash", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("site", sa.String(300), nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("alive", sa.Boolean, nullable=False),
        sa.Column("mean_ci", sa.Double, nullable=False),
        sa.Column("max_ci", sa.Double, nullable=False),
        sa.Column("density", sa.Double, nullable=False),
        sa.Column("write_norm", sa.Double, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("label_order", sa.String(100), nullable=False),
        sa.Column("top_token", sa.Text),
        sa.Column("top_tokens", sa.JSON, nullable=False),
        sa.Column("search", sa.Text, nullable=False),
    )
    op.create_index("ix_components_key", "components", ["hash", "site", "index"], unique=True)
    op.create_index("ix_components_mean_ci", "components", ["hash", "mean_ci", "ordinal"])
    op.create_index("ix_components_max_ci", "components", ["hash", "max_ci", "ordinal"])
    op.create_index("ix_components_density", "components", ["hash", "density", "ordinal"])
    op.create_index("ix_components_label", "components", ["hash", "label_order", "ordinal"])
    op.create_table(
        "findings",
        sa.Column("slug", sa.String(200), primary_key=True),
        sa.Column("decomposition", sa.String(200), nullable=False),
        sa.Column("artifact_hash", sa.String(64), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("featured", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("search", sa.Text, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
    )
    op.create_index("ix_findings_decomposition", "findings", ["decomposition"])
    op.create_index("ix_findings_artifact_hash", "findings", ["artifact_hash"])
    op.create_index("ix_findings_newest", "findings", ["featured", "created_at", "slug"])


def downgrade() -> None:
    op.drop_table("findings")
    op.drop_table("components")
    op.drop_table("decompositions")
