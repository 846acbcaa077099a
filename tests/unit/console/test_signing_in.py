"""Signing in: sessions, cookies, passwords, lock-out, and what the configuration in force makes of a person."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from agents.errors import Misconfigured
from orchestration.console.accounts import Accounts, weakness
from orchestration.console.database import Database, attempts, open_database
from orchestration.console.sessions import IDLE_MS, LONGEST_MS, Sessions
from orchestration.console.tickets import About, Tickets
from orchestration.settings import Settings
from tests.postgres_cluster import postgres
from tests.unit.console.served import HOST, PASSWORD, QUICK, URL, configuration, serve, sign_in, signed_in, token_of


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    prefix = f"t{secrets.token_hex(4)}"
    found = open_database(Settings(_env_file=None, prefix=prefix, data_dir=tmp_path, accounts=url))
    yield found
    found.engine.dispose()


async def test_a_person_signs_in_and_the_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    async with serve(tmp_path).browser() as browser:
        response = await sign_in(browser, "dana")
        (cookie,) = [one for one in response.headers.get_list("set-cookie") if one.startswith("__Host-govern=")]
        assert {part.strip() for part in cookie.split(";")[1:]} == {
            "Max-Age=43200", "Path=/", "Secure", "HttpOnly", "SameSite=Lax",
        }  # fmt: skip
        assert "hello Dana Duarte" in (await browser.get("/")).text


@pytest.mark.parametrize("typed", ["dana", " Dana ", "dana@bank.example", "Dana@Bank.Example"])
async def test_a_person_may_type_the_name_or_the_address(tmp_path: Path, typed: str) -> None:
    async with serve(tmp_path).browser() as browser:
        assert (await sign_in(browser, typed)).status_code == 303


async def test_whoever_is_not_signed_in_is_sent_to_the_form_and_back(tmp_path: Path) -> None:
    async with serve(tmp_path).browser() as browser:
        sent = await browser.get("/incidents/7f29-k1mq?link=abc")
        assert sent.headers["location"] == "/sign-in?next=/incidents/7f29-k1mq%3Flink%3Dabc"
        back = await sign_in(browser, "dana", next="/incidents/7f29-k1mq?link=abc")
        assert back.headers["location"] == "/incidents/7f29-k1mq?link=abc"


@pytest.mark.parametrize(
    ("seconds", "status"), [(29 * 60, 200), (31 * 60, 303)], ids=["within half an hour", "after half an hour"]
)
async def test_a_session_ends_when_nobody_uses_it(tmp_path: Path, seconds: float, status: int) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        served.later(seconds)
        assert (await browser.get("/")).status_code == status


async def test_a_page_that_refreshes_itself_keeps_nobody_signed_in(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        for _ in range(30):
            assert (await browser.get("/", headers={"x-live": "1"})).status_code == 200
            served.later(60)
        served.later(1)
        assert (await browser.get("/", headers={"x-live": "1"})).status_code == 303


async def test_a_session_ends_after_twelve_hours_however_busy_it_is(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        for _ in range(26):
            served.later(27 * 60)
            assert (await browser.get("/")).status_code == 200
        served.later(27 * 60)
        assert (await browser.get("/")).status_code == 303


async def test_signing_out_ends_the_session_on_the_server(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        cookie = dict(browser.cookies)["__Host-govern"]
        token = served.parts.sessions.find(cookie).csrf  # type: ignore[union-attr]
        assert (await browser.post("/sign-out", data={"csrf": token})).headers["location"] == "/sign-in"
        assert served.parts.sessions.find(cookie) is None
        assert (await browser.get("/", headers={"cookie": f"__Host-govern={cookie}"})).status_code == 303


async def test_a_lost_phone_is_signed_out_from_elsewhere(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as phone, signed_in(served, "dana") as desk, signed_in(served, "raj") as other:
        page = await desk.get("/account")
        assert "in 1 other browser" in page.text
        gone = await desk.post("/sign-out/everywhere", data={"csrf": token_of(page)})
        assert gone.headers["location"] == "/sign-in"
        assert [(await browser.get("/")).status_code for browser in (phone, desk, other)] == [303, 303, 200]


async def test_signing_in_again_ends_the_session_that_the_browser_had(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        before = browser.cookies["__Host-govern"]
        token = served.parts.sessions.find(before).csrf  # type: ignore[union-attr]
        fields = {"csrf": token, "person": "raj", "password": PASSWORD, "next": "/"}
        assert (await browser.post("/sign-in", data=fields)).status_code == 303
        assert "hello Raj Rao" in (await browser.get("/")).text
        assert served.parts.sessions.find(before) is None


async def test_another_password_ends_every_other_session(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as one, signed_in(served, "dana") as other:
        token = served.parts.sessions.find(one.cookies["__Host-govern"]).csrf  # type: ignore[union-attr]
        new = "another four quiet words"
        fields = {"csrf": token, "old": PASSWORD, "new": new, "again": new}
        changed = await one.post("/account", data=fields)
        assert changed.headers["location"] == "/account?changed=1"
        assert (await one.get("/")).status_code == 200
        assert (await other.get("/")).status_code == 303
        async with served.browser() as third:
            assert (await sign_in(third, "dana")).status_code == 401
            assert (await sign_in(third, "dana", new)).status_code == 303


async def test_somebody_elses_failures_keep_nobody_from_changing_the_password(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as known, served.browser(address="198.51.100.9") as other:
        for number in range(6):
            await sign_in(other, "dana", f"guess {number}")
        new = "another four quiet words"
        fields = {"csrf": token_of(await known.get("/account")), "new": new, "again": new}
        wrong = await known.post("/account", data={**fields, "old": "not this one"})
        assert (wrong.status_code, "The present password is wrong." in wrong.text) == (403, True)
        changed = await known.post("/account", data={**fields, "old": PASSWORD})
        assert changed.headers["location"] == "/account?changed=1"
        fields["csrf"] = token_of(await known.get("/account"))
        for number in range(5):
            await known.post("/account", data={**fields, "old": f"guess {number}"})
        locked = await known.post("/account", data={**fields, "old": new})
        assert (locked.status_code, "There were too many tries: wait 30 s" in locked.text) == (429, True)


async def test_disabling_an_account_ends_its_sessions_at_once(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as browser:
        assert served.parts.accounts.disable("dana") == 1
        assert (await browser.get("/")).status_code == 303
        assert (await sign_in(browser, "dana")).status_code == 401
        served.parts.accounts.enable("dana")
        assert (await sign_in(browser, "dana")).status_code == 303


async def test_roles_and_teams_are_those_of_the_configuration_in_force(tmp_path: Path) -> None:
    now = [configuration()]
    served = serve(tmp_path, configuration=lambda: now[0])
    async with signed_in(served, "dana") as browser:
        assert (await browser.get("/incidents/7f29-k1mq")).status_code == 200
        now[0] = configuration(teams={"credit": {"members": ["sam"]}, "fraud": {"members": ["dana"]}})
        assert (await browser.get("/incidents/7f29-k1mq")).status_code == 404
        assert (await browser.get("/incidents/0000-raj1")).status_code == 200
        now[0] = configuration(people={"sam": {"name": "Sam"}}, teams={"credit": {"members": ["sam"]}})
        gone = await browser.get("/")
        assert gone.status_code == 403
        assert "declares nobody called dana: add escalation.people.dana" in gone.text


async def test_a_console_without_accounts_shows_and_says_why_it_takes_no_answer(tmp_path: Path) -> None:
    served = serve(tmp_path, accounts=False)
    async with served.browser("http://127.0.0.1:8088", "127.0.0.1") as browser:
        page = await browser.get("/")
        assert page.status_code == 200
        assert "govern user add PERSON" in page.text
        assert (await browser.get("/incidents/7f29-k1mq")).status_code == 200
        token = await browser.get("/incidents/7f29-k1mq")
        refused = await browser.post(
            "/incidents/7f29-k1mq/answer", data={"csrf": token.text.split("<i>")[1].split("<")[0]}
        )
        assert refused.status_code in (401, 403)
        assert served.lane.sent == []
    async with served.browser(address="203.0.113.7") as stranger:
        assert (await stranger.get("/")).status_code == 403
    served.parts.accounts.add("dana", PASSWORD)
    async with served.browser("http://127.0.0.1:8088", "127.0.0.1") as browser:
        assert (await browser.get("/")).headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (URL, ""),
        *(
            ("http://127.0.0.1:8088", name)
            for name in ("via", "forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
        ),
    ],
)
async def test_a_proxy_on_this_machine_publishes_no_console_that_has_no_account(
    tmp_path: Path, url: str, name: str
) -> None:
    async with serve(tmp_path, accounts=False).browser(url, "127.0.0.1") as browser:
        refused = await browser.get("/incidents/7f29-k1mq", headers={name: "198.51.100.7"} if name else {})
        assert (refused.status_code, "answers to its own machine only" in refused.text) == (403, True)


async def test_a_console_whose_key_nobody_knows_prints_the_lines_that_make_it_known(tmp_path: Path) -> None:
    served = serve(tmp_path, configuration=configuration(console_keys={}))
    async with signed_in(served, "dana") as browser:
        text = (await browser.get("/")).text
        assert f"console: {served.parts.key.public.text}" in text.replace("&#43;", "+")  # type: ignore[union-attr]


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_waiting_grows_with_each_failure_and_ends(database: Database) -> None:
    now = [0]
    accounts = Accounts(database, lambda: now[0], QUICK)
    accounts.add("dana", PASSWORD)
    waits = []
    for _ in range(10):
        accounts.check("dana", "wrong", "a")
        locked = accounts.every()[0].locked_until_ms
        waits.append((locked - now[0]) // 1000 if locked else 0)
        if locked:
            assert accounts.check("dana", PASSWORD, "b").person is None, "locked, even with the right password"
            now[0] = locked
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 900]
    assert accounts.check("dana", PASSWORD, "b").person == "dana"
    assert accounts.every()[0].locked_until_ms == 0


async def test_whoever_fails_on_purpose_keeps_nobody_out_of_a_browser_they_know(tmp_path: Path) -> None:
    served = serve(tmp_path)
    async with signed_in(served, "dana") as known, served.browser(address="198.51.100.9") as other:
        token = served.parts.sessions.find(known.cookies["__Host-govern"]).csrf  # type: ignore[union-attr]
        await known.post("/sign-out", data={"csrf": token})
        for number in range(6):
            await sign_in(other, "dana", f"guess {number}")
        assert (await sign_in(other, "dana")).status_code == 401, "locked for strangers"
        assert (await sign_in(known, "raj", "wrong")).status_code == 401
        assert (await sign_in(known, "dana")).status_code == 303
        other.cookies.set("__Host-govern-known", known.cookies["__Host-govern-known"], domain=HOST)
        for number in range(5):
            await sign_in(other, "dana", f"guess {number}")
        assert (await sign_in(other, "dana")).status_code == 401, "a known browser has no more tries than others"


def test_an_address_that_guesses_at_many_names_is_kept_waiting(database: Database) -> None:
    accounts = Accounts(database, lambda: 0, QUICK)
    accounts.add("dana", PASSWORD)
    for number in range(20):
        assert accounts.check(f"name{number}", "guess", "203.0.113.9").wait_s == 0
    assert accounts.check("dana", PASSWORD, "203.0.113.9").wait_s == 30
    assert accounts.check("dana", PASSWORD, "203.0.113.10").person == "dana"


def test_an_unknown_name_a_disabled_account_and_a_wrong_password_take_the_same_time(database: Database) -> None:
    accounts = Accounts(database, lambda: 0, PasswordHasher(time_cost=2, memory_cost=8192, parallelism=1))
    for person in ("dana", "gone"):
        accounts.add(person, PASSWORD)
    accounts.disable("gone")
    took: dict[str, list[float]] = {"dana": [], "gone": [], "nobody": []}
    for number in range(4):
        for person, times in took.items():
            began = time.perf_counter()
            accounts.check(person, f"wrong {number}", f"{person}{number}")
            times.append(time.perf_counter() - began)
    least = {person: min(times) for person, times in took.items()}
    assert max(least.values()) < 2.5 * min(least.values()), least
    assert statistics.median(took["nobody"]) > 0.002, "a hash was computed for a name that does not exist"


def test_tries_at_the_same_time_are_as_many_as_one_after_the_other(database: Database) -> None:
    accounts = Accounts(database, lambda: 0, QUICK)
    accounts.add("dana", PASSWORD)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: accounts.check("dana", f"guess {number}", "a"), range(16)))
    with database.reading() as connection:
        counted = {row.subject: row.failures for row in connection.execute(select(attempts))}
    assert sorted(counted.values()) == [5, 16], "the account was locked by the fifth, the address counts them all"
    assert accounts.check("dana", PASSWORD, "b").person is None


def test_a_ticket_is_claimed_once_by_however_many_at_the_same_time(database: Database) -> None:
    tickets = Tickets(database, lambda: 0)
    value = tickets.issue("s", About(incident="i"))
    ticket = tickets.find("s", value)
    assert ticket is not None
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: tickets.claim(ticket, {}), range(8)))
    assert sum(claimed) == 1
    assert tickets.find("other", value) is None


def test_several_deployments_in_one_database_know_nothing_of_each_other(postgres_url: str, tmp_path: Path) -> None:
    made = [
        open_database(Settings(_env_file=None, prefix=prefix, data_dir=tmp_path, accounts=postgres_url))
        for prefix in ("bank-a", "bank-b")
    ]
    Accounts(made[0], lambda: 0, QUICK).add("dana", PASSWORD)
    assert not Accounts(made[1], lambda: 0, QUICK).exist()
    assert made[0].secret("forms") != made[1].secret("forms")
    for one in made:
        one.engine.dispose()


def test_a_database_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    away = Settings(_env_file=None, data_dir=tmp_path, accounts="postgresql+pg8000://u:secret@127.0.0.1:1/x")
    with pytest.raises(Misconfigured, match="cannot use the database of accounts") as told:
        open_database(away)
    assert "secret" not in str(told.value)
    with pytest.raises(Misconfigured, match="GOVERN_ACCOUNTS is no database URL"):
        open_database(Settings(_env_file=None, data_dir=tmp_path, accounts="nonsense"))


def test_what_is_stored_is_argon2id_and_no_session_id(tmp_path: Path) -> None:
    database = open_database(Settings(_env_file=None, data_dir=tmp_path))
    Accounts(database, lambda: 0).add("dana", PASSWORD)
    value, _ = Sessions(database, lambda: 0).start("dana", "password")
    path = Path(str(database.engine.url.database))
    stored = b"".join(one.read_bytes() for one in path.parent.iterdir())
    assert b"$argon2id$v=19$m=65536,t=3,p=4$" in stored
    assert PASSWORD.encode() not in stored
    assert value.encode() not in stored
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "passwordpassword",
        "Password2026!!",
        "aaaaaaaaaaaaaaa",
        "dana dana 2026",
        "qwertyuiopas",
        "abcdefghijklm",
        "x" * 300,
    ],
)
def test_weak_passwords_are_refused_in_words(database: Database, password: str) -> None:
    with pytest.raises(Misconfigured, match="this password will not do"):
        Accounts(database, lambda: 0, QUICK).add("dana", password)


@pytest.mark.parametrize(
    "password", [PASSWORD, "correct horse battery", "password-manager made me 7&kQ", "密码很长但是不好猜的一句话"]
)
def test_good_passwords_pass(password: str) -> None:
    assert weakness(password, "dana") is None


def test_a_session_of_an_account_that_is_gone_is_none(database: Database) -> None:
    now = [0]
    sessions = Sessions(database, lambda: now[0])
    value, session = sessions.start("nobody", "password")
    assert sessions.find(value) is None
    value, session = sessions.start("nobody", "oidc")
    assert sessions.find(value) == session
    now[0] = IDLE_MS + 1
    assert sessions.find(value) is None
    database.sweep(now[0] + LONGEST_MS, now[0])
    assert sessions.end_all("nobody") == 0
