"""What differs between two configurations, rule by rule and key by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agents.configuration import Configuration, canonical

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True)
class Difference:
    """One thing that was added, removed or changed."""

    kind: Literal["added", "removed", "changed"]
    name: str
    """`rule access/after-hours: when`, `model credit-limit: labels.approve.meaning`."""
    before: str
    after: str


def differences(before: Configuration, after: Configuration) -> list[Difference]:
    """All differences, models first, then calendars, policies, rules and people; empty where both have one digest only.

    >>> differences(Configuration(), Configuration(duplicate_window=5))
    [Difference(kind='changed', name='duplicate_window', before='100000', after='5')]
    """
    old, new = _named(before), _named(after)
    found = []
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            found.append(Difference("removed", name, _whole(old[name]), ""))
        elif name not in old:
            found.append(Difference("added", name, "", _whole(new[name])))
        else:
            found += _inside(name, old[name], new[name], ": ")
    return found


def lines_of(found: Sequence[Difference]) -> Iterator[str]:
    """Differences as lines: what was added, removed or changed; a change with before and after."""
    for one in found:
        detail = one.before or one.after
        if one.kind == "changed" or "\n" in detail:
            yield f"{_MARKS[one.kind]} {one.name}"
            yield from (f"    - {line}" for line in one.before.splitlines())
            yield from (f"    + {line}" for line in one.after.splitlines())
        else:
            yield f"{_MARKS[one.kind]} {one.name}" + (f" ({detail})" if detail else "")


def _named(configuration: Configuration) -> dict[str, Any]:
    """The parts of a configuration that people speak of, by name."""
    document = configuration.model_dump(mode="json", by_alias=True)
    parts: dict[str, Any] = {name: document[name] for name in ("undeclared", "duplicate_window")}
    for plural, singular in (("models", "model"), ("calendars", "calendar"), ("monitors", "monitor")):
        parts |= {f"{singular} {name}": document[plural][name] for name in sorted(document[plural])}
    parts |= {f"source {source['topic']}": source for source in document["sources"]}
    for policy in document["policies"]:
        name = policy["policy"]
        parts[f"policy {name}"] = {key: value for key, value in policy.items() if key != "rules"}
        parts |= {f"rule {name}/{rule['id']}": rule for rule in policy["rules"]}
    for whole in ("escalation", "triage"):
        parts |= {f"{whole} {name}": value for name, value in sorted(document[whole].items())}
    return parts


def _inside(name: str, old: Any, new: Any, joint: str) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{name}{joint}{key}"
            if key not in new:
                yield Difference("removed", place, _shown(old[key]), "")
            elif key not in old:
                yield Difference("added", place, "", _shown(new[key]))
            else:
                yield from _inside(place, old[key], new[key], ".")
        return
    yield Difference("changed", name, _shown(old), _shown(new))


def _whole(part: Any) -> str:
    """A part that is new or gone: of a rule what it does, of anything else its name is enough."""
    return f"{part['effect']} when {part['when']}" if "when" in part else ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()
