"""What commands print: fits 80 columns, says deadlines in words, and nothing that others wrote can forge a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer

from agents.escalation.weeks import week_at
from orchestration.cli import answering, main, reading
from orchestration.reading.database import open_database
from orchestration.settings import Settings
from tests.unit.reading.world import DAY, HOUR, MINUTE, T0, World, everything, folded

NOW = T0 + HOUR


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A deployment whose read model commands see; `show` folds what was said until then."""
    settings = Settings(_env_file=None, prefix="gim", data_dir=tmp_path)
    found, database = World("gim"), open_database(settings)
    database.prepare({})

    def opened(_settings: Settings) -> object:
        folded(database, found)
        return database

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(reading, "connected", lambda: settings)
    monkeypatch.setattr(reading, "opened", opened)
    monkeypatch.setattr(reading, "now_ms", lambda: NOW)
    return found


def govern(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    assert ended.value.code in (0, None), told.err
    assert max(map(len, told.out.splitlines())) <= 80 or "--json" in arguments
    return told.out


def test_the_list_says_deadlines_in_words(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.incident(
        "soon-0001", deadline_ms=NOW + 42 * MINUTE, title="a title that is long enough to need two lines " * 2
    )
    world.incident("late-0001", deadline_ms=NOW - 3 * HOUR, **{"with": ["ada"]})
    world.incident("days-0001", statutory_ms=NOW + 9 * DAY + HOUR)
    printed = govern(capsys, "incidents", "list")
    told = [line.split() for line in printed.splitlines()]
    rows = {line[0]: " ".join(line[1:]) for line in told if line and line[0].endswith("-0001")}
    assert rows["late-0001"].startswith("overdue by 3 h error")
    assert "ada" in printed
    assert rows["soon-0001"].startswith("in 42 min error")
    assert rows["days-0001"].startswith("in 9 d error")


def test_an_empty_queue_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert govern(capsys, "incidents", "list") == "no incident is open\n"
    assert govern(capsys, "silence", "list") == "nothing is muted\n"
    assert "nothing yet" in govern(capsys, "stats")


def test_one_incident_is_shown_whole(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    everything(world)
    told = govern(capsys, "incidents", "show", "7f29")
    for part in (
        "credit-limit: declines are held",
        "3 wait for an answer; 2 approved",
        "Declines are held.",
        "f1 3 decisions",
        "refused (already-ruled)",
        'govern review approve|reject|edit|respond 7f29-k1mq --reason "…"',
    ):
        assert part in told, part


def test_scripts_get_one_object_a_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    everything(world)
    lines = [json.loads(line) for line in govern(capsys, "incidents", "list", "--json").splitlines()]
    assert [one["id"] for one in lines] == ["7f29-k1mq", "aaaa-bbbb"]
    shown = json.loads(govern(capsys, "incidents", "show", "7f29-k1mq", "--json"))
    assert shown["data"]["incident"] == "7f29-k1mq"
    assert (shown["waiting"], shown["held_by_resolution"]) == (3, {"approved": 2})
    held = [json.loads(line) for line in govern(capsys, "review", "held", "7f29", "--json").splitlines()]
    assert [one["decision"] for one in held] == [f"gim.decisions/1/{offset}" for offset in (19, 27, 35)]
    ended = govern(capsys, "review", "held", "7f29", "--ended", "--json").splitlines()
    assert {json.loads(line)["resolution"] for line in ended} == {"approved"}
    figures = json.loads(govern(capsys, "stats", "--json", "--days", "36000"))
    assert figures["rules"][0]["name"] == "lending/no-decline"
    assert figures["rules"][0]["n"] == 2


def test_text_of_others_cannot_forge_the_terminal(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "[bold red]x[/] \x1b[2J\x1b]0;owned\x07 \u202egnp"
    made = world.incident(title=evil, reason=evil, said=evil)
    world.review("approve", made, "ada", T0, reason=evil)
    world.holds(1, text=evil)
    for command in (["incidents", "list"], ["incidents", "show", made.incident], ["review", "held", made.incident]):
        told = govern(capsys, *command)
        assert "\x1b]" not in told
        assert "\x07" not in told
        assert "\u202e" not in told
        assert "[bold red]" in told  # as it was written, not as markup


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["incidents", "show", "zzzz"], "there is no incident 'zzzz'"),
        (["incidents", "list", "--status", "open"], "no incident is 'open'"),
        (["review", "approve", "7f29"], "say why"),
        (["review", "edit", "7f29", "-r", "x"], "--label, --score or --text"),
        (["review", "approve", "7f29", "-r", "x", "--person", "ann"], "govern key new --person ann"),
        (["silence", "add", "--for", "2h", "-r", "x"], "say what is muted"),
        (["silence", "add", "--for", "soon", "--team", "a", "-r", "x"], "no duration"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.setattr(
        reading, "connected", lambda: Settings(_env_file=None, data_dir=tmp_path, keys_dir=tmp_path / "k")
    )
    if "soon" in arguments:
        monkeypatch.setattr("orchestration.cli.answering.signer", lambda *_: ("ann", None))
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert told in " ".join(capsys.readouterr().err.split())


class Terminal(io.StringIO):
    """A standard input that somebody sits at."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_and_a_no_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    answering.confirmed("14 held decisions: let them go out?", yes=False)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    with pytest.raises(typer.Exit) as ended:
        answering.confirmed("14 held decisions: let them go out?", yes=False)
    assert ended.value.exit_code == 130
    told = capsys.readouterr()
    assert "let them go out? [y/N]" in told.err
    assert told.err.endswith("nothing was sent\n")
    assert told.out.strip() == ""
    answering.confirmed("asks nobody", yes=True)


def test_a_digest_of_a_calendar_week_is_told_as_the_message_asks_for_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.gate(1, at=T0)
    week = week_at(T0)
    printed = govern(capsys, "digest", "--model", "credit-limit", "--week", week.name)
    assert printed.splitlines()[0] == "credit-limit: a quiet week"
    told = json.loads(govern(capsys, "digest", "--week", week.name, "--json"))
    assert (told["start_ms"], told["end_ms"], told["decisions"]) == (week.start_ms, week.end_ms, 1)
    assert told["verdict"] == "a quiet week"
    for wrong, why in ((week.next.name, "has not begun yet"), ("last", "is no week; write for example 2026-W10")):
        with pytest.raises(SystemExit) as ended:
            main(["digest", "--week", wrong])
        assert ended.value.code == 1
        assert why in capsys.readouterr().err
