"""Work on the nodes of a cluster: nothing is lost, nothing done twice, whoever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from portrayer.errors import InvalidOption
from portrayer.jobs.backend import Files
from portrayer.jobs.cluster import RayBackend, studio_files
from portrayer.jobs.grid import CALL, PIECE, Share, checked, more, pieces
from portrayer.jobs.record import Item, State
from portrayer.jobs.runner import Event, Runner
from portrayer.jobs.store import Store
from portrayer.settings import Settings, load
from portrayer.studio import Studio

from ..cli.terminal import PROGRAM, photo, picture, portrayer, state, tree
from .nodes import POISON, Nodes, nodes, poisoned

PHOTOS = 300
NODES = 3
IN_FLIGHT = NODES * 2 * 3  # at most: calls of each worker, and as many that wait
SIDE = 64

cluster = pytest.mark.cluster
# Ray leaves processes to their fate and sockets to the collector.
quiet = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def grid() -> Iterator[Nodes]:
    pytest.importorskip("ray", reason="the extra is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15: on a busy machine they would starve
        with nodes() as there:
            yield there


@pytest.fixture
def three(grid: Nodes) -> Nodes:
    """Three nodes of one core live."""
    grid.fill(NODES)
    return grid


def settings() -> Settings:
    return load(device="cpu", memory="3GiB")


def photos(folder: Path, count: int) -> list[Path]:
    """Photos that differ, so that a result can be told from another's."""
    shades = np.linspace(-90, 90, count).astype(int)
    return [photo(folder / f"{n:03}.jpg", SIDE, int(shade)) for n, shade in enumerate(shades)]


def worked(
    folder: Path,
    sources: list[Path],
    where: str,
    opened: Callable[[Settings], Files] = studio_files,
    on_event: Callable[[Event], None] = lambda _: None,
    workers: int = 0,
) -> list[Item]:
    """The items after a run over ``sources``, with the results in ``folder``.

    It begins when so many ``workers`` have told what they have: on a busy machine the first might
    do all of it before the last is there.
    """
    with Store(folder / "jobs.db") as store, RayBackend(where, settings(), opened) as backend:
        late = time.monotonic() + 300
        while len(backend.stats(now=True).devices) < workers:
            assert time.monotonic() < late
        rows = [(str(each), str(folder / "out" / f"{each.stem}.png"), "") for each in sources]
        store.put("matte", {}, rows, id="j")
        Runner(store, backend, on_event=on_event).run("j")
        return list(store.items("j"))


def pixels(path: Path) -> np.ndarray:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found.astype(int)


@cluster
@quiet
def test_a_node_that_is_killed_costs_no_photo_anything(tmp_path: Path, three: Nodes) -> None:
    """All are done, once and at the first attempt, whole, and as this machine would do them."""
    sources, done = photos(tmp_path / "in", PHOTOS), Counter[int]()

    def settled(event: Event) -> None:
        assert event.item.state is State.DONE, event.item.error
        done[event.item.id] += 1
        if sum(done.values()) == PHOTOS // 5:
            three.kill()

    items = worked(tmp_path, sources, three.address, on_event=settled, workers=NODES)
    assert [(item.state, item.attempt, done[item.id]) for item in items] == PHOTOS * [
        (State.DONE, 1, 1)
    ]
    rates = Counter(str((item.result or {})["node"]) for item in items)
    assert len(rates) == NODES, rates
    assert {picture(Path(item.target)) for item in items} == {("RGBA", (SIDE, SIDE))}
    assert len(tree(tmp_path / "out")) == PHOTOS
    with Studio(settings()) as studio:
        for item in items[:: PHOTOS // 10]:
            alone = studio.pipeline.run("matte", [item.source]).save(tmp_path / "alone.png")
            assert np.abs(pixels(Path(item.target)) - pixels(alone)).max() <= 1


@cluster
@quiet
def test_a_driver_that_is_killed_goes_on(tmp_path: Path, three: Nodes) -> None:
    """The same command again: all are done, and but for those in flight none is written twice."""
    photos(tmp_path / "in", PHOTOS)
    out = tmp_path / "out"
    command = ("matte", tmp_path / "in", "-o", out, "--cluster", three.address, "--json")
    wish = [*PROGRAM, *map(str, command), "--device", "cpu", "--memory", "3GiB"]
    with subprocess.Popen(wish, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(tree(out)) < PHOTOS // 3:
            time.sleep(0.02)
        process.kill()
        _, complained = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, complained
    # What it was writing when it died has a name of its own, and is swept by the next.
    before = {name: stamp for name, stamp in state(out).items() if not name.endswith(".part")}
    last = portrayer(*command, "--device", "cpu", "--memory", "3GiB")
    assert (last.code, last.report["done"], last.report["failed"]) == (0, PHOTOS, []), last.err
    assert (
        last.report["done_before"] + sum(node["done"] for node in last.report["nodes"].values())
        == PHOTOS
    )
    after = state(out)
    assert sum(after[name] != stamp for name, stamp in before.items()) <= IN_FLIGHT
    assert set(after) == {f"{n:03}.png" for n in range(PHOTOS)}
    assert {picture(out / name) for name in after} == {("RGBA", (SIDE, SIDE))}


@cluster
@quiet
def test_a_poison_photo_fails_alone(tmp_path: Path, three: Nodes) -> None:
    """It is given up after three attempts; its neighbours died with it, at their first, done."""
    sources = photos(tmp_path / "in", 24)
    with sources[5].open("ab") as file:
        file.write(POISON)
    items = worked(tmp_path, sources, three.address, poisoned)
    poison = items.pop(5)
    assert poison.error is not None
    assert (poison.state, poison.attempt, poison.error.code) == (State.FAILED, 3, "crashed")
    assert "and on nothing else, died" in poison.error.reason
    assert {(item.state, item.attempt) for item in items} == {(State.DONE, 1)}


@cluster
@quiet
def test_what_a_task_needs_besides_travels_along(tmp_path: Path, three: Nodes) -> None:
    """A background; and an error of a photo is told as this machine would tell it."""
    back = photo(tmp_path / "back.png", SIDE, 60)
    photo(tmp_path / "in" / "a.jpg", SIDE)
    (tmp_path / "in" / "b.jpg").write_bytes(b"no photo")
    command = ("matte", tmp_path / "in", "--background", back, "--json")
    far = portrayer(*command, "-o", tmp_path / "far", "--cluster", three.address)
    near = portrayer(*command, "-o", tmp_path / "near")
    assert far.code == near.code == 1, far.err
    assert [row["reason"] for row in far.report["failed"]] == [
        row["reason"] for row in near.report["failed"]
    ]
    assert tree(tmp_path / "far") == tree(tmp_path / "near")
    for name in tree(tmp_path / "far"):
        assert np.abs(pixels(tmp_path / "far" / name) - pixels(tmp_path / "near" / name)).max() <= 1


@pytest.mark.parametrize(
    "where", ["auto", "local:2", "ray://head:10001", "10.0.0.1:6379", "[::1]:1"]
)
def test_a_place_is_taken_as_it_is_typed(where: str) -> None:
    """What has the form of a cluster's place is one."""
    assert checked(where) == where


@pytest.mark.parametrize(
    "where", ["", "here", "local", "local:0", "local:x", "ray://", "a:b", ":1"]
)
def test_what_is_no_place_is_told_with_what_is(where: str) -> None:
    """All other is refused, with the forms there are."""
    with pytest.raises(InvalidOption, match=r"local:N"):
        checked(where)


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit code 2, and nothing is left behind."""
    monkeypatch.setitem(sys.modules, "ray", None)
    photo(tmp_path / "in" / "a.jpg")
    done = portrayer("matte", tmp_path / "in", "-o", tmp_path / "out", "--cluster", "local:2")
    assert done.code == 2
    assert "pip install 'portrayer[ray]'" in done.complaint()
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """One line with the address, exit code 3."""
    pytest.importorskip("ray", reason="the extra is not installed")
    photo(tmp_path / "in" / "a.jpg")
    done = portrayer("matte", tmp_path / "in", "-o", tmp_path / "out", "--cluster", "127.0.0.1:1")
    assert done.code == 3
    assert "cannot join the cluster 127.0.0.1:1" in done.complaint()


def test_one_photo_needs_no_cluster(tmp_path: Path) -> None:
    """A single photo to a single file is refused rather than done elsewhere than asked for."""
    source = photo(tmp_path / "a.jpg")
    done = portrayer("matte", source, "-o", tmp_path / "b.png", "--cluster", "local:2")
    assert done.code == 2
    assert "--cluster" in done.complaint()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, CALL, CALL + 1])
def test_a_photo_travels_in_calls_unless_it_is_large(size: int) -> None:
    """In pieces that Ray does not store, and together are the photo; a large one it stores once."""
    blob = (b"photo" * (size // 5 + 1))[:size]
    travels = list(pieces(blob))
    assert b"".join(travels) == blob
    assert all(0 < len(piece) <= PIECE for piece in travels) or travels == [blob]
    assert len(travels) == (1 if size > CALL else -(-size // PIECE))


def test_enough_is_asked_for_and_no_more() -> None:
    """As many shares more as have room for what waits."""
    share = Share("id", "name", 4, 0, 1)
    assert len(more([share, share], 12, 12)) == 4
    assert len(more([share, share], 1, 12)) == 3
    assert more([share], 0, 6) == [share]
    assert more([], 5, 0) == []
