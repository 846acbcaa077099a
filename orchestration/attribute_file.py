"""Protected attributes from a file of `governance.attributes.v1` events, for monitors of a run without Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from agents.errors import Misconfigured
from agents.events import Attributes


def attributes_of(path: Path) -> Mapping[str, Mapping[str, str | None]]:
    """Protected attributes by subject, the last record of a subject counts; raises Misconfigured with the line."""
    found: dict[str, Mapping[str, str | None]] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = Attributes.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "value"
            raise Misconfigured(f"{path}:{number}: no attributes event: {where}: {first['msg']}") from error
        found[event.subject] = event.data.groups
    return found
