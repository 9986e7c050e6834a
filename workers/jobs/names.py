"""Which slugs are taken, and the next free one."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).resolve().parent.parent / "shipped"
LONGEST = 100


def is_taken(home: Path, slug: str) -> bool:
    """Whether a decomposition of that name is shipped or in the home folder."""
    return (home / "artifacts" / slug).exists() or (SHIPPED / slug).exists()


def suffixed(slug: str, number: int) -> str:
    """`induction` and 2 → `induction-2`, within the longest name allowed."""
    if number < 2:
        return slug
    tail = f"-{number}"
    return slug[: LONGEST - len(tail)].rstrip("-") + tail


def free_slug(home: Path, slug: str, start: int = 1) -> str:
    """The first of `slug`, `slug-2`, `slug-3`, … that no decomposition has."""
    number = start
    while is_taken(home, suffixed(slug, number)):
        number += 1
    return suffixed(slug, number)
