"""The columns of a decision: their names and types, what each means, and how decoded decisions become a frame.

Names are flat and dotted. Protected attributes (`data.groups`) are never columns. Numbers are Float64, times Int64 in
milliseconds since 1970 UTC, what is absent is null.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from copy import copy
from math import nan
from operator import attrgetter
from struct import error as StructError
from struct import pack, unpack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec.structs import astuple

from agents.configuration import Model
from agents.decoding import Contract
from agents.records import Record
from agents.timestamps import UNREADABLE, milliseconds_of
from agents.timestamps import Milliseconds as Times

COLUMN_DOCS: dict[str, str] = {
    "id": "The decision's id, unique within its source.",
    "source": "Who produced the decision (a URI reference).",
    "subject": "Whom the decision is about.",
    "caller": "Who asked the model, as the producer declares it.",
    "caller_declared": "True where the model declares this caller; false for any other, and where none is named.",
    "caller_verified": "True where the record came from the topic that only this declared caller may write.",
    "purpose": "What the decision is for, as the producer declares it.",
    "model.name": "The model's name.",
    "model.version": "The model's version.",
    "model.version_declared": "True where the model declares this version.",
    "features.<feature>": "An input of the model: a number, or text for a categorical one.",
    "output.label": "What the model said.",
    "output.score": "The model's score, in its own unit.",
    "output.confidence": "How sure the model is, 0 to 1.",
    "output.text": "Generated text.",
    "prompt": "What the model was asked.",
    "action.tool": "The tool that an agent proposes to use.",
    "latency_ms": "How long the model took, in milliseconds.",
    "feature_attributions.<feature>": "How much the feature moved the output.",
    "event_time_ms": "When it happened by the producer's clock, in ms since 1970 UTC; the broker's time if not given.",
    "broker_time_ms": "When the broker took the record, in ms since 1970 UTC.",
    "skew_ms": "Producer's time minus broker's time, in ms.",
    "skewed": "True where the two differ by more than the model's `max_skew` (never under `clock: event`).",
}
"""One line a column; `<feature>` stands for each declared feature."""

_FIXED: dict[str, pl.DataType] = {
    "id": pl.String(),
    "source": pl.String(),
    "subject": pl.String(),
    "caller": pl.String(),
    "caller_declared": pl.Boolean(),
    "caller_verified": pl.Boolean(),
    "purpose": pl.String(),
    "model.name": pl.String(),
    "model.version": pl.String(),
    "model.version_declared": pl.Boolean(),
    "output.label": pl.String(),
    "output.score": pl.Float64(),
    "output.confidence": pl.Float64(),
    "output.text": pl.String(),
    "prompt": pl.String(),
    "action.tool": pl.String(),
    "latency_ms": pl.Float64(),
    "event_time_ms": pl.Int64(),
    "broker_time_ms": pl.Int64(),
    "skew_ms": pl.Int64(),
    "skewed": pl.Boolean(),
}
_CLOCKS = frozenset({"event_time_ms", "broker_time_ms", "skew_ms", "skewed"})
_DECLARED = frozenset({"caller_declared", "caller_verified", "model.version_declared"})
GROUPS = "groups."
"""Before the name of a protected attribute: columns that exist only for who asks for them by name, and for no rule."""
_CALLER = {"caller", "caller_declared", "caller_verified"}
_EMPTY_OUTPUT = type("NoOutput", (), {"label": None, "score": None, "confidence": None, "text": None})()
_EMPTY_ACTION = type("NoAction", (), {"tool": None})()


def decision_columns(model: Model) -> dict[str, pl.DataType]:
    """Every column that a decision of this model has, with its type."""
    columns = dict(_FIXED)
    for name, feature in model.features.items():
        columns[f"features.{name}"] = pl.Float64() if feature.type == "numeric" else pl.String()
        columns[f"feature_attributions.{name}"] = pl.Float64()
    return columns


class Harvest:
    """Gathers decoded decisions of one contract, chunk by chunk, as columns; then makes them a frame.

    `rows` are row numbers of the batch. Values are taken at once, so that no more than a chunk of decoded decisions is
    alive, and numbers are packed: what is decoded next reuses memory still in the processor's cache.
    """

    def __init__(self, contract: Contract, wanted: Collection[str] | None) -> None:
        self.contract = contract
        types = decision_columns(contract.declaration)
        if wanted is not None:  # only who asks by name, a monitor lane, gets protected attributes
            groups = [f"{GROUPS}{name}" for name in contract.declaration.groups]
            types |= {name: pl.String() for name in groups if name in wanted}
        self.types = {name: kind for name, kind in types.items() if wanted is None or name in wanted}
        self._levels = _Levels(contract, self.types)
        self._clear()

    def fresh(self) -> Harvest:
        """An empty one for the same columns, without working out again where they come from."""
        found = copy(self)
        found._clear()
        return found

    def _clear(self) -> None:
        contract = self.contract
        self.late = False
        """True where rows were added out of their order."""
        self.rows: list[int] = []
        self.identities: list[str] = []
        """`source`, NUL, `id`, a row each."""
        self.incomplete: list[int] = []
        """Rows (of the batch) of predictions with neither label nor score."""
        kept = {*self.types, *_Levels.always(contract), *(_CALLER if _CALLER & set(self.types) else ())}
        kept |= {"groups"} if any(name.startswith(GROUPS) for name in self.types) else set()
        numeric = {name for name, kind in self.types.items() if kind == pl.Float64()}
        self._numbers: dict[str, list[bytes]] = {name: [] for name in self._levels.names if name in numeric}
        self._holed: set[str] = set()
        self._texts: dict[str, list[Any]] = {n: [] for n in self._levels.names if n in kept and n not in numeric}

    def take(self, rows: Sequence[int], decisions: Sequence[Any], late: bool = False) -> None:
        """Add decisions; `rows` says where in the batch they stand, `late` that others after them may be there already."""
        self.late |= late
        self.rows.extend(rows)
        pulled = self._levels.pull(decisions)
        self.identities += [f"{source}\0{id_}" for source, id_ in zip(pulled["source"], pulled["id"], strict=True)]
        if self.contract.declaration.kind == "prediction":
            unlabelled = [index for index, label in enumerate(pulled["output.label"]) if label is None]
            self.incomplete += [rows[index] for index in unlabelled if pulled["output.score"][index] is None]
        for name, texts in self._texts.items():
            texts.extend(pulled[name])
        shape = f"{len(decisions)}d"
        for name, chunks in self._numbers.items():
            try:
                chunks.append(pack(shape, *pulled[name]))
            except StructError:  # a null; NaN stands for it, because no JSON number is one
                self._holed.add(name)
                chunks.append(pack(shape, *[nan if number is None else number for number in pulled[name]]))

    def names(self) -> list[str]:
        """The models' names as the decisions say them; for a contract that stands in for several."""
        return self._texts["model.name"]

    def versions(self) -> list[str]:
        """The models' versions."""
        return self._texts["model.version"]

    def event_times(self, broker_times: Times) -> Times:
        """The producers' times in ms, the broker's where none is given, UNREADABLE where one is no time."""
        texts = self._texts["time"]
        given = [index for index, text in enumerate(texts) if text is not None]
        if len(given) == len(texts):
            return milliseconds_of(texts)
        times = broker_times.copy()
        times[given] = milliseconds_of([texts[index] for index in given])
        return times

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only these rows (indices into what was gathered), in this order."""
        self.rows = [self.rows[index] for index in indices]
        self._texts = {name: [texts[index] for index in indices] for name, texts in self._texts.items()}
        self._numbers = {name: [self._array(name)[list(indices)].tobytes()] for name in self._numbers}

    def values(self, record: Record, event_ms: int) -> dict[str, object]:
        """The columns of the only decision gathered, by name, as plain values: for reasons, without making a frame."""
        event, broker = np.array([event_ms]), np.array([record.timestamp])
        found: dict[str, object] = {}
        for name in self.types:
            if name in self._numbers:
                number = unpack("d", self._numbers[name][0])[0]
                found[name] = None if number != number else number
            elif name in _CLOCKS:
                found[name] = self._clock(name, event, broker)[0].item()
            elif name in _DECLARED:
                found[name] = self._declared(name, [record])[0]
            elif name == "model.name" and not self.contract.catch_all:
                found[name] = self.contract.name
            else:
                found[name] = self._texts[name][0]
        return found

    def _array(self, name: str) -> npt.NDArray[np.float64]:
        return np.frombuffer(b"".join(self._numbers[name]), dtype=np.float64)

    def frame(self, records: Sequence[Record], event: Times, broker: Times) -> pl.DataFrame:
        """The wanted columns; as many rows as were gathered, whatever the columns."""
        series = [self._series(name, kind, records, event, broker) for name, kind in self.types.items()]
        return pl.DataFrame(series) if series else pl.DataFrame(height=len(self.rows))

    def _series(
        self,
        name: str,
        kind: pl.DataType,
        records: Sequence[Record],
        event: Times,
        broker: Times,
    ) -> pl.Series:
        if name in _CLOCKS:
            return pl.Series(name, self._clock(name, event, broker), dtype=kind)
        if name in _DECLARED:
            return pl.Series(name, self._declared(name, records), dtype=kind)
        if name == "model.name" and not self.contract.catch_all:
            return pl.Series(name, [self.contract.name] * len(self.rows), dtype=kind)
        if name.startswith(GROUPS):
            attribute = name.removeprefix(GROUPS)
            values = [None if groups is None else groups.get(attribute) for groups in self._texts["groups"]]
            return pl.Series(name, values, dtype=kind)
        if name not in self._numbers:
            return pl.Series(name, self._texts[name], dtype=kind)
        numbers = pl.Series(name, self._array(name))
        return numbers.fill_nan(None) if name in self._holed else numbers

    def _clock(self, name: str, event: Times, broker: Times) -> Times | npt.NDArray[np.bool_]:
        if name == "event_time_ms":
            return event
        if name == "broker_time_ms":
            return broker
        if name == "skew_ms":
            return event - broker
        declaration = self.contract.declaration
        if declaration.clock == "event":
            return np.zeros(len(event), dtype=np.bool_)
        return np.asarray(np.abs(event - broker) > declaration.max_skew * 1000)

    def _declared(self, name: str, records: Sequence[Record]) -> list[bool]:
        declaration = self.contract.declaration
        if name == "model.version_declared":
            versions = frozenset(declaration.versions)
            return [version in versions for version in self.versions()]
        callers = self._texts["caller"]
        if name == "caller_declared":
            return [caller in declaration.callers for caller in callers]
        exclusive = {(caller, one.topic) for caller, one in declaration.callers.items() if one.topic is not None}
        return [(caller, records[row].topic) in exclusive for row, caller in zip(self.rows, callers, strict=True)]


class _Level(NamedTuple):
    """Attributes to take from one kind of object, and the columns they become."""

    columns: tuple[str, ...]
    getter: Callable[[Any], Any] | None
    places: tuple[int, ...] = ()
    """Where the getter gives all attributes: which of them to keep."""

    def pull(self, objects: Sequence[Any]) -> Sequence[Sequence[Any]]:
        if self.getter is None or not objects:
            return [()] * len(self.columns)
        if self.places:
            every = list(zip(*map(self.getter, objects), strict=True))
            return [every[place] for place in self.places]
        if len(self.columns) == 1:
            return [list(map(self.getter, objects))]
        return list(zip(*map(self.getter, objects), strict=True))


def _by_feature(contract: Contract, prefix: str, types: Collection[str]) -> _Level:
    """Attributes named by feature; all of them at once where many are wanted, which is then the faster way."""
    wanted = {name: i for i, name in enumerate(f"{prefix}.{feature}" for feature in contract.features) if name in types}
    if len(wanted) * 3 > len(contract.features):
        return _Level(tuple(wanted), astuple, tuple(wanted.values()))
    return _level({name: f"f{place}" for name, place in wanted.items()})


def _level(columns: dict[str, str]) -> _Level:
    """`columns`: column → attribute."""
    return _Level(tuple(columns), attrgetter(*columns.values()) if columns else None)


class _Levels:
    """Which attributes of a decision's nested parts to take; one pass a part is faster than dotted paths a column."""

    def __init__(self, contract: Contract, types: Collection[str]) -> None:
        self._missing = {"feature_attributions": contract.empty_attributions, "action": _EMPTY_ACTION}
        if contract.declaration.kind == "action":
            self._missing["output"] = _EMPTY_OUTPUT
        wanted = set(types) | ({"caller"} if _CALLER & set(types) else set())
        wanted |= {"output.label", "output.score"} if contract.declaration.kind == "prediction" else set()
        wanted |= {"model.name"} if contract.catch_all else set()
        wanted -= set() if contract.catch_all else {"model.name"}
        self._features = _by_feature(contract, "features", types)
        self._attributions = _by_feature(contract, "feature_attributions", types)
        self._output = _level({n: n[7:] for n in sorted(wanted) if n.startswith("output.")})
        self._action = _level({n: n[7:] for n in types if n.startswith("action.")})
        self._model = _level({"model.version": "version"} | ({"model.name": "name"} if "model.name" in wanted else {}))
        subject = {"subject": "subject"} if "subject" in wanted else {}
        self._top = _level({"id": "id", "source": "source", "time": "time", **subject, "": "data"})
        parts = {"": "model"}
        inner: dict[str, str] = {n: n for n in ("caller", "purpose", "prompt", "latency_ms") if n in wanted}
        inner |= {"groups": "groups"} if any(n.startswith(GROUPS) for n in wanted) else {}
        for name, level in self._parts():
            parts |= {f"/{name}": name} if level.getter is not None else {}
        self._data = _level(parts | inner)
        groups = (self._features, self._attributions, self._output, self._action, self._model)
        self.names = [n for n in (*self._top.columns, *inner) if n] + [n for group in groups for n in group.columns]

    def _parts(self) -> list[tuple[str, _Level]]:
        return [
            ("features", self._features),
            ("feature_attributions", self._attributions),
            ("output", self._output),
            ("action", self._action),
        ]

    @staticmethod
    def always(contract: Contract) -> set[str]:
        """What a harvest keeps whatever columns are wanted."""
        return {"time", "model.version", "model.name"} if contract.catch_all else {"time", "model.version"}

    def pull(self, decisions: Sequence[Any]) -> dict[str, Sequence[Any]]:
        """Columns of these decisions, by name."""
        pulled = dict(zip(self._top.columns, self._top.pull(decisions), strict=True))
        pulled |= zip(self._data.columns, self._data.pull(pulled.pop("")), strict=True)
        pulled |= zip(self._model.columns, self._model.pull(pulled.pop("")), strict=True)
        for name, level in self._parts():
            if level.getter is None:
                continue
            objects = pulled.pop(f"/{name}")
            if name in self._missing:
                empty = self._missing[name]
                objects = [empty if one is None else one for one in objects]
            pulled |= zip(level.columns, level.pull(objects), strict=True)
        return pulled


def unreadable(times: Times) -> list[int]:
    """Indices of times that could not be read."""
    return [int(index) for index in np.flatnonzero(times == UNREADABLE)]
