"""Lanes on workers: spread evenly, left where they run, never on two; laws over random fleets."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.planning import RETRY_S, SETTLED_S, Plan, Wait, WorkerView, assign, plan, wait_after
from orchestration.work import LaneName
from orchestration.worker import LaneReport

STATES = ("starting", "waiting", "running", "retrying", "stopping", "stuck", "failed", "fenced", "stopped")


def lane(number: int, agent: str = "policy") -> LaneName:
    return LaneName("gim", agent, "gim.decisions", number)


def view(
    name: str, *lanes: LaneName, condition: str = "alive", since_s: float = 60.0, state: str = "running"
) -> WorkerView:
    reports = {str(one): LaneReport(str(one), state, started_at=1.0) for one in lanes}
    return WorkerView(name, condition, since_s, reports)  # type: ignore[arg-type]


LANES = st.lists(st.tuples(st.sampled_from(["policy", "audit", "archive"]), st.integers(0, 30)), unique=True).map(
    lambda pairs: [f"{agent}/gim.decisions/{number}" for agent, number in pairs]
)
WORKERS = st.lists(st.integers(0, 20).map("w{}".format), min_size=1, max_size=6, unique=True)


@given(lanes=LANES, workers=WORKERS, data=st.data())
def test_each_agents_lanes_are_spread_evenly_whoever_ran_them(
    lanes: list[str], workers: list[str], data: st.DataObject
) -> None:
    owner = st.lists(st.sampled_from([*workers, "gone"]), max_size=2)
    owners = {one: data.draw(owner) for one in lanes}

    found = assign(lanes, workers, owners)

    assert set(found) == set(lanes)
    for agent in {one.partition("/")[0] for one in lanes}:
        counts = Counter(worker for one, worker in found.items() if one.startswith(agent))
        numbers = [counts[worker] for worker in workers]
        assert max(numbers) - min(numbers) <= 1


@given(lanes=LANES, workers=WORKERS)
def test_what_is_even_stays_as_it_is(lanes: list[str], workers: list[str]) -> None:
    first = assign(lanes, workers, {})
    assert assign(lanes, workers, {one: [worker] for one, worker in first.items()}) == first


@given(lanes=LANES, workers=WORKERS)
def test_when_one_worker_dies_the_others_lanes_stay(lanes: list[str], workers: list[str]) -> None:
    first = assign(lanes, workers, {})
    left = workers[1:]
    if left:
        again = assign(lanes, left, {one: [worker] for one, worker in first.items()})
        stayed = [one for one, worker in first.items() if worker in left]
        assert all(again[one] == first[one] for one in stayed)


@st.composite
def fleets(draw: st.DrawFn) -> list[WorkerView]:
    conditions = st.sampled_from(["alive", "alive", "silent", "unheard", "pending", "dead"])
    found = []
    for name in ("w0", "w1", "w2"):
        condition = draw(conditions)
        lanes = {}
        if condition in ("alive", "silent"):
            for number in draw(st.sets(st.integers(0, 5))):
                one = str(lane(number))
                lanes[one] = LaneReport(one, draw(st.sampled_from(STATES)), started_at=draw(st.floats(0, 9)))
        found.append(WorkerView(name, condition, draw(st.floats(0, 100)), lanes))
    return found


@given(workers=fleets(), busy=st.sets(st.integers(0, 5).map(lambda number: str(lane(number)))))
def test_no_lane_is_started_while_anybody_may_run_it(workers: list[WorkerView], busy: set[str]) -> None:
    found = plan([lane(number) for number in range(4)], workers, busy=busy)

    alive = {worker.name for worker in workers if worker.condition == "alive"}
    for name, worker in found.starts:
        assert worker in alive
        assert str(name) not in busy
        assert not any(str(name) in one.lanes and one.lanes[str(name)].active for one in workers)
        assert not any(one.condition == "unheard" for one in workers)
    assert len({str(name) for name, _ in found.starts}) == len(found.starts)
    assert not {one for one, _ in found.stops} & busy
    assert all(worker in alive for _, worker in found.stops)


@given(workers=fleets())
def test_of_two_that_run_a_lane_one_is_left(workers: list[WorkerView]) -> None:
    found = plan([lane(number) for number in range(4)], workers)
    for number in range(4):
        one = str(lane(number))
        runs = {worker.name for worker in workers if one in worker.lanes and worker.lanes[one].active}
        stops = {worker for name, worker in found.stops if name == one}
        if len(runs) > 1:
            assert runs - stops


def test_a_dead_workers_lanes_go_to_the_others_at_once() -> None:
    workers = [view("w0", lane(0), lane(2)), view("w1", condition="dead", since_s=0.0)]
    assert plan([lane(0), lane(1), lane(2), lane(3)], workers).starts == ((lane(1), "w0"), (lane(3), "w0"))


def test_a_silent_workers_lanes_stay_its_own() -> None:
    workers = [view("w0", lane(0)), view("w1", lane(1), condition="silent")]
    assert plan([lane(0), lane(1)], workers) == Plan()


def test_nothing_is_done_before_every_worker_has_said_what_it_runs() -> None:
    workers = [view("w0", lane(5)), view("w1", condition="unheard")]
    assert plan([lane(0)], workers) == Plan()


@pytest.mark.parametrize(("since_s", "starts"), [(1.0, 0), (30.0, 2)])
def test_a_first_start_waits_a_while_for_all_workers(since_s: float, starts: int) -> None:
    workers = [view("w0"), view("w1", condition="pending", since_s=since_s)]
    assert len(plan([lane(0), lane(1)], workers).starts) == starts


def test_a_running_lane_moves_alone_and_only_when_all_has_settled() -> None:
    lanes = [lane(number) for number in range(4)]
    full = view("w0", *lanes)
    assert plan(lanes, [full, view("w1", since_s=SETTLED_S - 1)]) == Plan()
    assert plan(lanes, [full, view("w1", since_s=SETTLED_S)]) == Plan(stops=((str(lane(2)), "w0"),))
    assert plan(lanes, [full, view("w1")], busy={str(lane(2))}) == Plan()


def test_lanes_that_are_not_wanted_any_more_end() -> None:
    assert plan([], [view("w0", lane(0))]).stops == ((str(lane(0)), "w0"),)


def test_the_old_report_of_a_lane_that_ended_is_cleared_once_it_runs_elsewhere() -> None:
    workers = [view("w0", lane(0), state="fenced"), view("w1", lane(0))]
    assert plan([lane(0)], workers).stops == ((str(lane(0)), "w0"),)


def test_an_ended_lane_waits_longer_each_time_up_to_a_limit() -> None:
    waits, wait, now = [], None, 0.0
    for number in range(9):
        wait = wait_after(wait, LaneReport("policy/x/0", "failed", started_at=float(number)), now)
        waits.append(wait.seconds)
        now = wait.until
    assert waits == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert wait_after(wait, LaneReport("policy/x/0", "failed", started_at=8.0), now + 5) is wait
    assert wait_after(None, LaneReport("policy/x/0", "fenced"), 100.0).until == 100.0 + RETRY_S["fenced"][0]


def test_an_ended_lane_starts_again_when_its_wait_is_over() -> None:
    workers = [view("w0", lane(0), state="failed")]
    waits = {str(lane(0)): Wait(1.0, 30.0, 50.0)}
    assert plan([lane(0)], workers, waits=waits, now=49.0).starts == ()
    assert plan([lane(0)], workers, waits=waits, now=50.0).starts == ((lane(0), "w0"),)
