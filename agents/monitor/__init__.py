"""The monitor agent: decisions counted in parallel, judged in order; and the same as a library, `Watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.monitor.watch import Watch as Watch

__all__ = ["Watch"]


def __getattr__(name: str) -> object:
    if name == "Watch":  # imported when asked for: every other part of the package is lighter
        from agents.monitor.watch import Watch

        return Watch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
