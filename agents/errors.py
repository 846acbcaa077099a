"""Every failure is one of three kinds, and the kind says what the lane does.

    GovernanceError
    ├── Retryable              abort the transaction, back off, start the lane again
    │   └── NotReady           something a lane waits for is not there yet (configuration, blob)
    ├── Poison                 one record cannot be judged: isolate it, dead-letter it, go on
    │   ├── Malformed          its bytes are not a decision of its model's contract
    │   └── Undeclared         it names a model that the configuration does not declare
    └── Fatal                  the actor dies loudly and the supervisor acts
        ├── Fenced             another process owns this lane now
        ├── OffsetsLost        the input was deleted, or the committed offset is gone
        ├── Inconsistent       what is stored contradicts what was computed (a tile with other bytes)
        └── Misconfigured      the operator must change something; the message says what and how

`ConfigError` (below) is the Misconfigured that points into a file.
"""

from __future__ import annotations

from dataclasses import dataclass


class GovernanceError(Exception):
    """The root of every error that this project raises on purpose."""


class Retryable(GovernanceError):
    """A passing fault: nothing was committed, the same work may be tried again."""


class NotReady(Retryable):
    """What the lane needs has not arrived yet; until then it decides nothing."""


class Poison(GovernanceError):
    """One record cannot be judged; `reason` is a fixed word for machines, the message is for people."""

    reason = "poison"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or type(self).reason


class Malformed(Poison):
    """The record's bytes break the contract."""

    reason = "malformed"


class Undeclared(Poison):
    """The record names a model that nobody declared."""

    reason = "undeclared"


class Fatal(GovernanceError):
    """The lane cannot go on without somebody's help."""


class Fenced(Fatal):
    """Another owner initialised this lane's transactional id; this one is over for good."""


class OffsetsLost(Fatal):
    """Input offsets are out of range, or a lane with outputs has no committed offset."""


class Inconsistent(Fatal):
    """Stored evidence and computed evidence differ."""


class Misconfigured(Fatal):
    """The settings or the configuration cannot work as they stand."""


@dataclass(frozen=True)
class Place:
    """Where in a file something is wrong; `line` and `column` count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where += f":{self.line}"
            if self.column:
                where += f":{self.column}"
        return where


class ConfigError(Misconfigured):
    """A mistake in an operator's file: what is wrong, where, and how to mend it.

    >>> print(ConfigError("unknown column 'scor'", Place("policies/p.yaml", 7, 11), "did you mean 'output.score'?"))
    policies/p.yaml:7:11: unknown column 'scor'; did you mean 'output.score'?
    """

    def __init__(self, problem: str, place: Place | None = None, mend: str = "") -> None:
        self.problem, self.place, self.mend = problem, place, mend
        text = problem if place is None else f"{place}: {problem}"
        super().__init__(f"{text}; {mend}" if mend else text)
