"""A whole deployment on command: `bring_up` starts what is missing, `take_down` drains and stops what `bring_up` started.

Both may be repeated without harm. What is somebody else's (a Kafka or Ray named by the settings, a Kafka started by
hand) is used and left alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agents.configuration import Configuration
from agents.errors import Misconfigured, Retryable
from orchestration import config_topic, keys, topics
from orchestration.console import process as console
from orchestration.local_kafka import LocalKafka, open_kafka
from orchestration.local_ray import QUIET, LocalRay
from orchestration.settings import Settings
from orchestration.supervisor import LaneRow, Status, fingerprint

if TYPE_CHECKING:
    from orchestration.actors import Control as Control

WORKERS = 2
UP_S, DRAIN_S = 120.0, 60.0
READY = ("running", "waiting")
"""States of a lane that has come up: waiting means for a configuration."""
FORWARDED = ("GOVERN_KILL",)
"""Variables of our environment that workers get too; everything else reaches them in the settings."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Up:
    """What runs after `bring_up`."""

    settings: Settings
    """With the brokers' addresses filled in and every path absolute."""
    control: Control
    applied: config_topic.Applied | None
    made_keys: keys.Keys | None
    """Keys made because there were none."""
    remarks: tuple[str, ...] = ()
    """What an operator should know although nothing failed."""


def located(settings: Settings) -> Settings:
    """The same settings with every local path absolute, so that they mean the same in every process."""
    here = {"data_dir": settings.data_dir.absolute(), "keys_dir": settings.keys_dir.expanduser().absolute()}
    stores = {name: str(getattr(settings, name)) for name in ("store", "archive", "profiles", "publish")}
    local = {name: str(Path(url).expanduser().absolute()) for name, url in stores.items() if url and "://" not in url}
    return settings.model_copy(update={**here, **local})


def bring_up(
    settings: Settings,
    configuration: Configuration | None,
    *,
    workers: int = WORKERS,
    report: Report = lambda line: None,
) -> Up:
    """Start Kafka and Ray where none are named, topics, keys and the supervisor; apply the configuration. Waits for no lane.

    Raises Misconfigured or Retryable with the mend; what runs by then goes on running.
    """
    settings = with_kafka(located(settings), report)
    report("checking topics")
    made = asyncio.run(topics.ensure(settings))
    if made:
        report(f"made {len(made)} topics")
    made_keys = _keys(settings)
    applied = asyncio.run(config_topic.apply(settings, configuration)) if configuration is not None else None
    join_ray(settings, report)
    from orchestration import actors  # Ray reads its environment when it is imported

    report("starting the supervisor")
    forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    control = actors.start_supervisor(settings, workers, QUIET | forwarded)
    return Up(settings, control, applied, made_keys, (*_remarks(settings, control), *_console(settings, report)))


def wait_for_lanes(
    control: Control, progress: Callable[[Status], None] = lambda status: None, within_s: float = UP_S
) -> Status:
    """Return once every lane runs or waits for a configuration.

    Raises Misconfigured with the reasons where lanes failed, Retryable where it takes too long.
    """
    deadline, why = time.monotonic() + within_s, "the supervisor has not answered"
    while time.monotonic() < deadline:
        try:
            status = control.status()
        except Retryable as error:
            why = str(error)
            continue
        progress(status)
        missing = [row for row in status.lanes if row.report.state not in READY]
        if status.lanes and not missing:
            return status
        failed = [row for row in missing if row.report.state == "failed"]
        if failed and len(failed) == len(missing):
            raise Misconfigured(f"{len(failed)} of {len(status.lanes)} lanes failed: {_reasons(failed)}")
        why = "; ".join(status.problems) or _reasons(missing) or "no lane is planned yet"
        time.sleep(0.2)
    raise Retryable(f"not every lane runs after {within_s:.0f} s: {why}; `govern status` shows how it goes on")


def take_down(settings: Settings, report: Report = lambda line: None) -> list[str]:
    """Drain the lanes, end supervisor and workers, stop the local Ray and Kafka; returns what was stopped, in words.

    Raises Retryable where lanes do not end in time: nothing was killed then, and the command may be repeated.
    """
    settings = located(settings)
    stopped, others = ["the console"] if console.stop(settings) else [], False
    if settings.ray_address or _ray(settings).running():
        join_ray(settings, report)
        from orchestration import actors  # Ray reads its environment when it is imported

        control = actors.find_supervisor(settings)
        if control is not None:
            _drain(control, report)
            control.end()
            stopped.append("supervisor, workers and lanes")
        elif actors.end_workers(settings.prefix):
            stopped.append("workers and lanes")
        others = actors.others_run(settings.prefix)
        actors.disconnect()
    if others:
        report("another deployment uses the local Ray and Kafka: they go on")
        return stopped
    if not settings.ray_address and _ray(settings).stop():
        stopped.append("the local Ray")
    if _started(settings, "kafka") and (kafka := local_kafka(settings)) is not None:
        report("stopping Apache Kafka")
        kafka.stop()
        _note(settings, kafka=False)
        stopped.append("the local Kafka (its data stays)")
    return stopped


def with_kafka(settings: Settings, report: Report = lambda line: None) -> Settings:
    """Settings with the brokers' addresses: those named, or the local Kafka's, started if it does not run."""
    if settings.bootstrap_servers:
        return settings
    kafka = local_kafka(settings) or LocalKafka(settings.data_dir / "kafka")
    if not kafka.running():
        kafka.start(report)
        _note(settings, kafka=True)
    return settings.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})


def local_kafka(settings: Settings) -> LocalKafka | None:
    """The local Kafka of this data folder; None where there never was one."""
    try:
        return open_kafka(settings.data_dir / "kafka")
    except Misconfigured:
        return None


def join_ray(settings: Settings, report: Report = lambda line: None) -> None:
    """Make this process a client of the deployment's Ray: the one named, or the local one, started if it does not run."""
    if settings.ray_address:
        os.environ.update(QUIET)
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        address = settings.ray_address
    else:
        ray = _ray(settings)
        address = ray.start(report)
        os.environ.update(ray.environment())
    from orchestration import actors  # Ray reads its environment when it is imported

    actors.connect(address)


def find(settings: Settings) -> Control | None:
    """The supervisor that runs for these settings, or None. Starts nothing but, where needed, the connection to Ray."""
    join_ray(settings)
    from orchestration import actors  # Ray reads its environment when it is imported

    return actors.find_supervisor(settings)


def ray_runs(settings: Settings) -> bool:
    """True where a Ray is named, or the local one runs."""
    return bool(settings.ray_address) or _ray(located(settings)).running()


def _ray(settings: Settings) -> LocalRay:
    return LocalRay(settings.data_dir / "ray")


def _keys(settings: Settings) -> keys.Keys | None:
    """Make the keys where there are none; otherwise check that they can be read."""
    found, made = keys.paths(settings.prefix, settings.keys_dir), None
    if not any(path.exists() for path in (found.signer, found.salt, found.verifier)):
        made = keys.generate(settings.prefix, settings.keys_dir, settings.store_url)
    keys.load_signer(found.signer)
    keys.load_salt(found.salt)
    return made


def _remarks(settings: Settings, control: Control) -> tuple[str, ...]:
    """Whether a supervisor that ran before runs with other settings than these."""
    try:
        status = control.status(30)
    except Retryable:
        return ()  # it is just starting
    if status.draining:
        control.resume()
    if status.settings == fingerprint(settings):
        return ()
    old, new = json.loads(status.settings), json.loads(fingerprint(settings))
    names = ", ".join(f"GOVERN_{name.upper()}" for name in new if new[name] != old.get(name))
    return (f"it ran already, with other settings ({names}); `govern down`, then `govern up`, puts yours in force",)


def _console(settings: Settings, report: Report) -> tuple[str, ...]:
    """Start the console, where it is wanted; what keeps it from running does not keep lanes from running."""
    if not settings.console:
        return ()
    try:
        console.start(settings, report)
    except Misconfigured as error:
        return (str(error),)
    return ()


def _drain(control: Control, report: Report) -> None:
    deadline, left = time.monotonic() + DRAIN_S, -1
    while time.monotonic() < deadline:
        try:
            left = control.drain()
        except Retryable as error:
            report(str(error))
            continue
        if left == 0:
            return
        report(f"draining: {left} lanes finish the batch in hand")
        time.sleep(0.3)
    what = f"{left} lanes still run" if left >= 0 else "the supervisor does not answer"
    raise Retryable(f"{what} after {DRAIN_S:.0f} s; `govern status` says why, and `govern down` may be repeated")


def _reasons(rows: list[LaneRow]) -> str:
    found = dict.fromkeys(f"{row.report.state} ({row.report.detail})" for row in rows if row.report.detail)
    return "; ".join(list(found)[:3])


def _started(settings: Settings, what: str) -> bool:
    try:
        return bool(json.loads((settings.data_dir / "up.json").read_text()).get(what))
    except (FileNotFoundError, ValueError):
        return False


def _note(settings: Settings, **what: bool) -> None:
    """Remember what `bring_up` started, for `take_down`."""
    (settings.data_dir / "up.json").write_text(json.dumps(what))
