"""The view of a model's week, full: for whoever renders every page."""

from __future__ import annotations

from orchestration.console.pages.overviews import WeekRow, WeekView

NOW = 1_795_575_720_000
"""25 November 2026, 03:02 UTC."""

WEEK = WeekView(
    "credit-limit",
    "2026-W48",
    "not a quiet week",
    "Week 48, 23 to 29 November 2026. It is not over yet.",
    False,
    (
        ("Decisions", "3,600", "12 % more than the week before"),
        ("Waiting", "451", "the oldest since 19 Nov, 03:02 UTC"),
    ),
    (("Went out", "2,810"), ("Held", "450")),
    "",
    ("Nothing came for 1 h from 23 Nov, 03:00 UTC on; a week before it was 61 decisions.",),
    "And 2 more gaps.",
    (WeekRow("Approval-rate gap", NOW, "/incidents/7f29-k1mq", "error", "nobody has taken it"),),
    "1 incident of other teams.",
    (WeekRow("Approval gap, version 2.2.0 · under 26", kind="alarm"), WeekRow("Drift", kind="warn")),
    "1 signal has too few decisions to say anything.",
    (WeekRow("Version 2.2.0 was seen for the first time", NOW),),
    "And 1 earlier change.",
    "/models/credit-limit/weeks/2026-W47",
    "/models/credit-limit/weeks/2026-W49",
)
