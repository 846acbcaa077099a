"""Protected attributes by subject, as the topic `attributes` has them; only monitor lanes read it.

Subjects share few combinations of groups, so each costs one number: a million subjects take some 100 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import ValidationError

from agents.configuration import Model
from agents.errors import Poison
from agents.events import Attributes
from agents.monitor.contract import Ints
from agents.records import Record, position


class BadAttributes(Poison):
    """A record of `attributes` that breaks the contract."""

    reason = "bad-attributes"


class AttributeTable:
    """Subject → groups; what is not known is counted as unknown."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}
        self._combos: list[Mapping[str, str | None]] = [{}]
        self._numbers: dict[tuple[tuple[str, str | None], ...], int] = {(): 0}
        self._codes: dict[tuple[str, str], Ints] = {}

    def __len__(self) -> int:
        return len(self._place)

    @property
    def subjects(self) -> Iterable[str]:
        """Those of whom something is known."""
        return self._place

    def known(self, subject: str) -> Mapping[str, str | None] | None:
        """What the last record said of a subject; None: there is none."""
        place = self._place.get(subject)
        return None if place is None else self._combos[place]

    def put(self, subject: str, groups: Mapping[str, str | None] | None) -> None:
        """What is known of a subject from now on; None: nothing."""
        if groups is None:
            self._place.pop(subject, None)
            return
        combo = tuple(sorted(groups.items()))
        number = self._numbers.get(combo)
        if number is None:
            number = self._numbers[combo] = len(self._combos)
            self._combos.append(dict(groups))
            self._codes.clear()
        self._place[subject] = number

    def fold(self, records: Sequence[Record]) -> list[BadAttributes]:
        """Take records of the topic in offset order; gives the refusals, and what stood before those stands on."""
        refused = []
        for record in records:
            subject = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self.put(subject, None)
                continue
            try:
                event = Attributes.model_validate_json(record.value)
                if event.subject != subject:
                    raise BadAttributes(f"{position(record)} is refused: its key is not its subject")
                self.put(subject, event.data.groups)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                told = f"{'.'.join(map(str, first['loc'])) or 'value'}: {first['msg']}"
                refused.append(BadAttributes(f"{position(record)} is refused: {told}"))
            except BadAttributes as error:
                refused.append(error)
        return refused

    def codes(self, model: str, declaration: Model, subjects: Sequence[str | None]) -> dict[str, Ints]:
        """Attribute → place of each subject's group among those the model declares; -1: unknown, or not declared."""
        if not declaration.groups:
            return {}
        find = self._place.get
        places = np.array([0 if one is None else find(one, 0) for one in subjects], dtype=np.int64)
        return {name: self._table(model, declaration, name)[places] for name in declaration.groups}

    def _table(self, model: str, declaration: Model, attribute: str) -> Ints:
        key = (model, attribute)
        found = self._codes.get(key)
        if found is None:
            found = self._codes[key] = group_codes(declaration, attribute, [one.get(attribute) for one in self._combos])
        return found


def group_codes(declaration: Model, attribute: str, values: Sequence[str | None]) -> Ints:
    """The place of each value among the groups that the model declares for an attribute; -1 for any other.

    >>> group_codes(Model(groups={"sex": ("female", "male")}), "sex", ["male", None, "?"]).tolist()
    [1, -1, -1]
    """
    places = {name: place for place, name in enumerate(declaration.groups[attribute])}
    return np.array([places.get(one, -1) if one is not None else -1 for one in values], dtype=np.int64)


def prefer(first: Mapping[str, Ints], second: Mapping[str, Ints]) -> dict[str, Ints]:
    """The first source's groups, and the second's where the first knows nothing."""
    found = dict(second)
    for name, codes in first.items():
        found[name] = np.where(codes >= 0, codes, found[name]) if name in found else codes
    return found
