"""Answering on the console: what a form becomes, what its sender is told, and that it counts once."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from agents.events import Decision
from agents.people_events import ReviewData, shown_digest
from orchestration.console.answer_forms import kind_of
from orchestration.console.redaction import protected_names, redact
from orchestration.console.viewer import Viewer, viewer_of
from tests.unit.console.served import HELD, START_MS, Served, answer, configuration, incident, marked, serve, signed_in


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return serve(tmp_path)


async def told(browser: httpx.AsyncClient, sent: httpx.Response) -> str:
    """What the page after an answer says."""
    assert sent.status_code == 303, sent.text
    return marked(await browser.get(sent.headers["location"]), "u")


async def test_an_answer_says_exactly_what_was_shown_to_whom_and_for_how_long(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        served.later(95)
        sent = await answer(browser, page=page, reason="  checked with\r\nthe branch ")
        session = served.parts.sessions.find(browser.cookies["__Host-govern"])
        assert session is not None
        assert await told(browser, sent) == "effect: dana answered: approve"
    ((review, data),) = served.lane.sent
    assert data.model_dump(exclude_defaults=True) == {
        "action": "approve",
        "person": "dana",
        "login": session.digest,
        "incident": "7f29-k1mq",
        "shown": shown_digest(served.incidents["7f29-k1mq"]),
        "through": {"gim.decisions/0": 13},
        "reason": "checked with\nthe branch",
        "kind": "bulk",
        "shown_ms": 95_000.0,
        "not_after_ms": START_MS + 12 * 3_600_000,
    }
    assert review.startswith("console/")
    assert len(review) == 40


@pytest.mark.parametrize(("opened", "kind"), [(0, "bulk"), (2, "sample"), (3, "individual")])
async def test_decisions_count_as_opened_where_the_server_showed_them(served: Served, opened: int, kind: str) -> None:
    async with signed_in(served, "dana") as browser:
        for position in HELD[:opened]:
            await browser.get(f"/decisions/{position.topic}/0/{position.offset}")
        await browser.get("/decisions/gim.decisions/0/99")
        await browser.head(f"/decisions/gim.decisions/0/{HELD[2].offset}")
        await browser.get(f"/decisions/gim.decisions/0/{HELD[2].offset}", headers={"sec-purpose": "prefetch"})
        await answer(browser, opened="gim.decisions/0/12")
    ((_, data),) = served.lane.sent
    assert (data.kind, data.opened) == (kind, HELD[:opened])


def test_opening_others_than_those_that_wait_is_no_individual_review() -> None:
    assert kind_of(2, HELD[:2], HELD[:2]) == "individual"
    assert kind_of(2, HELD[:2], HELD[1:]) == "sample"
    assert kind_of(3, HELD[:2], HELD[:2]) == "sample", "one of the three is not known"
    assert kind_of(3, None, HELD) == "sample"
    assert kind_of(3, None, []) == "bulk"


async def test_single_decisions_can_be_answered(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        await browser.get("/decisions/gim.decisions/0/11")
        await answer(browser, action="reject", item=["gim.decisions/0/11", "gim.decisions/0/11"])
    ((_, data),) = served.lane.sent
    assert (data.items, data.through, data.kind) == ((HELD[1],), {}, "individual")


async def test_of_two_people_the_first_counts_and_the_second_is_told_of_the_first(served: Served) -> None:
    async with signed_in(served, "dana") as one, signed_in(served, "sam") as other:
        pages = await one.get("/incidents/7f29-k1mq"), await other.get("/incidents/7f29-k1mq")
        assert await told(one, await answer(one, page=pages[0])) == "effect: dana answered: approve"
        assert await told(other, await answer(other, page=pages[1])) == "refused: dana answered before you"


async def test_whoever_sends_a_form_twice_is_told_what_the_first_did(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        await answer(browser, page=page)
        assert (
            await told(browser, await answer(browser, page=page, action="reject")) == "effect: dana answered: approve"
        )
    assert len(served.lane.sent) == 1


async def test_an_answer_that_could_not_be_sent_may_be_sent_again_under_the_same_id(served: Served) -> None:
    served.lane.down = True
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        failed = await told(browser, await answer(browser, page=page))
        assert failed == "failed: Your answer could not be sent (Kafka is away). Send the form again."
        served.lane.down = False
        assert await told(browser, await answer(browser, page=page)) == "effect: dana answered: approve"
    assert len(served.lane.sent) == 1


async def test_an_answer_of_a_console_that_died_while_sending_is_not_pending_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(review: str, data: ReviewData) -> dict[str, object]:
        raise KeyboardInterrupt

    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        monkeypatch.setattr(served.lane, "send", dies)
        with pytest.raises(KeyboardInterrupt):
            await answer(browser, page=page)
        monkeypatch.undo()
        again = await answer(browser, page=page)
        assert await told(browser, again) == "pending: Your answer is being sent."
        served.later(61)
        assert (await told(browser, again)).startswith("failed: It is not known whether this answer was sent.")
    assert served.lane.sent == []


async def test_what_was_pending_is_told_when_the_page_is_opened_again(served: Served) -> None:
    served.lane.silent = True
    async with signed_in(served, "dana") as browser:
        sent = await answer(browser)
        assert (await told(browser, sent)).startswith("pending: ")
        served.lane.silent = False
        assert await told(browser, sent) == "effect: dana answered: approve"
        async with signed_in(served, "sam") as other:
            assert await told(other, sent) == "", "what became of it is told to its sender alone"


async def test_a_form_without_a_reason_is_not_sent_and_keeps_what_was_typed(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        assert (
            await told(browser, await answer(browser, page=page, reason="   "))
            == "draft: Say why: a sentence is enough."
        )
        assert await told(browser, await answer(browser, page=page, action="edit", score="much")) == (
            "draft: The score is no number."
        )
        assert await told(browser, await answer(browser, page=page, action="respond")) == (
            "draft: Write the question that goes back."
        )
        assert served.lane.sent == []
        assert (await told(browser, await answer(browser, page=page))).startswith("effect")


async def test_an_edit_and_a_question_carry_what_was_typed(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        await answer(browser, action="edit", label="approve", score="0,25")
        await answer(browser, action="respond", response="Which branch?")
    (_, edit), (_, question) = served.lane.sent
    assert edit.edit is not None
    assert (edit.edit.label, edit.edit.score, edit.edit.text) == ("approve", 0.25, None)
    assert (question.action, question.response) == ("respond", "Which branch?")


async def test_acknowledging_needs_no_reason_and_covers_nothing(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        await answer(browser, action="acknowledge", reason="")
    ((_, data),) = served.lane.sent
    assert (data.action, data.through, data.kind) == ("acknowledge", {}, None)


async def test_a_viewers_answer_is_sent_so_that_its_refusal_is_evidence(served: Served) -> None:
    async with signed_in(served, "vic") as browser:
        await answer(browser)
    ((_, data),) = served.lane.sent
    assert data.person == "vic"


async def test_an_answer_given_through_a_link_counts_no_longer_than_the_link(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get(served.link("7f29-k1mq", lasts_s=900), follow_redirects=True)
        await answer(browser, page=page)
    ((_, data),) = served.lane.sent
    assert data.not_after_ms == START_MS + 900_000


async def test_silences_say_what_they_mute_and_for_how_long(served: Served) -> None:
    async with signed_in(served, "dana") as browser:
        page = await browser.get("/incidents/7f29-k1mq")
        form = {
            "csrf": marked(page, "i"),
            "ticket": marked(page, "b"),
            "hours": "1.5",
            "reason": "known, mended at noon",
        }
        assert (await browser.post("/incidents/7f29-k1mq/silence", data=form)).status_code == 303
    ((_, data),) = served.lane.sent
    assert data.silence is not None
    assert data.silence.matchers.incident == "7f29-k1mq"
    assert (data.silence.starts_ms, data.silence.ends_ms) == (START_MS, START_MS + 5_400_000)


# -- what is shown to whom ---------------------------------------------------------------------------------------------


def decision(**more: object) -> Decision:
    return Decision.model_validate(
        {
            "specversion": "1.0",
            "id": "1",
            "source": "/credit",
            "subject": "client-8231",
            "data": {
                "model": {"name": "credit-limit", "version": "2"},
                "features": {"limit_bal": 20000, "Sex": "f", "note": "x" * 9000},
                "feature_attributions": {"limit_bal": 0.2, "sex": -0.4},
                "prompt": "say hello",
                "groups": {"sex": "f"},
                "output": {"label": "decline", "text": "no"},
                "action": {
                    "tool": "mail",
                    "arguments": {"to": "someone", "sex": "f", "about": [{"SEX": "f", "age": 4}]},
                },
                **more,
            },
        }
    )


PROTECTED = ("sex",)


@pytest.mark.parametrize("role", ["reviewer", "auditor", "admin", "author", "viewer"])
def test_nobody_sees_protected_attributes_of_a_single_case(role: str) -> None:
    shown = redact(decision(), Viewer("dana", "Dana", frozenset({role})), PROTECTED)  # type: ignore[arg-type]
    text = shown.decision.model_dump_json().lower()
    assert "sex" not in text
    assert shown.decision.data.groups is None
    assert any("protected" in one for one in shown.hidden)


def test_reviewers_see_values_bounded_and_viewers_none() -> None:
    reviewer = redact(decision(), Viewer("dana", "Dana", frozenset({"reviewer"})), PROTECTED).decision
    assert reviewer.data.features["limit_bal"] == 20000
    assert str(reviewer.data.features["note"]).endswith("… (5000 more characters)")
    assert reviewer.data.action is not None
    assert "'age': 4" in reviewer.data.action.arguments["about"]
    assert (reviewer.subject, reviewer.data.prompt) == ("client-8231", "say hello")
    viewer = redact(decision(), Viewer("vic", "Vic", frozenset({"viewer"})), PROTECTED).decision
    assert (viewer.subject, viewer.data.features, viewer.data.prompt) == (None, {}, None)
    assert viewer.data.output is not None
    assert (viewer.data.output.label, viewer.data.output.text) == ("decline", None)
    assert viewer.data.action is not None
    assert viewer.data.action.arguments == {}


def test_protected_names_are_those_that_models_declare() -> None:
    found = configuration().model_copy(
        update={
            "models": {"a": configuration().models["credit-limit"].model_copy(update={"groups": {"Sex": ("f", "m")}})}
        }
    )
    assert protected_names(found, "a") == {"sex"}
    assert protected_names(found, "unknown") == {"sex"}


def test_an_incident_is_there_for_its_teams_for_whom_it_asked_and_for_auditors() -> None:
    found = configuration()
    theirs = incident(team="fraud", told=["dana"])
    sees = {
        person: [
            viewer_of(found, person, "l", "c").sees_incident(one) for one in (incident(), theirs, incident(team=None))
        ]
        for person in ("dana", "raj", "audra", "vic")
    }
    assert sees == {
        "dana": [True, True, True],
        "raj": [False, True, True],
        "audra": [True, True, True],
        "vic": [True, False, True],
    }


# -- Slack -------------------------------------------------------------------------------------------------------------


REPLY = "https://hooks.slack.com/actions/T0/1/abc"


def pressed(
    user: str = "U0SAM", secret: bytes = b"shh", at: int = START_MS // 1000, reply: str = REPLY
) -> tuple[bytes, dict[str, str]]:
    """A press of "Acknowledge" as Slack posts it."""
    payload = {
        "type": "block_actions",
        "user": {"id": user},
        "response_url": reply,
        "actions": [{"action_id": "govern-acknowledge", "value": "7f29-k1mq", "action_ts": "1.2"}],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    signature = hmac.new(secret, f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return body, {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={signature}"}


async def test_a_press_in_slack_acknowledges_for_the_person_whose_id_it_is(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERN_SECRET_SLACK_SIGNING", "shh")
    async with served.browser() as slack:
        for _ in range(2):  # Slack repeats what was not answered in time: the same id, so it counts once
            body, headers = pressed()
            assert (await slack.post("/slack/interactive", content=body, headers=headers)).status_code == 200
    (first, data), (second, _) = served.lane.sent
    assert first == second
    assert (data.action, data.person, data.incident) == ("acknowledge", "sam", "7f29-k1mq")
    assert data.login is not None


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (pressed(secret=b"other"), 401),
        (pressed(at=START_MS // 1000 - 600), 401),
        (pressed(user="U0STRANGER"), 200),
    ],
    ids=["signed by another", "ten minutes old", "by nobody we know"],
)
async def test_other_presses_acknowledge_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch, made: tuple[bytes, dict[str, str]], status: int
) -> None:
    monkeypatch.setenv("GOVERN_SECRET_SLACK_SIGNING", "shh")
    async with served.browser() as slack:
        response = await slack.post("/slack/interactive", content=made[0], headers=made[1])
    assert (response.status_code, served.lane.sent) == (status, [])


@dataclass
class Hooks:
    """Stands for Slack's end of a response_url."""

    said: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def transport(self) -> httpx.MockTransport:
        def take(request: httpx.Request) -> httpx.Response:
            self.said.append((str(request.url), json.loads(request.content)))
            return httpx.Response(200, text="ok")

        return httpx.MockTransport(take)


async def press(served: Served, monkeypatch: pytest.MonkeyPatch, user: str = "U0SAM", reply: str = REPLY) -> int:
    monkeypatch.setenv("GOVERN_SECRET_SLACK_SIGNING", "shh")
    body, headers = pressed(user, reply=reply)
    async with served.browser() as slack:
        return (await slack.post("/slack/interactive", content=body, headers=headers)).status_code


async def test_whoever_presses_for_nothing_is_told_why_and_nobody_else_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Hooks()
    served = serve(tmp_path, outbound=hooks.transport())
    assert await press(served, monkeypatch) == 200
    assert hooks.said == [], "what counts needs no words"
    assert len(served.lane.sent) == 1
    assert await press(served, monkeypatch, "U0STRANGER") == 200
    served.parts.accounts.disable("sam")
    assert await press(served, monkeypatch) == 200
    served.parts.accounts.enable("sam")
    served.lane.ruled["7f29-k1mq"] = ("console/other", "dana")
    assert await press(served, monkeypatch) == 200
    assert [(url, one["response_type"], one["text"]) for url, one in hooks.said] == [
        (REPLY, "ephemeral", text)
        for text in (
            "This did not count: the configuration knows no person, or more than one, with your Slack id on this channel.",
            "This did not count: your account is disabled.",
            "This did not count: dana answered before you",
        )
    ]
    assert [data.person for _, data in served.lane.sent] == ["sam", "sam"], (
        "neither the stranger's nor the disabled one's"
    )


async def test_a_reply_goes_to_slack_alone_and_its_failure_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Hooks()
    served = serve(tmp_path, outbound=hooks.transport())
    for reply in ("https://evil.example/x", "https://hooks.slack.com.evil.example/", "http://hooks.slack.com/x"):
        assert await press(served, monkeypatch, "U0STRANGER", reply) == 200
    assert hooks.said == []

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away")

    console = serve(tmp_path / "other", outbound=httpx.MockTransport(away))
    assert await press(console, monkeypatch, "U0STRANGER") == 200
