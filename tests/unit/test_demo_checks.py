"""The demo's checks find whatever goes wrong, and name it."""

from __future__ import annotations

import pytest

from agents.policy import standing
from agents.policy.agent import PolicyAgent
from agents.records import Plain, Record, collect
from orchestration.config_files import load
from orchestration.demo.check import Outcome, compare
from orchestration.demo.flow import Place
from orchestration.demo.records import Message
from orchestration.demo.story import _config, settings_of
from tests.unit.demo_parts import TOPIC, messages


def judged(count: int = 200) -> tuple[dict[Place, Message], dict[str, list[Record]]]:
    """What Kafka would hold after a run, from the pure agent."""
    from agents.audit.commitment import Committer

    _, sent = messages(count)
    configuration = load(_config())
    agent = PolicyAgent("demo", TOPIC, 0, Committer("k", bytes(32)), configuration)
    some = [Plain(TOPIC, 0, at, 0, one.key, one.value, one.headers) for at, one in enumerate(sent)]
    found: dict[str, list[Record]] = {"released": [], "held": [], "withheld": [], "dead-letters": [], "flags": []}
    for (topic, _), made in collect(agent.decide(some, standing.Standing.of(configuration))).items():
        found[topic.removeprefix("demo.")] = [
            Plain(topic, 0, at, 0, key, value, tuple(headers)) for at, (key, value, headers) in enumerate(made)
        ]
    return {(0, at): one for at, one in enumerate(sent)}, found


def checked(sent: dict[Place, Message], found: dict[str, list[Record]]) -> Outcome:
    return compare(TOPIC, sent, found, found["flags"])


def test_a_clean_run_passes_and_is_told_with_examples():
    sent, found = judged()
    outcome = checked(sent, found)
    assert [check.problems for check in outcome.checks] == [(), ()]
    assert sum(outcome.kinds.values()) == 200
    late = outcome.rules["access/after-hours"]
    assert late.effect == "block"
    assert late.text.startswith("svc-p")
    assert " called credit-limit at 2" in late.text
    assert outcome.rules["record/undeclared"].text == "model credit-line-beta is not declared"
    assert not outcome.rules["stricter-confidence/below-one-half"].applied
    assert outcome.example in {late.position, outcome.rules["access/unknown-version"].position}


def plain(record: Record, **changes: object) -> Plain:
    fields = {name: getattr(record, name) for name in Plain.__slots__}
    return Plain(**{**fields, **changes})


def drop_verdict(found):
    return found["verdicts"].pop(5)


def double_verdict(found):
    found["verdicts"].append(found["verdicts"][5])


def release_twice(found):
    found["released"].append(found["released"][0])


def lose_held(found):
    found["held"].pop()


def alter_value(found):
    found["released"][3] = plain(found["released"][3], value=found["released"][3].value + b" ")


def alter_key(found):
    found["withheld"][0] = plain(found["withheld"][0], key=b"other")


def drop_header(found):
    found["released"][3] = plain(found["released"][3], headers=found["released"][3].headers[1:])


def release_held(found):
    found["released"].append(found["held"].pop())


def invent(found):
    header = ("govern-verdict", f"{TOPIC}/0/9999/gate".encode())
    found["released"].append(Plain("demo.released", 0, 999, 0, b"k", b"{}", (header,)))


def mistake_kind(found):
    at = next(n for n, one in enumerate(found["verdicts"]) if b'"kind":"malformed"' in one.value)
    one = found["verdicts"][at]
    found["verdicts"][at] = plain(one, value=one.value.replace(b'"kind":"malformed"', b'"kind":"undeclared"'))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop_verdict, "demo.decisions/0/5 has no verdict"),
        (double_verdict, "demo.decisions/0/5 has two verdicts"),
        (release_twice, "should be in released, is in ['released', 'released']"),
        (lose_held, "should be in held, is in none"),
        (alter_value, "is not what was sent"),
        (alter_key, "is not what was sent"),
        (drop_header, "is not what was sent"),
        (release_held, "should be in held, is in ['released']"),
        (invent, "released of demo.decisions/0/9999 is not what was sent"),
        (mistake_kind, "was sent as malformed and found to be undeclared"),
    ],
)
def test_whatever_goes_wrong_is_found_and_named(harm, says):
    sent, found = judged()
    harm(found)
    problems = [problem for check in checked(sent, found).checks for problem in check.problems]
    assert any(says in problem for problem in problems), problems


def test_the_demo_never_touches_the_deployment_that_the_environment_names(tmp_path, monkeypatch):
    monkeypatch.setenv("GOVERN_PREFIX", "bank")
    monkeypatch.setenv("GOVERN_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setenv("GOVERN_RAY_ADDRESS", "ray.example:6379")
    monkeypatch.setenv("GOVERN_STORE", "s3://evidence")
    monkeypatch.setenv("GOVERN_KEYS_DIR", str(tmp_path / "keys"))
    settings = settings_of(tmp_path / "demo")
    assert (settings.prefix, settings.bootstrap_servers, settings.ray_address) == ("demo", None, None)
    assert settings.store_url == str(tmp_path / "demo" / "evidence")
    assert settings.keys_dir == tmp_path / "demo-keys"
