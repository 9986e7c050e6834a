"""Tables. Decompositions and components are an index of the artefact folders and can be rebuilt from them; the rest
exists nowhere else. A finding is never changed once written, a label only ever gets another version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Double, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Metadata of every table of the backend."""


def aware(when: datetime) -> datetime:
    """A time of the database with its zone, which SQLite does not keep: all are UTC."""
    return when if when.tzinfo else when.replace(tzinfo=UTC)


class DecompositionRow(Base):
    """One artefact folder. `place` is "shipped/<folder>" or "home/<folder>"; `signature` tells a changed manifest;
    `labels_of` is the harvest by which its components are labelled, empty where none is."""

    __tablename__ = "decompositions"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    slug: Mapped[str] = mapped_column(String(200), unique=True)
    place: Mapped[str] = mapped_column(String(400), unique=True)
    signature: Mapped[str] = mapped_column(String(100))
    indexed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    labels_of: Mapped[str] = mapped_column(String(200), default="", server_default="")


class ComponentIndexRow(Base):
    """One stored component. `ordinal` is its place in model order; `search` is what `q` looks into, in lower case;
    `label_f1` is −1 where it is not known."""

    __tablename__ = "components"

    hash: Mapped[str] = mapped_column(ForeignKey("decompositions.hash", ondelete="CASCADE"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    site: Mapped[str] = mapped_column(String(300))
    index: Mapped[int]
    alive: Mapped[bool]
    mean_ci: Mapped[float] = mapped_column(Double)
    max_ci: Mapped[float] = mapped_column(Double)
    density: Mapped[float] = mapped_column(Double)
    write_norm: Mapped[float] = mapped_column(Double)
    effect: Mapped[float] = mapped_column(Double, server_default="0")
    label: Mapped[str] = mapped_column(Text)
    label_order: Mapped[str] = mapped_column(String(100))
    label_f1: Mapped[float] = mapped_column(Double, default=-1.0, server_default="-1")
    top_token: Mapped[str | None] = mapped_column(Text)
    top_tokens: Mapped[list[str]] = mapped_column(JSON)
    search: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index("ix_components_key", "hash", "site", "index", unique=True),
        Index("ix_components_mean_ci", "hash", "mean_ci", "ordinal"),
        Index("ix_components_max_ci", "hash", "max_ci", "ordinal"),
        Index("ix_components_density", "hash", "density", "ordinal"),
        Index("ix_components_effect", "hash", "effect", "ordinal"),
        Index("ix_components_label", "hash", "label_order", "ordinal"),
        Index("ix_components_label_f1", "hash", "label_f1", "ordinal"),
    )


class CollectionRow(Base):
    """A named list of findings with a link of its own. Like a finding it is never changed once written."""

    __tablename__ = "collections"

    slug: Mapped[str] = mapped_column(String(200), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    findings: Mapped[list[str]] = mapped_column(JSON)


class FindingRow(Base):
    """One finding. `record` is the whole of it; the other columns are for lists and search."""

    __tablename__ = "findings"

    slug: Mapped[str] = mapped_column(String(200), primary_key=True)
    decomposition: Mapped[str] = mapped_column(String(200), index=True)
    artifact_hash: Mapped[str] = mapped_column(String(64), index=True)
    title: Mapped[str] = mapped_column(Text)
    featured: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    search: Mapped[str] = mapped_column(Text)
    listed: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What a list shows of the record, which is a hundred times as large; None until the next start fills it in."""
    record: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (Index("ix_findings_newest", "featured", "created_at", "slug"),)


class LabelRow(Base):
    """One version of what people call a component; the highest version is the current one. It belongs to the content
    hash, not to the index, so it outlives a rebuilt one. `text` NULL means the automatic label again."""

    __tablename__ = "labels"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(320), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AccessTokenRow(Base):
    """One access token that was not revoked. The token itself is nowhere: `hash` is its SHA-256."""

    __tablename__ = "access_tokens"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[Any] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class SessionRow(Base):
    """A browser that signed in with a token. `hash` is the SHA-256 of what its cookie holds."""

    __tablename__ = "sessions"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("access_tokens.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AuditRow(Base):
    """One change: who made it, what and to which id, when and from where."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    who: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(400))
    address: Mapped[str] = mapped_column(String(100))
