"""What stands around supervisor and workers: logs, the configuration as read, the newest checkpoint, whose `agents` it is."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path

import agents
from agents.audit.notes import Checkpoint, Signer
from agents.configuration import Configuration
from agents.errors import Misconfigured
from agents.events import ConfigurationData, ConfigurationEvent
from orchestration.checkpoints import Newest, pick
from orchestration.deployment import located
from orchestration.logs import JsonLines
from orchestration.own_agents import refusal
from orchestration.settings import Settings
from orchestration.ticks import InForce, read


def line(error: BaseException | None = None, message: str = "lane ended", **extra: object) -> dict[str, object]:
    record = logging.LogRecord("governance.lane", logging.ERROR, "x.py", 1, message, (), None)
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    vars(record).update(extra)
    return dict(json.loads(JsonLines("w0").format(record)))


def test_a_log_line_is_json_that_names_the_lane() -> None:
    found = line(lane="policy/gim.decisions/0", subject="client-8231")
    assert found["level"] == "error"
    assert found["lane"] == "policy/gim.decisions/0"
    assert found["process"] == "w0"
    assert "client-8231" not in json.dumps(found)  # only fields that are known to hold nobody's data


def test_a_log_line_never_quotes_an_error_that_is_not_ours() -> None:
    def fail() -> None:
        try:
            int("client-8231 has 31 years")
        except ValueError as error:
            raise Misconfigured("no number; mend it") from error

    try:
        fail()
    except Misconfigured as error:
        found = line(error)
    assert "client-8231" not in json.dumps(found)
    told = found["error"]
    assert isinstance(told, dict)
    assert (told["type"], told["text"], told["cause"]["type"]) == ("Misconfigured", "no number; mend it", "ValueError")
    assert told["at"][0].startswith("test_around.py:")


def test_a_long_message_is_cut() -> None:
    assert len(str(line(message="x" * 5000)["message"])) == 1000


def applied(configuration: Configuration, digest: str | None = None) -> bytes:
    data = ConfigurationData(digest=digest or configuration.digest(), document=configuration.document())
    return ConfigurationEvent(id="1", source="/gim/operator", data=data).model_dump_json().encode()


def test_the_newest_readable_configuration_is_in_force() -> None:
    first, second = Configuration(), Configuration(duplicate_window=5)
    found = read(applied(first), 0, InForce())
    found = read(applied(second), 1, found)
    assert (found.digest, found.configuration, found.offset, found.problem) == (second.digest(), second, 1, "")

    for value in (b"{", applied(first, digest="sha256:" + "0" * 64), b'{"data":{"digest":"client-8231"}}'):
        kept = read(value, 2, found)
        assert (kept.digest, kept.configuration, kept.offset) == (second.digest(), second, 1)
        assert "the configuration at offset 2 cannot be read" in kept.problem
        assert "client-8231" not in kept.problem
    assert read(applied(first), 3, kept).problem == ""


def test_the_newest_checkpoint_is_the_root_logs_where_there_is_one() -> None:
    signer = Signer("gim", bytes(32))

    def note(origin: str, size: int) -> bytes:
        return signer.sign(Checkpoint(origin, size, bytes(32)).text())

    notes: list[tuple[bytes | None, int]] = [
        (note("gim/root", 3), 10),
        (note("gim/root", 4), 20),
        (note("gim/verdicts/0", 9), 30),
    ]
    assert pick("gim/root", [*notes, (b"\xff", 40), (None, 50)]) == Newest("gim/root", 4, 20)
    assert pick("gim/root", notes[2:]) == Newest("gim/verdicts/0", 9, 30)
    assert pick("gim/root", []) is None
    assert base64.b64encode(bytes(32)).decode() in notes[0][0].decode()  # type: ignore[union-attr]


def test_another_package_called_agents_is_refused_with_the_mend(tmp_path: Path) -> None:
    ours = Path(agents.__file__ or "").resolve().parent
    assert refusal(ours, ours) is None
    theirs = tmp_path / "agents"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("class Agent: ...")
    told = refusal(theirs, ours)
    assert told is not None
    assert str(theirs) in told
    assert "an environment of its own" in told
    assert "found at nowhere" in (refusal(None, ours) or "")
    (theirs / "events.py").write_text('type: Literal["governance.verdict.v1"]')
    assert refusal(theirs, ours) is None  # both halves of this project, installed in two places


def test_paths_mean_the_same_in_every_process(tmp_path: Path) -> None:
    found = located(Settings(data_dir=Path("var"), store="evidence", publish="s3://bucket/x", keys_dir=Path("~/k")))
    assert found.data_dir == Path("var").absolute()
    assert found.store == str(Path("evidence").absolute())
    assert found.archive == ""
    assert found.archive_url == str(Path("var/archive").absolute())
    assert found.publish == "s3://bucket/x"
    assert found.keys_dir == Path.home() / "k"
