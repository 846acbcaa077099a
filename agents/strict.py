"""What every declared part of the configuration is made of: no misspelt key, durations and zones as people write them."""

from __future__ import annotations

import re
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

DAY_S = 86_400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}


def _seconds(value: Any) -> Any:
    """`90`, `'90s'`, `'5m'`, `'24h'`, `'2d'`, `'250ms'` as seconds."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", value)
        if not found:
            raise ValueError(f"{value!r} is not a duration; write for example 30s, 5m, 24h or 2d")
        return float(found[1]) * _UNITS[found[2]]
    return value


_SECONDS_SCHEMA = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}]
}
Seconds = Annotated[
    float, BeforeValidator(_seconds), Field(ge=0, le=100 * 366 * 86_400), WithJsonSchema(_SECONDS_SCHEMA)
]
"""At most a hundred years: every moment that follows from it has a date."""


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{value!r} is no IANA time zone; write for example Europe/Berlin") from error
    return value


Zone = Annotated[str, AfterValidator(_zone)]
"""An IANA time zone."""


class Strict(BaseModel):
    """Immutable, and a misspelt key is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
