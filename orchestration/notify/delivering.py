"""Attempts, one line beside the other: repeated with growing pauses, given up at last, every result handed over.

Promise: a channel that hangs or refuses delays no message of another channel; of one line never two are on their way at once.
Nothing is recorded here: the lane takes `results` and writes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import tenacity

from orchestration.notify.errand import Sent
from orchestration.notify.faults import NotSent, Undeliverable, Unreachable
from orchestration.notify.outbox import Entry, Line, Outbox

AT_ONCE = 4
"""Messages of one channel that are on their way at the same time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a message is tried; pauses double from `first_s` to `longest_s`."""

    attempts: int = 8
    within_s: float = 60.0
    """After this no further attempt begins."""
    first_s: float = 0.5
    longest_s: float = 15.0


SOON = Patience()
"""Where another channel can tell it instead."""
LASTING = Patience(attempts=80, within_s=3600.0, longest_s=60.0)
"""Where there is no other channel: what waits an hour is better than what is lost."""
PROBE = Patience(attempts=2, within_s=20.0)
"""For a channel that just gave up on another message."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one attempt, or of the message."""

    entry: Entry
    outcome: Literal["sent", "retrying", "failed", "skipped"]
    attempts: int
    detail: str
    took_ms: float = 0.0
    reference: str | None = None
    missed: int = 0
    """How many people it did not reach: of a failed one that the channel itself works for others."""


class _Pointless(Exception):
    """It need not be sent any more."""


class Delivering:
    """Works off an outbox; `wake` after the outbox has seen new entries, `results` to be emptied by whoever records them."""

    def __init__(
        self,
        outbox: Outbox,
        send: Callable[[Entry], Awaitable[Sent]],
        patience: Callable[[bool], Patience] = lambda down: PROBE if down else SOON,
    ) -> None:
        """`send` makes one attempt, and raises NotSent or Undeliverable; `patience` is asked for each message, and told
        whether its channel is down.
        """
        self.outbox, self.send, self.patience = outbox, send, patience
        self.results: list[Result] = []
        self.down: dict[str, str] = {}
        """Channels that gave up on their last message, and why."""
        self.troubled: dict[str, str] = {}
        """Channels whose last attempt failed, and why; those that are down among them."""
        self._ready = asyncio.Event()
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._not_before: dict[str, float] = {}
        self._ending = False

    def wake(self) -> None:
        """Begin with every line that has entries and is not worked on; raises what a line's work died of."""
        for line, task in list(self._lines.items()):
            if task.done():
                del self._lines[line]
                task.result()
        if not self._ending:
            for line in self.outbox.lines():
                if line not in self._lines:
                    self._lines[line] = asyncio.create_task(self._work_off(line))

    async def wait(self, seconds: float) -> None:
        """Return when there is a result, or after so long."""
        try:
            await asyncio.wait_for(self._ready.wait(), seconds)
        except TimeoutError:
            return

    def take(self) -> list[Result]:
        """The results since the last time, oldest first."""
        found, self.results = self.results, []
        self._ready.clear()
        return found

    async def end(self, grace_s: float) -> None:
        """Begin no attempt any more, and wait so long for those on their way; the others are cancelled."""
        self._ending = True
        tasks = list(self._lines.values())
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lines.clear()

    async def _work_off(self, line: Line) -> None:
        while not self._ending and (entry := self.outbox.first(line)) is not None:
            result = await self._deliver(entry)
            if result is None:
                return
            self.outbox.finish(entry, result.outcome, result.reference)
            self._hand_over(result)

    async def _deliver(self, entry: Entry) -> Result | None:
        """Everything between the first attempt and the last; None where the end came between."""
        channel, took_ms, last, first = entry.data.channel, 0.0, "", 0.0
        patience = self.patience(channel in self.down)
        doubling = tenacity.wait_exponential(patience.first_s, patience.longest_s)
        pauses = doubling + tenacity.wait_random(0, patience.first_s)

        def pause(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.after_s if isinstance(error, NotSent) and error.after_s is not None else 0.0
            return max(asked, pauses(state))

        def enough(state: tenacity.RetryCallState) -> bool:
            over = time.monotonic() - first + state.upcoming_sleep >= patience.within_s
            return self._ending or over or state.attempt_number >= patience.attempts

        async def told(state: tenacity.RetryCallState) -> None:
            self._hand_over(Result(entry, "retrying", entry.attempts, last, took_ms))

        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(
                lambda one: isinstance(one, NotSent) and not isinstance(one, Undeliverable)
            ),
            stop=enough,
            wait=pause,
            before_sleep=told,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    async with self._place(channel):
                        began = time.monotonic()
                        first = first or began
                        try:
                            sent = await self._attempt(entry)
                        except NotSent as error:
                            last, took_ms = str(error), (time.monotonic() - began) * 1000
                            raise
                        took_ms = (time.monotonic() - began) * 1000
        except _Pointless as why:
            return Result(entry, "skipped", entry.attempts, str(why))
        except Unreachable:
            missed = max(1, len(entry.data.to))
            return Result(entry, "failed", max(entry.attempts, 1), last, took_ms, missed=missed)
        except NotSent as error:
            if self._ending and not isinstance(error, Undeliverable):
                return None
            self.down[channel] = last
            return Result(entry, "failed", max(entry.attempts, 1), last, took_ms)
        self.down.pop(channel, None)
        return Result(entry, "sent", entry.attempts, sent.detail, took_ms, sent.reference, sent.missed)

    async def _attempt(self, entry: Entry) -> Sent:
        channel = entry.data.channel
        while (left := self._not_before.get(channel, 0.0) - time.monotonic()) > 0:
            await asyncio.sleep(left)
        why = self.outbox.pointless(entry)
        if why is not None:
            raise _Pointless(why)
        entry.attempts += 1
        try:
            sent = await self.send(entry)
            self.troubled.pop(channel, None)
            return sent
        except NotSent as error:
            if not isinstance(error, Unreachable):
                self.troubled[channel] = str(error)
            entry.doubtful |= error.doubtful
            if error.after_s is not None:  # the channel asked for quiet: of every line
                self._not_before[channel] = time.monotonic() + error.after_s
            raise
        except asyncio.CancelledError:
            entry.doubtful = True
            raise

    def _place(self, channel: str) -> asyncio.Semaphore:
        return self._places.setdefault(channel, asyncio.Semaphore(AT_ONCE))

    def _hand_over(self, result: Result) -> None:
        self.results.append(result)
        self._ready.set()
