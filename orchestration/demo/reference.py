"""What the demo's models are compared with: profiles, fitted on what the first versions say of clients and questions before.

The credit model's profile is the learning half of the clients as version 2.1.0 judges them, as if it had been asked in two
weeks of January; the text model's is as many ordinary prompts as it gets in the demo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from agents.columns import decision_columns
from agents.configuration import Configuration
from agents.monitor.attributes import group_codes
from agents.monitor.contract import View
from agents.monitor.intake import CALENDAR, table_of
from agents.monitor.profiles import Profile, fit
from agents.monitor.registry import KINDS
from orchestration.demo import assistant, traffic
from orchestration.demo.model import NAME, VERSION
from orchestration.demo.population import Groups, Population
from orchestration.demo.records import Desk

CHATS = 2_000


def profiles(configuration: Configuration, desk: Desk, people: Population) -> dict[str, Profile]:
    """A profile for each model, by its name."""
    clients, groups = people.reference, people.reference_groups
    calls = {NAME: traffic.before(len(clients)), assistant.NAME: traffic.chats_before(CHATS)}
    versions = {NAME: VERSION, assistant.NAME: assistant.VERSION}
    before = Desk(desk.models, desk.assistant, clients)
    found = {}
    for model, asked in calls.items():
        events = [one.value for one in before.serve(asked, [])]
        known = [groups[clients[call.client].number] for call in asked]
        found[model] = _fitted(configuration, model, events, known, versions[model])
    return found


def profiled(configuration: Configuration, found: Mapping[str, Profile], keep: Callable[[bytes], str]) -> Configuration:
    """The configuration with each model's profile named by the digest that `keep`, the profile store, gave it."""
    models = dict(configuration.models)
    for model, profile in found.items():
        models[model] = models[model].model_copy(update={"profile": keep(profile.to_bytes())})
    return configuration.model_copy(update={"models": models})


def _fitted(
    configuration: Configuration, model: str, events: Sequence[bytes], known: Sequence[Groups], version: str
) -> Profile:
    declaration = configuration.models[model]
    wanted = {*decision_columns(declaration), *([CALENDAR] if declaration.calendar else [])}
    (table,) = table_of(events, configuration, {model: wanted})
    rows = table.height
    groups = {name: group_codes(declaration, name, [one.get(name) for one in known]) for name in declaration.groups}
    view = View(table.frame, np.zeros(rows, dtype=np.int64), 1, groups, table.times_ms)
    source = f"{rows:,} decisions of the demo's reference"
    with threadpool_limits(
        1
    ):  # on a machine that is busy starting Kafka, threads that wait for one another take minutes
        return fit(KINDS, view, model, declaration, version=version, source=source)
