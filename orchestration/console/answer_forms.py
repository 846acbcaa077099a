"""What is read from an answer's form: which decisions, what replaces the result, for how long, and how it was reviewed."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from agents.events import Position
from agents.people_events import Edit, ReviewKind
from orchestration.console.forms import one
from orchestration.console.tickets import About, parse_place


class Incomplete(Exception):
    """Something is missing in the form; the message says what."""


def kind_of(count: int, meant: Collection[Position] | None, opened: Collection[Position]) -> ReviewKind:
    """How an answer to so many decisions was made: each of them opened, some, or none; `meant`: which ones, where known.

    Where no decision waits, the incident itself was looked at.

    >>> kind_of(3, None, []), kind_of(0, None, [])
    ('bulk', 'individual')
    """
    if count == 0 or (meant is not None and len(meant) >= count and set(opened).issuperset(meant)):
        return "individual"
    return "sample" if opened else "bulk"


def items_of(about: About, form: FormData) -> tuple[Position, ...] | None:
    """The single decisions that are meant; None: all of it. Raises HTTPException(400) for others than the page offered."""
    given = [parse_place(str(text)) for text in form.getlist("item")]
    if not given:
        return None
    offered = set(about.items or ())
    chosen = tuple(dict.fromkeys(position for position in given if position is not None))
    if None in given or not offered.issuperset(chosen):
        raise HTTPException(400, "the form names decisions that its page did not show")
    return chosen


def covers(about: About, items: Sequence[Position] | None, position: Position) -> bool:
    """Whether an answer to these, or to all that the page covered, is about a decision."""
    if items is not None:
        return position in items
    return position.offset < about.through.get(f"{position.topic}/{position.partition}", 0)


def edit_of(form: FormData) -> Edit:
    """What the result becomes. Raises Incomplete."""
    score, number = one(form, "score", 40), None
    if score:
        try:
            number = float(score.replace(",", "."))
        except ValueError:
            raise Incomplete("The score is no number.") from None
        if not math.isfinite(number):
            raise Incomplete("The score is no number.")
    made = Edit(label=one(form, "label", 256) or None, score=number, text=one(form, "text") or None)
    if made == Edit():
        raise Incomplete("Say what the result becomes.")
    return made


def hours_of(form: FormData) -> int:
    """The field `hours` as ms. Raises Incomplete."""
    try:
        hours = float(one(form, "hours", 10).replace(",", "."))
    except ValueError:
        raise Incomplete("Say for how many hours.") from None
    if not 0 < hours <= 24 * 30:
        raise Incomplete("It lasts between some minutes and 30 days.")
    return int(hours * 3_600_000)
