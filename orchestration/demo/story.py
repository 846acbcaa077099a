"""The demo from an empty folder to the exit status: the same functions start it as `govern up`, and nothing is staged.

It keeps everything in a folder and under a prefix of its own (`demo`), and empties that folder first; what was made
before (by a run with --keep) is ended. Keys lie apart and stay.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agents.configuration import Configuration
from agents.errors import Retryable
from agents.monitor.compilation import compile_monitors
from agents.records import Record
from orchestration import config_files, deployment, keys, logs, signals_topic
from orchestration.console import listening
from orchestration.console import process as console
from orchestration.demo import assistant, caught, check, flow, people, picture, population, reference, traffic
from orchestration.demo.caught import Caught, Held, Made
from orchestration.demo.check import Check, Outcome
from orchestration.demo.flow import RATE, Seen, Sent
from orchestration.demo.model import NAME, TUNED, VERSION, train
from orchestration.demo.population import Population
from orchestration.demo.records import Desk
from orchestration.demo.show import Screen, shown
from orchestration.kafka import Broker
from orchestration.local_ray import LocalRay
from orchestration.profile_store import ProfileStore
from orchestration.settings import Settings
from orchestration.supervisor import LaneRow

PREFIX = "demo"
OURS = (
    *("kafka", "ray", "evidence", "archive", "published", "profiles", "models", "auditor", "replay", "console"),
    *("up.json", "decision.json", "approval-gap.svg"),
)
"""What is in the demo's folder, and is emptied by its next run; its logs stay."""


@dataclass(frozen=True)
class Started:
    """What runs, and who decides for whom."""

    settings: Settings
    configuration: Configuration
    """With the profiles named."""
    desk: Desk
    clients: Population
    url: str
    """Of the console."""
    passwords: Mapping[str, str]
    """Of the people who answer there."""


def settings_of(folder: Path) -> Settings:
    """The demo's deployment; of the environment it only takes where keys lie."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    own = {
        "prefix": PREFIX,
        "data_dir": folder,
        "keys_dir": Settings().keys_dir.parent / "demo-keys",
        "publish": str(folder / "published"),
        "audit_interval_ms": 1_000,
        "snapshot_interval_ms": 1_000,
    }
    return deployment.located(Settings(**{**defaults, **own}))


def _port() -> int:
    """The console's usual port, or where that is taken any free one."""
    usual = int(Settings.model_fields["console_port"].default)
    if listening.free("127.0.0.1", usual):
        return usual
    with socket.socket() as anybody:
        anybody.bind(("127.0.0.1", 0))
        return int(anybody.getsockname()[1])


def run(folder: Path, count: int, *, fast: bool, keep: bool) -> bool:
    """Run the whole demo; True where every check holds. What runs is ended on the way out, unless `keep`.

    Raises GovernanceErrors of what it starts, each with its mend.
    """
    screen, settings, started = Screen(), settings_of(folder), time.monotonic()
    logs.configure("demo", settings.data_dir / "logs")
    configuration = config_files.load(_config())
    screen.title(count)
    _heed_sigterm()
    _empty(screen, settings)
    with _ended(screen, settings) as ended:
        up = _start(screen, settings, configuration)
        seen, rate = Seen(count), None if fast else RATE
        calls = traffic.plan(count, len(up.desk.clients))
        with screen.live(seen):
            sent = asyncio.run(flow.run(up.settings, up.desk, calls, rate, seen, lambda: screen.told(seen)))
        outcome = _check(screen, up, sent)
        _tell(screen, up.settings, outcome, sent, keep)
        ended(keep)
        took = time.monotonic() - started
        if keep or (screen.console.is_terminal and sys.stdin.isatty()):
            _stay(screen, up, keep)
    ok, told = all(one.ok for one in outcome.checks), f"{took:.0f} s in all"
    screen.say(f"\nEverything held; {told}." if ok else f"\nNOT everything held, see ✗ above; {told}.", ok=ok)
    return ok


def _stay(screen: Screen, up: Started, keep: bool) -> None:
    """Leave the console to whoever is at the terminal."""
    screen.heading("Your turn")
    screen.invite(up.url, up.passwords, up.configuration, stays=keep)
    if keep:
        return
    try:
        signal.pause()
    except KeyboardInterrupt:
        screen.remark("ending")


@contextmanager
def _ended(screen: Screen, settings: Settings) -> Iterator[Callable[[bool], None]]:
    """End on the way out, whatever the reason, everything that runs; unless it was told that it shall be kept."""
    kept = False

    def ended(keep: bool) -> None:
        nonlocal kept
        kept = keep

    try:
        yield ended
    finally:
        if not kept:
            with screen.busy("ending Kafka, Ray and the lanes") as report:
                try:
                    deployment.take_down(settings, report)
                finally:
                    _stop(settings)  # where draining failed, nothing is left all the same


def _empty(screen: Screen, settings: Settings) -> None:
    """End and remove what an earlier run left in the demo's folder; nothing else is touched."""
    with screen.busy(f"emptying {shown(settings.data_dir)}"):
        _stop(settings)
        for name in OURS:
            path = settings.data_dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _stop(settings: Settings) -> None:
    """End the demo's own Ray and Kafka, if they run, without draining: what they hold is finished with, or thrown away."""
    LocalRay(settings.data_dir / "ray").stop()
    kafka = deployment.local_kafka(settings)
    if kafka is not None and kafka.pids:
        kafka.stop()


def _start(screen: Screen, settings: Settings, configuration: Configuration) -> Started:
    """Bring everything up; the models learn meanwhile."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        learning = pool.submit(_learn, settings, configuration)
        with screen.busy("starting") as report:
            settings = deployment.with_kafka(settings, report)
            report("the models learn")
            desk, clients, configuration = learning.result()
            settings = settings.model_copy(
                update={"console_port": _port()}
            )  # now: what is free may be taken in a minute
            configuration = people.with_console(settings, configuration, f"http://127.0.0.1:{settings.console_port}")
            passwords = people.accounts(settings, configuration)
            up = deployment.bring_up(settings, configuration, report=report)
            _heed_sigterm()
            known = asyncio.run(flow.introduce(up.settings, clients.groups))
            status = deployment.wait_for_lanes(
                up.control, lambda now: report(f"{sum(_runs(row) for row in now.lanes)} of {len(now.lanes)} lanes run")
            )
        page = console.wait(up.settings)
    if page is None:
        why = console.last_words(up.settings) or "; ".join(up.remarks) or "it said nothing"
        raise Retryable(f"the console does not answer: {why}")
    took = time.monotonic() - started
    screen.tick(f"Apache Kafka, Ray, and {len(status.lanes)} lanes on {len(status.workers)} workers", f"{took:.0f} s")
    rules = sum(len(policy.rules) for policy in configuration.policies)
    watched = len(configuration.monitors)
    screen.tick(
        f"{rules} rules and {watched} monitors of {shown(_config())}, in force as {configuration.digest()[:19]}"
    )
    screen.learnt(desk.models[VERSION], desk.models[TUNED], len(desk.clients))
    screen.tick(f"who {known:,} of {len(desk.clients):,} clients are, told to monitors and to nobody else")
    declared = configuration.escalation
    screen.tick(f"{len(declared.people)} people in {len(declared.teams)} teams, and their console at {page.url}")
    return Started(up.settings, configuration, desk, clients, page.url, passwords)


def _learn(settings: Settings, configuration: Configuration) -> tuple[Desk, Population, Configuration]:
    """Models, saved and read back; profiles, stored; and the configuration that names them."""
    clients = population.load()
    desk = Desk(train(clients, settings.data_dir / "models"), assistant.train(), clients.clients)
    found = reference.profiles(configuration, desk, clients)
    return desk, clients, reference.profiled(configuration, found, ProfileStore(settings.profiles_url).put)


def _check(screen: Screen, up: Started, sent: Sent) -> Outcome:
    """All checks, told one by one as they are made."""
    settings, auditor = up.settings, up.settings.data_dir / "auditor"
    with screen.busy("reading every record back from Kafka"):
        outcome = check.counted(settings, sent.messages)
    screen.outcome(outcome)
    made = _made(settings, sent)
    observations = asyncio.run(_observations(settings))
    raised = caught.raised(asyncio.run(signals_topic.history(settings)), observations)
    found = caught.caught(made, raised)
    gap = next(one for one in found if one.cause.monitor == caught.GAP)
    acted = caught.held(made, outcome.verdicts, outcome.judged_ms, gap.alarm)
    screen.caught(found, acted)
    screen.heading("Checks")
    whole = len(sent.messages) >= traffic.FULL
    if whole:
        outcome.checks += [*caught.checks(found, made, raised, up.clients.groups, up.desk.clients), acted.check]
    else:
        screen.remark(f"fewer than {traffic.FULL:,} decisions: whether monitors caught everything is not checked")
    screen.checks(outcome.checks)
    met = _people(screen, up)
    screen.heading("Checks of answers and evidence")
    steps: list[tuple[str, Callable[[], Check]]] = [
        ("comparing what people answered", lambda: check.answered(settings, sent.messages, met.finals)),
        ("waiting for the last checkpoints", lambda: check.settled(settings, sent.messages, len(met.finals))),
        ("verifying the evidence", lambda: check.audited(settings, auditor)),
        ("proving a verdict", lambda: check.proved(settings, outcome.example, auditor)),
        ("judging a decision again", lambda: check.judged_again(settings, outcome.example)),
    ]
    if whole and acted.first is not None:
        first = acted.first.position
        steps.append(
            ("judging the first held decision again", lambda: check.judged_again(settings, first, "held by the alarm"))
        )
    for what, make in steps:
        with screen.busy(what):
            done = make()
        screen.checks([done])
        outcome.checks.append(done)
    if whole:
        with screen.busy("drawing the approval gap"):
            _draw(up, made, observations, gap, acted)
    return outcome


def _people(screen: Screen, up: Started) -> people.Seen:
    """Incidents with what people are told of them, and the answers of scripted reviewers."""
    with screen.busy("people answer") as report:
        met = people.answer(up.settings, up.url, up.passwords, report)
    screen.people(met)
    return met


def _made(settings: Settings, sent: Sent) -> list[Made]:
    """The decisions that count: no repeats, none that nobody can read."""
    topic = settings.topic("decisions")
    return [
        Made(sent.calls[place], f"{topic}/{place[0]}/{place[1]}", one.label, sent.at_ms[place])
        for place, one in sent.messages.items()
        if one.kind == "decision"
    ]


async def _observations(settings: Settings) -> list[Record]:
    """What monitors counted, partition by partition."""
    topic, broker = settings.topic("observations"), Broker(settings)
    return [one for number in range(settings.observation_partitions) for one in await broker.read_all(topic, number)]


def _draw(up: Started, made: list[Made], observations: list[Record], gap: Caught, acted: Held) -> None:
    """The picture, from the observations in Kafka."""
    profiles = signals_topic.profiles_of(up.settings, up.configuration)
    points = picture.curve(observations, compile_monitors(up.configuration, profiles)[NAME])
    before = sum((one.call.model, one.call.version) == (NAME, VERSION) for one in made)
    true = caught.true_ratio(made, up.clients.groups, up.desk.clients)
    alarm = before + gap.decisions if gap.alarm is not None else None
    held = before + acted.decisions if acted.first is not None else None
    picture.draw(points, picture.Moments(before, alarm, held), true, up.settings.data_dir / "approval-gap.svg")


def _tell(screen: Screen, settings: Settings, outcome: Outcome, sent: Sent, keep: bool) -> None:
    """Where everything lies, and what to try next."""
    folder = settings.data_dir
    partition, offset = (int(part) for part in outcome.example.rsplit("/", 2)[1:])
    (folder / "decision.json").write_bytes(sent.messages[partition, offset].value)
    screen.heading("Where everything lies")
    screen.places(
        [
            (shown(folder / "evidence"), "Merkle logs of every verdict and configuration, as files"),
            (shown(folder / "published"), "their signed checkpoints, published elsewhere"),
            (shown(folder / "auditor"), "the verifier in one file, the public key, the proof"),
            (shown(folder / "profiles"), "what the models are compared with"),
            (shown(folder / "approval-gap.svg"), "the approval gap as a picture, recomputed from what was counted"),
            (shown(folder / "archive"), "the decisions, byte for byte, as Parquet"),
            (shown(folder / "kafka"), "Kafka's data: released, held, withheld, dead letters, flags"),
            (shown(keys.paths(PREFIX, settings.keys_dir).signer.parent), "the operator's keys"),
        ]
    )
    screen.heading("What to try next")
    screen.commands(_next(settings, outcome, keep))


def _next(settings: Settings, outcome: Outcome, keep: bool) -> list[str]:
    """Command lines that work as they stand, typed where the demo was."""
    folder, rules = shown(settings.data_dir), shown(_config())
    chunk = min((settings.data_dir / "archive").rglob("*.parquet"))
    named = f"GOVERN_PREFIX={PREFIX} GOVERN_DATA_DIR={folder} GOVERN_KEYS_DIR={shown(settings.keys_dir)}"
    found = shutil.which("govern")
    path = "" if found else f"PATH={Path(sys.argv[0]).absolute().parent}:$PATH "
    explain = f"govern signals explain {caught.GAP}"
    running = f"{explain}; govern status --watch" if keep else f"govern up; govern status; {explain}"
    return [
        f"export {path}{named}",
        f"govern policy explain {rules} --decision {folder}/decision.json",
        f"govern replay {outcome.example}",
        f"govern replay --decisions {shown(chunk)} --config {rules} --out {folder}/replay",
        f"govern audit verify {folder}/evidence --key {folder}/auditor/{PREFIX}.verifier --since {folder}/published",
        f"{running}; govern down        # "
        + ("it runs until then" if keep else "the same deployment again, where it stopped"),
    ]


def _heed_sigterm() -> None:
    """Let SIGTERM end the demo as Ctrl-C does; to be said again after Ray was joined, which takes the signal for itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _config() -> Path:
    """The demo's configuration, as installed with the program."""
    return Path(str(resources.files("config").joinpath("demo")))


def _runs(row: LaneRow) -> bool:
    return row.report.state in deployment.READY
