"""A mistake in the policies, for whoever wrote it: where it stands, what it is, how to mend it."""

from __future__ import annotations

from dataclasses import dataclass

Key = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """A mistake: where in the configuration's document it stands, what it is, how to mend it."""

    path: Key
    problem: str
    mend: str = ""
    offset: int = 0
    """Characters into the text that stands there."""

    def __str__(self) -> str:
        told = f"{self.problem}; {self.mend}" if self.mend else self.problem
        return f"{'.'.join(map(str, self.path))}: {told}"
