"""A part of a snapshot, cut so that every slice fits a record, for agents whose state grows with what happens.

Promise: what was cut is joined to the same content again, and whoever cuts is told which slices of an earlier, longer text
are to be removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

SLICE = 150_000
"""Characters of JSON in one slice. Encoded once more each takes four bytes at most, so 600 kB: a part may have 700."""


@dataclass
class Slices:
    """Part → in how many slices it was written last."""

    written: dict[str, int] = field(default_factory=dict)

    def cut(self, part: str, content: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The slices `<part>/<number>` of JSON values, none where there is nothing, and those that are gone."""
        text = msgspec.json.encode(content).decode() if content else ""
        pieces = [text[start : start + SLICE] for start in range(0, len(text), SLICE)]
        removed = [f"{part}/{number}" for number in range(len(pieces), self.written.get(part, 0))]
        self.written[part] = len(pieces)
        return {f"{part}/{number}": {"text": piece} for number, piece in enumerate(pieces)}, removed

    def joined(self, parts: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Part and content, in the order of their names, from the slices of a snapshot."""
        texts: dict[str, list[tuple[int, str]]] = {}
        for name, content in parts.items():
            part, _, number = name.rpartition("/")
            texts.setdefault(part, []).append((int(number), content["text"]))
        for part in sorted(texts):
            pieces = sorted(texts[part])
            self.written[part] = len(pieces)
            yield part, msgspec.json.decode("".join(text for _, text in pieces))
