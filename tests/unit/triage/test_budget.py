"""What asking costs is counted once for each answer, and also where the provider does not say what it was."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage

from agents.records import Plain
from agents.told_events import TriageEvent, Usage
from agents.triage.agent import tell
from orchestration.assist_lane import DAY_MS, Read
from tests.unit.triage.situations import NOW_MS, seen
from tests.unit.triage.test_llm import FORM, GOOD, Scripted, llm

USAGE = Usage(model="m", prompt="sha256:" + "0" * 64, input_tokens=900, output_tokens=100)
DAY = NOW_MS // DAY_MS


def written(number: int, at_ms: int = NOW_MS) -> Plain:
    """A record of this lane, as it stands on the topic."""
    data = tell(seen()).model_copy(update={"by": "model", "usage": (USAGE,)})
    value = TriageEvent(id="i", source="/gim/assist", data=data).model_dump_json(exclude_none=True).encode()
    return Plain(
        "gim.triage", 0, number, at_ms, b"i", value, [("govern-seq", b"%d" % number), ("govern-writer", b"me")]
    )


def test_an_answer_that_is_read_back_from_the_topic_is_not_paid_for_twice() -> None:
    read = Read(b"me")
    for number in range(3):
        read.pay(read.sequence, NOW_MS, (USAGE,))
        read.see(written(number), asked=False)
    assert (read.sequence, read.spent) == (3, {DAY: 3_000})


def test_after_a_start_every_answer_of_the_day_is_counted_once() -> None:
    read = Read(b"me", sequence=3)  # what the snapshot says
    for number in range(3):
        read.see(written(number), asked=True)
    read.pay(read.sequence, NOW_MS, (USAGE,))
    read.see(written(3), asked=False)
    assert (read.sequence, read.spent) == (4, {DAY: 4_000})


async def test_a_question_counts_though_the_provider_does_not_say_what_it_cost_or_does_not_answer() -> None:
    silent: Any = {"raw": AIMessage(json.dumps({"a": 1})), "parsed": None}
    asked = await llm(Scripted(silent)).ask([("human", "x" * 4_000)], FORM)
    assert (asked.input_tokens, asked.fault) == (1_000, "")
    late = await llm(Scripted(TimeoutError(), GOOD), retries=1).ask([("human", "x" * 4_000)], FORM)
    assert late.fault == ""
    assert late.input_tokens >= 2_000, "the try that came to nothing was asked as well"
    refused = await llm(Scripted(ConnectionRefusedError()), retries=0).ask([("human", "x" * 4_000)], FORM)
    assert refused.input_tokens == 0
