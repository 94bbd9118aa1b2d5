"""The workers of a cluster and what is asked of it, with no cluster but its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

import portrayer
from portrayer.errors import CapacityError, EngineClosed, ModelError
from portrayer.jobs import crew, grid
from portrayer.jobs.crew import Crew
from portrayer.jobs.grid import ROOM, Fallen, Grid, Lost, Share
from portrayer.jobs.seats import Seat
from portrayer.jobs.worker import Birth
from portrayer.settings import Settings, load

BORN = Birth("token", portrayer.__version__, None)


class Cluster:
    """The part of :class:`Grid` that a crew asks: nodes that are named, workers that answer."""

    grows = True

    def __init__(self, *nodes: str) -> None:
        self.nodes = nodes
        self.trouble: Exception | None = None
        self.birth: Callable[[], Birth] = lambda: BORN
        self.hired: list[str] = []
        self.dismissed: list[str] = []
        self.looked = Event()

    def shares(self, _: Settings) -> list[Share]:
        self.looked.set()
        return [Share(node, node, 1, 0, 1) for node in self.nodes]

    def hire(self, share: Share, *_: object) -> str:
        if self.trouble is not None and share.node in self.hired:
            raise self.trouble
        self.hired.append(share.node)
        return share.node

    def ask(self, worker: str, method: str, seconds: float | None = None) -> Any:
        return self.birth() if method == "birth" else None

    def dismiss(self, worker: str) -> None:
        self.dismissed.append(worker)

    leave = dismiss

    def wish(self, shares: object) -> None:
        """Nobody grants it."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "LOOK", 0.005)
    monkeypatch.setattr("portrayer.jobs.seats.POLL", 0.01)


def hired(cluster: Cluster) -> Crew:
    return Crew(cluster, load(device="cpu"), lambda _: None)  # type: ignore[arg-type, return-value]


@pytest.fixture
def employed() -> Iterator[Callable[[Cluster], Crew]]:
    """Makes crews, which are dismissed."""
    made: list[Crew] = []

    def employ(cluster: Cluster) -> Crew:
        made.append(hired(cluster))
        return made[-1]

    yield employ
    for each in made:
        each.close()


def looks(cluster: Cluster, count: int) -> None:
    """So many looks at the cluster begin, all but the last of them end."""
    for _ in range(count):
        cluster.looked.clear()
        assert cluster.looked.wait(30)


def only(team: Crew) -> Seat:
    with team.taken(lambda: None) as seat:
        return seat


Employ = Callable[[Cluster], Crew]


def test_workers_that_do_not_come_back_are_not_awaited_for_ever(
    employed: Employ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for one is told so in the end, though their node lives."""
    cluster, never = Cluster("n"), Event()
    team = employed(cluster)
    seat = only(team)
    monkeypatch.setattr(crew, "RETURN", 0.02)

    def birth() -> Birth:
        never.wait(30)
        raise Lost

    cluster.birth = birth
    team.fallen(seat)
    with pytest.raises(EngineClosed, match="no worker any more: run again"):
        only(team)
    never.set()


def test_who_asks_for_one_worker_in_vain_goes_to_another(employed: Employ) -> None:
    """One that has not come back in time is lost, and dismissed lest it come all the same."""
    cluster = Cluster("n")
    team = employed(cluster)
    seat = only(team)

    def birth() -> Birth:
        raise Fallen

    cluster.birth = birth
    assert team.token(seat) == ""
    assert cluster.dismissed == ["n"]
    assert team.room == 0


def test_nodes_are_looked_for_whatever_the_cluster_says(employed: Employ) -> None:
    """An error of no known family ends no watch over them, and what has a worker gets no other."""
    cluster = Cluster("n")
    employed(cluster)
    cluster.trouble, cluster.nodes = ValueError("Unknown\nwords"), ("n", "m", "m")
    looks(cluster, 4)
    assert cluster.hired == ["n", "m"], "the second there was refused"
    cluster.trouble = None
    looks(cluster, 4)
    assert cluster.hired == ["n", "m", "m"]


def test_what_ails_the_workers_is_told_in_a_line(employed: Employ) -> None:
    """Of a traceback its last."""
    cluster = Cluster("n")

    def birth() -> Birth:
        raise RuntimeError("Traceback:\n  File x\nTypeError: no such setting\n")

    cluster.birth = birth
    with pytest.raises(ModelError) as caught:
        employed(cluster)
    assert str(caught.value).startswith("TypeError: no such setting")
    assert "\n" not in str(caught.value)


class RayError(Exception):
    """Ray's own."""


class Died(RayError):
    """Of a worker, for good."""


class Package(SimpleNamespace):
    """Ray, as far as a grid asks it; ``error`` is what its calls end with."""

    def __init__(self) -> None:
        names = ("ActorDiedError", "ActorUnschedulableError", "NodeDiedError")
        errors = SimpleNamespace(**dict.fromkeys(names, Died))
        errors.RayError, errors.RayTaskError = RayError, type("RayTaskError", (RayError,), {})
        super().__init__(exceptions=errors, error=RayError("busy\nmore"), asked=[])

    def init(self, **_: object) -> None:
        """It is there."""

    def shutdown(self) -> None:
        """It is not."""

    def __getattr__(self, name: str) -> Any:
        def ask(*_: object, **__: object) -> Any:
            self.asked.append(name)
            raise self.error

        return ask


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    there = Package()
    monkeypatch.setattr(grid, "_ray", lambda: there)
    monkeypatch.setattr(grid, "AGAIN", 0.0)
    return there


def test_a_cluster_that_was_left_is_asked_nothing(package: Package) -> None:
    """By no thread that is late: Ray would start another, which nobody would end."""
    there = Grid("auto")
    there.close()
    there.close()
    worker = Package()
    asked: list[Callable[[], object]] = [
        lambda: there.shares(load()),
        lambda: there.call(worker, "work"),
        lambda: there.ask(worker, "birth"),
        lambda: there.keep(b""),
    ]
    for each in asked:
        with pytest.raises(EngineClosed, match="was left"):
            each()
    there.leave(worker)
    there.dismiss(worker)
    assert package.asked == worker.asked == []


def test_a_node_has_as_many_workers_as_its_memory_is_for(package: Package) -> None:
    """One a core, or with more cores each, all of which are used; without memory still one."""
    there, names = Grid("auto"), ("large", "small", "bare", "head")
    owned = [{"CPU": 4.0, "memory": 64e9}, {"CPU": 8.0, "memory": 3.5 * ROOM}, {"CPU": 2.0}, {}]
    package.nodes = lambda: [
        {"Alive": True, "NodeID": name, "NodeManagerHostname": name, "Resources": resources}
        for name, resources in zip(names, owned, strict=True)
    ]
    found = there.shares(load(device="cpu"))
    assert [(each.node, each.cores, each.sharers) for each in found] == [
        *[("large", 1, 4)] * 4,
        *[("small", 2, 3), ("small", 3, 3), ("small", 3, 3)],
        ("bare", 2, 1),
    ]


def test_what_the_cluster_says_is_told_in_our_words(package: Package) -> None:
    """Whether a call is refused at once or answered badly; a full cluster is for another try."""
    there, worker = Grid("auto"), Package()
    worker.work = SimpleNamespace(remote=package.nodes)
    expected: list[tuple[Exception, type[Exception]]] = [
        (RayError("unreachable"), Fallen),
        (Died("gone"), Lost),
        (ConnectionError("closed"), EngineClosed),
    ]
    for error, family in expected:
        package.error = error
        with pytest.raises(family):
            there.call(worker, "work")
    package.error = RayError("full\nof many lines")
    for ask in (lambda: there.keep(b""), lambda: there.shares(load())):
        with pytest.raises(CapacityError, match="full") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_worker_is_asked_again_as_long_as_was_said(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be being started anew."""
    there, worker = Grid("auto"), Package()
    answers: list[RayError | str] = [RayError("no"), RayError("not yet"), "born", RayError("no")]

    def get(*_: object, timeout: float | None) -> str:
        answer = answers.pop(0)
        if isinstance(answer, RayError):
            raise answer
        return answer

    package.get, worker.birth = get, SimpleNamespace(remote=lambda: None)
    assert there.ask(worker, "birth", 30.0) == "born"
    monkeypatch.setattr(grid, "AGAIN", 0.1)
    with pytest.raises(Fallen):
        there.ask(worker, "birth", 0.0)
