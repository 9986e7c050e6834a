"""Components of a decomposition: filtered, sorted and paged by the database, and one component's page."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

from backend.db.index import relabel, run_label
from backend.db.session import Database
from backend.db.tables import ComponentIndexRow as Row
from backend.db.tables import DecompositionRow, LabelRow
from backend.errors import InvalidCursorError, invalid, not_found
from backend.schemas.common import Listing
from backend.schemas.components import ComponentLink
from backend.schemas.decompositions import ComponentDetail, ComponentExample, ComponentRow, ComponentSort
from backend.services.entries import Entry
from backend.services.harvests import Harvests
from backend.services.views import tokens
from workers.spd.keys import ComponentKey, layer_of, short_name

EXAMPLES = 24
PAGE = 1_000

_SORTS = {
    "key": Row.ordinal,
    "mean_ci": Row.mean_ci,
    "max_ci": Row.max_ci,
    "density": Row.density,
    "effect": Row.effect,
    "label": Row.label_order,
    "label_f1": Row.label_f1,
}


class Components:
    """Queries over the component index."""

    def __init__(self, database: Database, harvests: Harvests) -> None:
        self.database, self.harvests = database, harvests

    def listing(
        self,
        entry: Entry,
        *,
        site: str | None,
        q: str | None,
        sort: ComponentSort,
        order: Literal["asc", "desc"],
        alive: bool | None,
        limit: int,
        cursor: str | None,
        offset: int | None = None,
    ) -> Listing[ComponentRow]:
        """One page, after `cursor` or from place `offset` on. Raises ApiError 422 for a site this decomposition does
        not have, a cursor of another list, or both a cursor and an offset."""
        if cursor is not None and offset is not None:
            raise invalid("cursor_and_offset", "Send either “cursor” or “offset”, not both.")
        self.refresh_labels(entry)
        query = _filtered(entry, site=site, q=q, alive=alive)
        with self.database.session() as session:
            total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
            page = _page(query, sort, order, cursor).limit(limit + 1).offset(offset or None)
            rows = session.scalars(page).all()
        shown = rows[:limit]
        after = _cursor(sort, order, shown[-1]) if len(rows) > limit else None
        return Listing[ComponentRow](items=[_row(row) for row in shown], next_cursor=after, total=total)

    def every(
        self,
        entry: Entry,
        *,
        site: str | None,
        q: str | None,
        sort: ComponentSort,
        order: Literal["asc", "desc"],
        alive: bool | None,
    ) -> Iterator[ComponentRow]:
        """All that a listing finds, page after page. Raises what the listing raises, at the first row."""
        cursor: str | None = None
        while True:
            page = self.listing(
                entry, site=site, q=q, sort=sort, order=order, alive=alive, limit=PAGE, cursor=cursor
            )
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def detail(
        self,
        entry: Entry,
        key: str,
        *,
        harvest: str | None = None,
        site: str | None = None,
        q: str | None = None,
        sort: ComponentSort = "key",
        order: Literal["asc", "desc"] = "asc",
        alive: bool | None = None,
    ) -> ComponentDetail:
        """One component, with those before and after it in a list that is filtered and sorted like this.

        Raises ApiError 422 where the text is not a key, 404 where there is no such component or harvest.
        """
        self.refresh_labels(entry)
        listed = _filtered(entry, site=site, q=q, alive=alive)
        parsed = parse_key(entry, key, status=404)
        with self.database.session() as session:
            where = (Row.hash == entry.hash, Row.site == parsed.site, Row.index == parsed.index)
            row = session.scalar(select(Row).where(*where))
            if row is None:
                raise not_found("unknown_component", f"“{entry.slug}” lists no component {key}.", key=key)
            before = session.scalar(_beside(listed, sort, "desc" if order == "asc" else "asc", row))
            after = session.scalar(_beside(listed, sort, order, row))
            version = session.scalar(
                select(func.max(LabelRow.version)).where(
                    LabelRow.hash == entry.hash, LabelRow.key == str(parsed)
                )
            )
        columns = entry.artifact.columns
        return ComponentDetail(
            **dict(_row(row)),
            groups=entry.groups_by_component.get(str(parsed), []),
            examples=_examples(entry, parsed),
            reads=columns.reads[row.ordinal],
            writes=columns.writes[row.ordinal],
            previous=_key(before),
            next=_key(after),
            automatic_label=automatic_label(entry, str(parsed), self.harvests)[0],
            label_version=version or 0,
            harvest=self.harvests.component(
                entry, row.ordinal, lambda places: self.links(entry, places), harvest
            ),
        )

    def refresh_labels(self, entry: Entry) -> None:
        """Take the labels and scores of the newest harvest that has some into the index, where it has others."""
        newest = self.harvests.labels_of(entry)
        with self.database.session() as session:
            row = session.get(DecompositionRow, entry.hash)
            if not newest or row is None or row.labels_of == newest:
                return
            found = self.harvests.labels(entry)
            if found is not None:
                relabel(session, entry.artifact, found.harvest, found.texts, found.f1)

    def labels(self, entry: Entry) -> dict[str, str]:
        """What the components that are alive are called, by key."""
        self.refresh_labels(entry)
        query = select(Row.site, Row.index, Row.label).where(Row.hash == entry.hash, Row.alive)
        with self.database.session() as session:
            return {str(ComponentKey(site, index)): label for site, index, label in session.execute(query)}

    def links(self, entry: Entry, ordinals: Iterable[int]) -> dict[int, ComponentLink]:
        """Components by their place in the harvest, enough of each to name it."""
        query = select(Row).where(Row.hash == entry.hash, Row.ordinal.in_(list(ordinals)))
        with self.database.session() as session:
            rows = session.scalars(query).all()
        return {
            row.ordinal: ComponentLink(
                key=str(ComponentKey(row.site, row.index)),
                short=f"{short_name(row.site)}:{row.index}",
                label=row.label,
                alive=row.alive,
            )
            for row in rows
        }


def automatic_label(entry: Entry, key: str, harvests: Harvests) -> tuple[str, float | None]:
    """What a component is called where nobody named it, and how well that predicts where it fires. Its key, where the
    run lists no such component."""
    place = entry.ordinals.get(key)
    if place is None:
        return key, None
    found = harvests.labels(entry)
    return (
        (run_label(entry.artifact.columns, place), None)
        if found is None
        else (found.texts[place], found.f1[place])
    )


def parse_key(entry: Entry, key: str, *, status: Literal[404, 422] = 422) -> ComponentKey:
    """A component of this decomposition. Raises ApiError naming the key and what is wrong with it."""
    try:
        parsed = ComponentKey.parse(key)
    except ValueError as error:
        raise invalid("bad_component_key", str(error), key=key[:300]) from None
    if parsed.site not in entry.kept:
        message = f"There is no component {key}: “{entry.slug}” has no site “{parsed.site}”."
    elif parsed.index >= entry.trained[parsed.site]:
        message = f"There is no component {key}: this site has {entry.trained[parsed.site]}, numbered from 0."
    elif parsed.index not in entry.kept[parsed.site]:
        message = (
            f"The component {key} was unused at the end of the run and is not stored, so it cannot be opened."
        )
    else:
        return parsed
    error = invalid("unknown_component", message, key=key)
    error.status = status
    raise error


def _row(row: Row) -> ComponentRow:
    return ComponentRow(
        key=str(ComponentKey(row.site, row.index)),
        site=row.site,
        short=short_name(row.site),
        layer=layer_of(row.site),
        index=row.index,
        label=row.label,
        alive=row.alive,
        mean_ci=row.mean_ci,
        max_ci=row.max_ci,
        density=row.density,
        top_token=row.top_token,
        top_tokens=row.top_tokens,
        write_norm=row.write_norm,
        effect=row.effect,
        label_f1=None if row.label_f1 < 0 else row.label_f1,
    )


def _examples(entry: Entry, key: ComponentKey) -> list[ComponentExample]:
    """The run's prompts where the component fires, strongest first; zeros where it does not."""
    by_prompt: dict[int, list[int]] = {}
    for number, line in entry.uses.get((entry.site_names.index(key.site), key.index), []):
        by_prompt.setdefault(number, []).append(line)
    found: list[ComponentExample] = []
    for number, lines in by_prompt.items():
        prompt = entry.artifact.prompts[number]
        ci = [0.0] * len(prompt.token_ids)
        inner = [0.0] * len(prompt.token_ids)
        for line in lines:
            ci[prompt.position[line]] = prompt.ci[line]
            inner[prompt.position[line]] = prompt.inner_activation[line]
        found.append(
            ComponentExample(tokens=tokens(prompt), ci=ci, inner_activation=inner, split=prompt.split)
        )
    return sorted(found, key=lambda example: -max(example.ci))[:EXAMPLES]


def _key(row: Row | None) -> str | None:
    return None if row is None else str(ComponentKey(row.site, row.index))


# --- paging ---------------------------------------------------------------------------------------------------


def _filtered(entry: Entry, *, site: str | None, q: str | None, alive: bool | None) -> Select[Row]:
    """The rows of a list, in no order. Raises ApiError 422 for a site this decomposition does not have."""
    if site is not None and site not in entry.kept:
        raise invalid("unknown_site", f"“{entry.slug}” has no site “{site}”.", site=site)
    query = select(Row).where(Row.hash == entry.hash)
    if site is not None:
        query = query.where(Row.site == site)
    if alive is not None:
        query = query.where(Row.alive == alive)
    if q is not None and q.strip("\n\t") != "":
        query = query.where(Row.search.contains(q.lower(), autoescape=True))
    return query


def _beside(query: Select[Row], sort: str, order: str, row: Row) -> Select[Row]:
    """The one that comes after a row in this order; the row itself need not be in the list."""
    column = _SORTS[sort]
    keys = [column] if sort == "key" else [column, Row.ordinal]
    values = [row.ordinal] if sort == "key" else [getattr(row, column.key), row.ordinal]
    query = query.where(_after(keys, order, values))
    return query.order_by(*(key.asc() if order == "asc" else key.desc() for key in keys)).limit(1)


def _page(query: Select[Row], sort: str, order: str, cursor: str | None) -> Select[Row]:
    column = _SORTS[sort]
    keys = [column] if sort == "key" else [column, Row.ordinal]
    if cursor is not None:
        query = query.where(_after(keys, order, _read_cursor(sort, order, cursor, len(keys))))
    return query.order_by(*(key.asc() if order == "asc" else key.desc() for key in keys))


def _after(keys: list[Any], order: str, values: list[Any]) -> ColumnElement[bool]:
    first = keys[0] > values[0] if order == "asc" else keys[0] < values[0]
    if len(keys) == 1:
        return first
    second = keys[1] > values[1] if order == "asc" else keys[1] < values[1]
    return or_(first, and_(keys[0] == values[0], second))


def _cursor(sort: str, order: str, row: Row) -> str:
    values = [row.ordinal] if sort == "key" else [getattr(row, _SORTS[sort].key), row.ordinal]
    return base64.urlsafe_b64encode(json.dumps([sort, order, *values]).encode()).decode()


def _read_cursor(sort: str, order: str, cursor: str, length: int) -> list[float | int | str]:
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        values = found[2:]
        kinds = [str if sort == "label" else (int, float), int][-length:] if length == 2 else [int]
        fits = found[:2] == [sort, order] and len(values) == length
        if fits and all(isinstance(v, kind) for v, kind in zip(values, kinds, strict=True)):
            return values
    except (ValueError, TypeError, IndexError, KeyError):
        pass
    raise InvalidCursorError
