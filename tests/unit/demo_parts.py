"""The demo's people, models and calls, made once for all tests of a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from orchestration.demo import assistant, model, population, traffic
from orchestration.demo.population import Population
from orchestration.demo.records import Desk, Message

TOPIC = "demo.decisions"
WHOLE = 14_200


@cache
def folder() -> Path:
    """Where models are saved."""
    made = Path(tempfile.mkdtemp(prefix="govern-demo-models-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def people() -> Population:
    return population.load()


@cache
def desk() -> Desk:
    return Desk(model.train(people(), folder()), assistant.train(), people().clients)


@cache
def messages(count: int) -> tuple[list[traffic.Call], list[Message]]:
    calls = traffic.plan(count, len(desk().clients))
    sent: list[Message] = []
    for start in range(0, count, 200):
        sent += desk().serve(calls[start : start + 200], sent)
    return calls, sent
