"""What the pages say exists: commands and options, links, settings, topics, events. A page that falls behind fails here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agents.configuration_yaml import read_configuration
from agents.events import Decision
from agents.frames import Reader
from agents.records import Plain
from agents.schemas import ALL_EVENTS
from orchestration.cli.main import GROUPS, command, main
from orchestration.settings import Settings
from orchestration.topics import TOPICS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
STARTS = re.compile(r"^(?:\$\s+)?(?:[A-Z][A-Z_]*=\S+\s+)*govern(\s|$)")
PLACEHOLDER = re.compile(r"[<\[{|…]")


def page_id(page: Path) -> str:
    """The page as a test's id."""
    return str(page.relative_to(ROOT))


# -- commands ----------------------------------------------------------------------------------------------------------


def commands(text: str) -> list[str]:
    """Every `govern …` command line that a page shows, in blocks and in spans."""
    found = [line for block in blocks(text) for line in joined(block) if STARTS.match(line)]
    prose = FENCE.sub("", text)
    found += [span for span in SPAN.findall(prose) if STARTS.match(span)]
    return found


def blocks(text: str) -> Iterator[str]:
    """Fenced and indented blocks."""
    for fence in FENCE.finditer(text):
        yield "\n".join(fence[0].splitlines()[1:-1])
    yield "\n".join(line[4:] for line in FENCE.sub("", text).splitlines() if line.startswith("    "))


def joined(block: str) -> list[str]:
    """Its lines, with continued ones made one."""
    return block.replace("\\\n", " ").splitlines()


def problem(line: str) -> str | None:
    """Why a command line cannot be typed as it stands; None where it can (its arguments aside)."""
    words = shlex.split(line.removeprefix("$ "), comments=True)
    words = list(until_pipe(words[words.index("govern") + 1 :]))
    name = words.pop(0) if words else "--help"
    if PLACEHOLDER.search(name) or name in ("-h", "--help", "--version"):
        return None
    if name not in GROUPS:
        return f"`govern` has no command {name!r}"
    found, context = group(name)
    while words and hasattr(found, "get_command") and not words[0].startswith("-"):
        name = words.pop(0)
        if PLACEHOLDER.search(name):
            return None
        inner = found.get_command(context, name)
        if inner is None:
            return f"`{context.command_path}` has no command {name!r}"
        found, context = inner, inner.make_context(name, [], parent=context, resilient_parsing=True)
    known = {"--help", "-h", "-"}
    known |= {option for one in found.get_params(context) for option in (*one.opts, *one.secondary_opts)}
    for word in words:
        option = word.partition("=")[0].strip("[]")
        if option.startswith("-") and option not in known:
            return f"`{context.command_path}` has no option {option}"
    return None if found.help else f"`{context.command_path} --help` does not say what it does"


@cache
def group(name: str) -> tuple[Any, Any]:
    """A group or command with its context; Any because they are of whichever click Typer carries."""
    found: Any = command(name)
    return found, found.make_context(f"govern {name}", [], resilient_parsing=True)


def until_pipe(words: list[str]) -> Iterator[str]:
    """The words before a pipe, a redirection or another command."""
    for word in words:
        if word in {"|", ">", ">>", "&&", ";", "&"}:
            return
        yield word.removesuffix(";")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_shown_can_be_typed(page: Path) -> None:
    problems = {line: told for line in commands(page.read_text()) if (told := problem(line))}
    assert problems == {}


@pytest.mark.parametrize("name", GROUPS)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code in (0, None)
    assert f"govern {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", GROUPS)
def test_every_command_is_shown_on_some_page(name: str) -> None:
    shown = [line for page in PAGES for line in commands(page.read_text())]
    assert any(re.search(rf"\bgovern {name}\b", line) for line in shown), f"no page shows `govern {name}`"


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert dead_links(page.read_text(), page.parent) == []


def dead_links(text: str, folder: Path) -> list[str]:
    """Relative links and pictures whose file, or heading in it, is not there."""
    found = [next(filter(None, groups)) for groups in LINK.findall(FENCE.sub("", text))]
    dead = []
    for link in found:
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = folder / path
        lost = bool(path) and not target.exists()
        if lost or (anchor and anchor not in anchors(target.read_text() if path else text)):
            dead.append(link)
    return dead


def anchors(text: str) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- settings, topics, events ------------------------------------------------------------------------------------------


def rows(page: str) -> dict[str, tuple[str, ...]]:
    """Rows of a page's tables by the first `code` of the first cell."""
    found = {}
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            found[first.split("`")[1]] = tuple(others)
    return found


def test_every_setting_is_told_with_its_default() -> None:
    told = {row: cells[0].strip("`") for row, cells in rows("docs/settings.md").items() if len(cells) == 2}
    fields = Settings.model_fields
    there = {
        f"GOVERN_{field.upper()}": "" if info.default is None else str(info.default) for field, info in fields.items()
    }
    assert told == there


def test_every_variable_that_the_code_reads_is_told() -> None:
    source = "\n".join(path.read_text() for path in sorted((ROOT / "orchestration").rglob("*.py")))
    read = set(re.findall(r"environ(?:\.get\(|\.setdefault\(|\.pop\(|\[)\s*\"(GOVERN_[A-Z_]+)\"", source))
    assert read
    assert read - set(rows("docs/settings.md")) == set()


def test_every_variable_that_a_page_names_exists() -> None:
    known = set(rows("docs/settings.md"))
    named = {one for page in PAGES for one in re.findall(r"\bGOVERN_[A-Z_]*[A-Z]\b", page.read_text())}
    named = {one for one in named if not one.startswith("GOVERN_SECRET_")}  # whatever an operator calls a secret
    assert named - known == set()


def test_every_topic_stands_in_the_design() -> None:
    cells = [line.split("|")[1] for line in (ROOT / "docs/design.md").read_text().splitlines() if line.startswith("| ")]
    told = {topic.strip() for cell in cells for topic in cell.replace("(*later*)", "").split(",")}
    assert {topic.name for topic in TOPICS} - told == set()


def test_every_event_type_stands_in_the_design() -> None:
    types = {event.model_fields["type"].default for event in ALL_EVENTS}
    assert types - set(rows("docs/design.md")) == set()


# -- examples ----------------------------------------------------------------------------------------------------------


def fenced(page: str, language: str) -> list[str]:
    """Fenced blocks of a language."""
    fences = [fence[0].splitlines() for fence in FENCE.finditer((ROOT / page).read_text())]
    return ["\n".join(lines[1:-1]) for lines in fences if lines[0] == f"```{language}"]


def test_the_readme_s_configuration_works_and_judges_its_decision() -> None:
    configuration = read_configuration([(f"block {n}", text) for n, text in enumerate(fenced("README.md", "yaml"))])
    assert list(configuration.models) == ["credit-limit"]
    assert [policy.policy for policy in configuration.policies] == ["lending"]
    (value,) = fenced("README.md", "json")
    batch = Reader(configuration).read([Plain("gim.decisions", 0, 0, 1772442843120, b"client-8231", value.encode())])
    assert batch.faults == {}
    assert batch.groups[0].frame["output.confidence"].to_list() == [0.74]


def test_the_readme_s_mapping_reads_the_topic_it_is_for() -> None:
    configuration = read_configuration([(f"block {n}", text) for n, text in enumerate(fenced("README.md", "yaml"))])
    value = {"request_id": "r1", "model_version": "2.1.0", "at": 1772442843120, "x": {"limit": 20000, "delay": 2}}
    value |= {"y": {"label": "approve", "p": 0.5}}
    headers = [("caller", b"svc-portal")]
    record = Plain("scoring.responses", 0, 0, 1772442843120, None, json.dumps(value).encode(), headers)
    batch = Reader(configuration).read([record])
    assert batch.faults == {}
    row = batch.groups[0].frame.row(0, named=True)
    assert (row["id"], row["caller"], row["features.pay_0"], row["output.confidence"]) == ("r1", "svc-portal", 2.0, 0.5)


def test_the_design_s_decision_fits_the_contract() -> None:
    text = (ROOT / "docs/design.md").read_text()
    shown = next(block for block in blocks(text) if '"specversion"' in block)
    lines = [
        line
        for line in shown.splitlines()
        if line.strip().startswith(('{"spec', '"time', '"data', '"features', '"output', '"action'))
    ]
    decision = Decision.model_validate_json("".join(line.strip() for line in lines))
    assert decision.data.model.name == "credit-limit"
    assert decision.data.output is not None
    assert decision.data.output.score == 0.31


def test_the_design_s_policy_passes_its_own_test() -> None:
    text = (ROOT / "docs/design.md").read_text()
    shown = next(block for block in blocks(text) if "policy: after-hours" in block)
    policy = shown[shown.index("policy: after-hours") :].partition("\n\n")[0]
    model, calendar = "{callers: [svc-portal], calendar: office}", "{zone: Asia/Taipei, hours: {mon-fri: 08:00-20:00}}"
    around = f"models: {{credit-limit: {model}}}\ncalendars: {{office: {calendar}}}\n"
    found = read_configuration([("models.yaml", around), ("policy.yaml", policy)]).policies
    assert [rule.id for rule in found[0].rules] == ["after-hours"]


# -- the checks themselves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("govern kafka start --brokers 3", None),
        ("GOVERN_PREFIX=bank govern topics plan --format strimzi | kubectl apply -f -", None),
        ("govern audit verify DIR --key FILE [--since CHECKPOINT]", None),
        ("govern kafka fly", "`govern kafka` has no command 'fly'"),
        ("govern fly", "`govern` has no command 'fly'"),
        ("govern kafka start --wings", "`govern kafka start` has no option --wings"),
    ],
)
def test_a_command_that_is_not_there_is_told(line: str, told: str | None) -> None:
    assert problem(line) == told


def test_commands_are_found_in_blocks_and_spans() -> None:
    page = "Use `govern up`.\n\n    $ govern a \\\n      --b\n\n```sh\nA=1 govern c  # why\n```\nnot governed: `governess`\n"
    assert [shlex.split(line, comments=True)[-1] for line in commands(page)] == ["c", "--b", "up"]


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One Heading: `x`\n")
    text = "[a](there.md) [b](gone.md) [c](there.md#one-heading-x) [d](there.md#two) [e](https://example.org/x)"
    assert dead_links(text, tmp_path) == ["gone.md", "there.md#two"]
