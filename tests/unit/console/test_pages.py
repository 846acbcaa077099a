"""The pages through the whole application: each for every role, with data and without, and for whoever they are not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agents.policy.flags import dedup_key
from orchestration.console.live import Feed
from orchestration.console.pages.blind import models_of, offered
from orchestration.console.viewer import Viewer
from orchestration.reading.database import open_database
from orchestration.settings import Settings
from tests.unit.console.example import DRIFT, GAP, LATE, NOW, OTHER, PAST, PROMPTS, Night, night
from tests.unit.console.example import configuration as night_configuration
from tests.unit.console.markup import read, runs, words
from tests.unit.console.serve import PEOPLE
from tests.unit.console.served import PASSWORD, Served, serve, sign_in

PATHS = (
    "/", "/?whose=mine", "/?whose=done", "/?status=triggered&model=credit-limit&severity=error", f"/incidents/{GAP}",
    f"/incidents/{PAST}", f"/incidents/{DRIFT}", f"/incidents/{PROMPTS}", "/decisions/gim.decisions/0/18204",
    "/decisions/gim.decisions/0/200",
    "/models", "/live", "/policies", "/people", "/silences", "/evidence", "/stats", "/stats?days=7", "/blind", "/account",
    "/models/credit-limit/weeks/2026-W48", "/models/credit-limit/weeks/2026-W47", "/models/support-assistant/weeks/2026-W48",
)  # fmt: skip
URL = "http://localhost:8088"
LATE_RULE = "lending/approved-though-late"
HIDDEN_FROM = {GAP: {"ines", "otto"}, PROMPTS: {"ines", "vic", "otto"}, OTHER: {"ana", "wei", "ines", "vic"}}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    found = night(tmp_path_factory.mktemp("night"))
    yield found
    found.base.close()


@pytest.fixture(scope="module")
def console(told: Night, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("console")
    made = serve(
        folder, False, configuration=told.configuration, reading=told.base, records=told.content, feed=Feed(), accounts=False,
        clock=lambda: NOW,
    )  # fmt: skip
    for person in PEOPLE:
        made.parts.accounts.add(person, PASSWORD)
    return made


@pytest.fixture(scope="module")
def browsers(console: Served) -> dict[str, httpx.AsyncClient]:
    """Somebody of each kind, signed in."""

    async def all_of_them() -> dict[str, httpx.AsyncClient]:
        found = {}
        for person in PEOPLE:
            browser = console.browser(URL.replace("http:", "https:"))
            await sign_in(browser, person)
            found[person] = browser
        return found

    return asyncio.run(all_of_them())


def cookies(browser: httpx.AsyncClient) -> str:
    return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())


async def get(console: Served, browsers: dict[str, httpx.AsyncClient], person: str, path: str) -> httpx.Response:
    async with console.browser(URL) as browser:
        return await browser.get(path, headers={"cookie": cookies(browsers[person])})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("person", ["ana", "vic", "audra", "adam"])  # one of each role
async def test_each_page_is_whole_for_every_role(
    console: Served, browsers: dict[str, httpx.AsyncClient], person: str, path: str
) -> None:
    page = await get(console, browsers, person, path)
    assert page.status_code in (200, 404), page.text
    found = read(page.text)
    assert found.faults == []
    assert runs(found) == []
    assert sum(tag == "h1" for tag, _ in found.tags) == 1
    assert not re.search(r"\b(lane|e_value|observation)s?\b", words(found)), "words that stay inside"


async def test_a_page_number_beyond_all_reason_is_the_first(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    for number in ("0000000019999999999999999999", "9" * 30, "-1", "x", "0"):
        assert (await get(console, browsers, "audra", f"/?page={number}")).status_code == 200, number


@pytest.mark.parametrize("incident", sorted(HIDDEN_FROM))
@pytest.mark.parametrize("person", PEOPLE)
async def test_an_incident_is_there_for_its_teams_and_auditors_and_for_nobody_else(
    console: Served, browsers: dict[str, httpx.AsyncClient], person: str, incident: str
) -> None:
    page = await get(console, browsers, person, f"/incidents/{incident}")
    queue = await get(console, browsers, person, "/")
    hidden = person in HIDDEN_FROM[incident]
    assert page.status_code == (404 if hidden else 200)
    assert (f"/incidents/{incident}" in queue.text) is not hidden


async def test_decisions_of_other_teams_incidents_are_not_there(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    for path in ("/decisions/gim.decisions/0/18204", f"/decisions/gim.decisions/0/18204?incident={PROMPTS}"):
        assert (await get(console, browsers, "otto", path)).status_code == 404
        assert (await get(console, browsers, "ana", path)).status_code == 200
    for path in ("/decisions/gim.decisions/0/1", "/decisions/gim.decisions/0/x", "/incidents/7f29", "/incidents/none"):
        assert (await get(console, browsers, "ana", path)).status_code == 404


async def test_a_decision_that_many_incidents_hold_is_shown_for_the_one_that_it_was_opened_from(
    console: Served, browsers: dict[str, httpx.AsyncClient], told: Night
) -> None:
    """Five strangers' incidents and five older ones of the viewer's teams hold it too."""
    many = {f"m{number}ny-{team[:4]}": team for number in range(6) for team in ("payments", "lending")}
    for name, team in many.items():
        told.world.incident(
            name, NOW, title=f"{team} {name}", cause=LATE_RULE, keys=[dedup_key(LATE_RULE, "credit-limit", "2.1.0")],
            team=team, through={"gim.decisions/0": 3_100}, opened_ms=NOW, held=38,
        )  # fmt: skip
    told.fold()
    path = "/decisions/gim.decisions/0/3000"
    for name in (one for one, team in many.items() if team == "lending"):
        page = (await get(console, browsers, "ines", f"{path}?incident={name}")).text
        assert f'action="/incidents/{name}/answer"' in page
        assert "payments m" not in page
    for name in (one for one, team in many.items() if team == "payments"):
        assert (
            f'action="/incidents/{name}/answer"'
            in (await get(console, browsers, "otto", f"{path}?incident={name}")).text
        )


async def test_figures_and_causes_of_other_teams_stand_on_nobodys_page(
    console: Served, browsers: dict[str, httpx.AsyncClient], told: Night
) -> None:
    for team in ("payments", "lending"):
        told.world.incident(
            f"f1gs-{team[:4]}", NOW, status="acknowledged", title="x", cause=f"{team}/of-its-own", keys=[], held=0,
            effect="log", team=team, through={}, opened_ms=NOW, acknowledged_ms=NOW, acknowledged_by="otto",
        )  # fmt: skip
    told.fold()
    for person, sees in (("ines", ["lending"]), ("otto", ["payments"]), ("audra", ["lending", "payments"])):
        stats = words(read((await get(console, browsers, person, "/stats")).text))
        silences = (await get(console, browsers, person, "/silences")).text
        for team in ("payments", "lending"):
            assert (f" {team} " in stats) is (team in sees)
            assert (f"{team}/of-its-own" in silences) is (team in sees and person != "audra")


async def test_held_decisions_are_read_one_after_the_other(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    async def following(offset: int) -> str:
        page = read(
            (await get(console, browsers, "ana", f"/decisions/gim.decisions/0/{offset}?incident={PROMPTS}")).text
        )
        return next(one["href"] for tag, one in page.tags if tag == "a" and one.get("rel") == "next")

    assert await following(900) == f"/decisions/gim.decisions/0/901?incident={PROMPTS}"
    assert await following(908) == f"/decisions/gim.decisions/0/900?incident={PROMPTS}"


async def test_another_teams_title_stands_nowhere_on_a_page(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    """The triage names it as similar; who may not open it does not read its title either."""
    for title in ("a title of another team", "a title that nobody knows the team of"):
        assert title not in (await get(console, browsers, "ana", f"/incidents/{GAP}")).text
        assert title in (await get(console, browsers, "audra", f"/incidents/{GAP}")).text


@pytest.mark.parametrize("person", PEOPLE)
async def test_nobody_sees_a_protected_attribute_with_a_single_decision(
    console: Served, browsers: dict[str, httpx.AsyncClient], person: str
) -> None:
    page = await get(console, browsers, person, "/decisions/gim.decisions/0/18204")
    assert "female" not in page.text
    assert "under 26" not in page.text


async def test_values_are_for_reviewers_and_auditors(console: Served, browsers: dict[str, httpx.AsyncClient]) -> None:
    for person, sees in (("ana", True), ("audra", True), ("vic", False), ("adam", False)):
        page = words(read((await get(console, browsers, person, "/decisions/gim.decisions/0/18204")).text))
        assert ("limit_bal" in page) is sees
        assert ("client-18204" in page) is sees
        assert ("features, texts and whom it is about: reviewers and auditors see them" in page) is not sees


async def test_reasons_show_a_decisions_values_to_those_alone_who_see_values(
    console: Served, browsers: dict[str, httpx.AsyncClient], told: Night
) -> None:
    told.world.incident(
        "rea5-ons1", NOW, title="Late payers", cause=LATE_RULE, keys=[dedup_key(LATE_RULE, "credit-limit", "2.1.0")],
        team="lending", through={"gim.decisions/0": 3_100}, opened_ms=NOW, held=38,
        reason="approved, though the client is 4 months late",
    )  # fmt: skip
    told.fold()
    for person, sees in (("ines", True), ("audra", True), ("adam", False)):
        for path in ("/incidents/rea5-ons1", "/decisions/gim.decisions/0/3000?incident=rea5-ons1"):
            page = words(read((await get(console, browsers, person, path)).text))
            assert ("4 months late" in page) is sees
            assert ("{features.pay_0} months late" in page) is not sees
        found = await get(console, browsers, person, "/?text=4+months+late")
        assert ("/incidents/rea5-ons1" in found.text) is sees, "a search must not tell what may not be read"
        assert (
            "limit_bal: 0.31 against the profile" in (await get(console, browsers, "adam", f"/incidents/{DRIFT}")).text
        ), "what a monitor says is of many decisions"


async def test_the_blind_sample_is_of_models_that_the_viewers_teams_answer_for_and_says_nothing_of_whom(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    for person in ("ana", "ines"):
        page = await get(console, browsers, person, "/blind")
        assert "A decision of credit-limit 2.2.0" in page.text
        assert "limit_bal" in page.text
        assert "client-of-the-sample" not in page.text
    otto = await get(console, browsers, "otto", "/blind")
    assert "There is none to judge" in otto.text
    assert "limit_bal" not in otto.text


def test_models_come_to_a_team_by_rules_routes_and_by_default() -> None:
    def models(team: str, **escalation: object) -> set[str]:
        found = night_configuration(**escalation)
        seen = models_of(found, Viewer("p", roles=frozenset({"reviewer"}), teams=frozenset({team})))
        return set(seen if seen is not None else ["all"])

    assert "support-assistant" in models("security"), "a rule names the team"
    assert models("payments") == set()
    assert models("payments", default_team="payments") >= {"credit-limit", "support-assistant"}
    assert models("payments", routes=[{"model": "credit-limit", "to": "payments"}]) == {"credit-limit"}
    assert models("security", routes=[{"to": "payments"}]) == set(), "every incident goes elsewhere"
    auditor = Viewer("p", roles=frozenset({"auditor"}), everywhere=True)
    assert models_of(night_configuration(), auditor) is None


def test_a_judgement_that_was_refused_is_asked_for_again(tmp_path: Path) -> None:
    found = night(tmp_path)
    first = offered(found.base, "ana", 0.05)[0]
    said = {"decision": first.model_dump(), "agrees": True, "kind": "individual"}
    review = found.world.review("label", None, "ana", NOW, **said)
    found.fold()
    assert first not in offered(found.base, "ana", 0.05)
    found.world.refusal(review, "wrong-role", None, NOW)
    found.fold()
    assert offered(found.base, "ana", 0.05)[0] == first
    found.base.close()


async def test_a_blind_judgement_that_could_not_be_sent_keeps_what_was_typed(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    page = read((await get(console, browsers, "ines", "/blind")).text)
    kept = {one["name"]: one["value"] for tag, one in page.tags if tag == "input" and one.get("type") == "hidden"}
    form = {"csrf": kept["csrf"], "ticket": kept["ticket"], "agrees": "yes", "reason": "half a <thought>"}
    console.lane.down = True
    async with console.browser(URL) as browser:
        sent = await browser.post("/label", data=form, headers={"cookie": cookies(browsers["ines"])})
    console.lane.down = False
    again = await get(console, browsers, "ines", sent.headers["location"])
    assert "Your answer could not be sent" in again.text
    assert ">half a &lt;thought&gt;</textarea>" in again.text


async def test_who_was_asked_by_the_chain_sees_it_in_the_queue_whatever_the_team(
    console: Served, browsers: dict[str, httpx.AsyncClient], told: Night
) -> None:
    told.world.incident(
        "a5ke-d000", NOW, title="Otto was asked", cause="x/y", keys=[], effect="log", held=0, team="lending", through={},
        opened_ms=NOW, **{"with": ["otto"]},
    )  # fmt: skip
    told.fold()
    for path in ("/", "/?whose=mine", "/?text=otto+asked"):
        assert "Otto was asked" in (await get(console, browsers, "otto", path)).text
    assert "Otto was asked" not in (await get(console, browsers, "vic", "/")).text
    assert (await get(console, browsers, "otto", "/incidents/a5ke-d000")).status_code == 200


async def test_buttons_say_the_consequence_in_the_models_own_words(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    gap = words(read((await get(console, browsers, "ana", f"/incidents/{GAP}")).text))
    assert (
        "Let the decline go out 412 held decisions are released as they are: the client does not get the limit" in gap
    )
    assert "Withhold: a loan officer decides 412 held decisions are withheld, with your reason" in gap
    prompts = words(read((await get(console, browsers, "ana", f"/incidents/{PROMPTS}")).text))
    assert "Let them go out 9 held decisions are released as they are" in prompts
    assert "Withhold them" in prompts


async def test_an_answer_to_many_shows_the_random_sample_and_marks_what_was_opened(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    page = read((await get(console, browsers, "wei", f"/incidents/{GAP}")).text)
    assert "5 of a random sample opened. You have opened 0." in words(page)
    links = [one["href"] for tag, one in page.tags if tag == "a" and f"incident={GAP}" in one.get("href", "")]
    sample = next(link for link in links if "/18225?" in link)
    assert (await get(console, browsers, "wei", sample)).status_code == 200
    again = words(read((await get(console, browsers, "wei", f"/incidents/{GAP}")).text))
    assert "You have opened 1." in again
    assert "waits; you opened it" in again


async def test_who_has_answered_groups_of_it_before_is_told_that_they_count_together(
    console: Served, browsers: dict[str, httpx.AsyncClient], told: Night
) -> None:
    known = told.incidents[PROMPTS].model_dump(mode="json", by_alias=True, exclude={"incident", "revision"})
    sample = [{"topic": told.world.name("decisions"), "partition": 0, "offset": one} for one in range(900, 909)]
    told.world.incident(PROMPTS, NOW, 1, **{**known, "in_groups": {"wei": 95}, "sample": sample})
    told.fold()
    hers = words(read((await get(console, browsers, "ana", f"/incidents/{PROMPTS}")).text))
    assert "in groups" not in hers
    assert "Let them go out 9 held decisions" in hers
    his = words(read((await get(console, browsers, "wei", f"/incidents/{PROMPTS}")).text))
    assert (
        "You have ruled 95 of this incident's decisions in groups; with these 9 that is above 100. So one answer to these, "
        "unless you open each of them, needs a second person, and 5 of a random sample opened. You have opened 0."
    ) in his
    assert (
        "Two people with the role reviewer must agree before decisions go out; that holds for withholding, too." in his
    )


async def test_who_cannot_answer_is_told_why_and_gets_no_form(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    for person, why in (("vic", "needs the role reviewer; you have: viewer"), ("audra", "you have: auditor")):
        page = read((await get(console, browsers, person, f"/incidents/{GAP}")).text)
        assert why in words(page)
        assert not [one for tag, one in page.tags if tag == "form" and one.get("action", "").endswith("/answer")]
    resolved = read((await get(console, browsers, "ana", f"/incidents/{PAST}")).text)
    assert "Withheld by you at 16 Nov 2026, 03:14:00 UTC; reviewed one by one, 61 decisions opened." in words(resolved)
    assert not [one for tag, one in resolved.tags if tag == "form" and one.get("action", "").endswith("/answer")]


async def test_a_refresh_of_the_page_takes_no_ticket_of_the_form_away(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    async with console.browser(URL) as browser:
        headers = {"cookie": cookies(browsers["ana"]), "x-live": "1"}
        page = await browser.get(f"/incidents/{LATE}", headers=headers)
    assert page.status_code == 200
    assert 'name="ticket"' not in page.text


async def test_what_was_typed_into_an_incomplete_form_is_still_there(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    page = read((await get(console, browsers, "wei", f"/incidents/{PROMPTS}")).text)
    kept = {one["name"]: one["value"] for tag, one in page.tags if tag == "input" and one.get("type") == "hidden"}
    form = {"csrf": kept["csrf"], "ticket": kept["ticket"], "action": "respond", "reason": "a <b>half</b> thought"}
    async with console.browser(URL) as browser:
        headers = {"cookie": cookies(browsers["wei"])}
        sent = await browser.post(f"/incidents/{PROMPTS}/answer", data=form, headers=headers)
        again = await browser.get(sent.headers["location"], headers=headers)
    assert "Write the question that goes back. Back to the form" in words(read(again.text))
    assert ">a &lt;b&gt;half&lt;/b&gt; thought</textarea>" in again.text


async def test_colours_are_kept_by_a_form_without_a_script(
    console: Served, browsers: dict[str, httpx.AsyncClient]
) -> None:
    page = await get(console, browsers, "ana", "/models")
    token = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert token is not None
    assert " data-theme=" not in page.text
    async with console.browser(URL) as browser:
        headers = {"cookie": cookies(browsers["ana"])}
        form = {"csrf": token[1], "theme": "dark", "back": "/models"}
        sent = await browser.post("/theme", data=form, headers=headers)
        assert (sent.status_code, sent.headers["location"]) == (303, "/models")
        assert sent.headers["set-cookie"].startswith("theme=dark;")
        elsewhere = await browser.post("/theme", data={**form, "back": "//evil.example"}, headers=headers)
        assert elsewhere.headers["location"] == "/"
        dark = await browser.get("/models", headers={"cookie": headers["cookie"] + "; theme=dark"})
        odd = await browser.get("/models", headers={"cookie": headers["cookie"] + '; theme="><script>'})
    assert '<html lang="en" data-theme="dark">' in dark.text
    assert "data-theme" not in odd.text
    assert "<script>" not in odd.text


@pytest.mark.parametrize("path", ["/", "/models", "/live", "/policies", "/people", "/silences", "/evidence", "/stats"])
async def test_pages_without_data_say_what_that_means(tmp_path: Path, path: str) -> None:
    base = open_database(Settings(_env_file=None, data_dir=tmp_path))  # type: ignore[call-arg]
    base.prepare({})
    console = serve(tmp_path, False, configuration=lambda: None, reading=base, accounts=False)
    async with console.browser(URL, "127.0.0.1") as browser:
        page = await browser.get(path)
    assert page.status_code == 200, page.text
    found = read(page.text)
    assert found.faults == []
    assert "Read-only." in words(found), "without an account the console says that it is read-only, and why"
    said = {
        "/": "No decision was judged yet, so this quiet says nothing",
        "/models": "No models yet",
        "/live": "Nothing flows",
        "/policies": "No rules yet",
        "/people": "Nobody is declared yet",
        "/silences": "Nothing is muted.",
        "/evidence": "No log has been signed yet.",
        "/stats": "Nothing to count yet.",
    }
    assert said[path] in words(found)
    base.close()


async def test_without_a_read_model_pages_say_so(tmp_path: Path) -> None:
    console = serve(tmp_path, False, accounts=False)
    async with console.browser(URL, "127.0.0.1") as browser:
        page = await browser.get("/")
    assert page.status_code == 503
    assert "The read model is not there yet" in page.text
