"""The console ends when it is told to, whatever its tasks make of a cancellation."""

from __future__ import annotations

import asyncio

from orchestration.console.serving import ended


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    async def failing() -> None:
        raise OSError("gone")

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    await asyncio.wait_for(ended(*tasks, again_s=0.01), 10)
    assert all(task.done() for task in tasks)
    assert swallowed == 3
