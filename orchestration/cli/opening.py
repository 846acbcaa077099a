"""Single decisions on a terminal: fetched by position when somebody opens them, without protected attributes.

What a person sees goes by the roles that the configuration in force gives, as on the console.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agents.configuration import Configuration
from orchestration.cli.reading import safe
from orchestration.console.records import KafkaRecords, parsed
from orchestration.console.redaction import Redacted, protected_names, reason_shown, redact
from orchestration.console.viewer import viewer_of
from orchestration.reading.held import HeldItem
from orchestration.settings import Settings

LONGEST = 600
"""Characters of one value on a screen."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A held decision with what this person may see of its content."""

    item: HeldItem
    shown: Redacted | None
    why: str
    """Where there is no content: why."""
    readable: bool
    """Whether the person saw what it rests on: only then was it opened."""
    reasons: tuple[tuple[str, str], ...] = ()
    """Rules that held it, each with its reason as this person may read it."""

    @property
    def document(self) -> dict[str, Any]:
        """For scripts."""
        decision = None if self.shown is None else self.shown.decision.model_dump(mode="json", exclude_none=True)
        return {
            "position": self.item.id,
            "decision": decision,
            "hidden": list(self.shown.hidden) if self.shown is not None else [],
            "why": self.why or None,
            "reasons": [{"rule": rule, "text": text} for rule, text in self.reasons],
        }


async def opened_decisions(
    settings: Settings, configuration: Configuration, person: str, items: Sequence[HeldItem]
) -> list[Opened]:
    """Decisions with their content. Raises Retryable where Kafka does not answer."""
    records, viewer = KafkaRecords(settings), viewer_of(configuration, person, "", "")
    found = []
    for item in items:
        fetched = await records.decision(item.decision, item.bytes_at)
        decision = parsed(fetched.record, configuration) if fetched.record is not None else None
        reasons = tuple((one.rule, reason_shown(one.text, one.rule, viewer, configuration)) for one in item.reasons)
        if decision is None:
            found.append(Opened(item, None, fetched.why or "It cannot be read as a decision.", False, reasons))
            continue
        shown = redact(decision, viewer, protected_names(configuration, decision.data.model.name))
        found.append(Opened(item, shown, fetched.why, viewer.sees_values, reasons))
    return found


def print_opened(out: Console, one: Opened) -> None:
    """A decision in a few lines."""
    out.print(Text(f"\n{one.item.id}", style="bold"))
    for rule, text in one.reasons:
        out.print(Padding(Text("held: ", style="yellow").append(safe(text or rule, 300)), (0, 0, 0, 2)))
    if one.shown is None:
        out.print(Padding(safe(one.why, 300, "dim"), (0, 0, 0, 2)))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _lines(one.shown):
        table.add_row(safe(name, 60), safe(value, LONGEST))
    out.print(Padding(table, (0, 0, 0, 2)))
    for hidden in one.shown.hidden:
        out.print(Padding(safe(f"not shown: {hidden}", 300, "dim"), (0, 0, 0, 2)))


def _lines(shown: Redacted) -> list[tuple[str, str]]:
    data = shown.decision.data
    told: list[tuple[str, Any]] = [("model", f"{data.model.name} {data.model.version}")]
    told += [("caller", data.caller), ("purpose", data.purpose)]
    told += [(f"  {name}", value) for name, value in data.features.items()]
    told.append(("prompt", data.prompt))
    if data.output is not None:
        told += [(name, value) for name, value in data.output.model_dump(exclude_none=True).items()]
    if data.action is not None:
        told += [("tool", data.action.tool), ("arguments", json.dumps(data.action.arguments, ensure_ascii=False))]
    return [(name, str(value)) for name, value in told if value is not None]
