"""Photos and results at URLs, through the command line: of a store in memory, of S3, of the web."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer import storage
from portrayer.cli import remote
from portrayer.cli.ledger import Ledger, ledger_of
from portrayer.cli.request import Request
from portrayer.jobs.record import State
from portrayer.storage import objects

from .s3 import Server, serving
from .terminal import PROGRAM, blob, photo, picture, portrayer, started, tree

KEYS = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
FLAT = 8 << 20  # bytes that ten times the objects may take beside

stems = st.sampled_from(["a", "A", "b", "a.jpg", "é", "e\u0301", "a-2", "a.jpg-2"])
names = st.builds("{}{}".format, stems, st.sampled_from([".jpg", ".JPG", ".png", ".webp"]))
keys = st.builds("{}{}".format, st.sampled_from(["", "sub/", "Sub/", "sub/a/"]), names)
buckets = st.lists(keys, max_size=12, unique=True)


@pytest.fixture(autouse=True)
def _empty() -> None:
    fsspec.filesystem("memory").store.clear()


def laid(root: str, keys: list[str]) -> None:
    """Objects of these keys, each unlike the others; one that would be a folder's name is none."""
    for key in keys:
        if not any(other.startswith(f"{key}/") for other in keys):
            storage.write(f"{root}/{key}", key.encode())


def below(root: str) -> set[str]:
    return {entry.place.removeprefix(f"{root}/") for entry in storage.walk(root)}


def prepared(store: Ledger, request: Request) -> dict[str, str]:
    """Source to target of what is in the ledger after photos were put there again."""
    remote.prepare(store, [request], ".png")
    return store.targets(request.job)


def finish(store: Ledger) -> int:
    """Everything that is queued is done; how much that was."""
    count = 0
    while claimed := store.claim():
        store.complete(claimed[1], {})
        count += 1
    return count


@settings(max_examples=40)
@given(buckets, buckets, st.booleans(), st.integers(1, 5))
def test_names_are_unique_the_tree_is_kept_and_nothing_is_done_twice(
    first: list[str], more: list[str], here: bool, page: int
) -> None:
    """Whatever the bucket holds, however many are named at once, into a folder or a bucket.

    What was done stays done when the bucket is listed again, also beside new photos, and each
    keeps its name.
    """
    fsspec.filesystem("memory").store.clear()
    root, patch = "memory://in", pytest.MonkeyPatch()
    with TemporaryDirectory() as home, patch.context() as with_, Ledger(Path(home, "l")) as store:
        with_.setattr(remote, "PAGE", page)
        out = Path(home, "out") if here else "memory://out"
        request = Request("matte", {}, [root], out)
        laid(root, ["first.jpg", *first])
        one = prepared(store, request)
        assert finish(store) == len(one)
        for target in one.values():
            storage.write(storage.place(target), b"result")
        assert prepared(store, request) == one
        assert store.counts("matte").queued == 0
        laid(root, [key for key in more if not any(f"{key}/" in known for known in [*one])])
        two = prepared(store, request)
        assert two | one == two
        changed = store.counts("matte").queued
        assert len(two) - len(one) <= changed <= len(more), "what is new, or was written again"
        assert set(two) == {entry.place for entry in storage.walk(root)}
        assert len({target.casefold() for target in two.values()}) == len(two)
        for source, target in two.items():
            at, result = storage.parent(source[len(root) :]), Path(target)
            assert str(result.parent).removeprefix(str(out).replace("//", "/")) == str(at).rstrip(
                "/"
            )
            assert result.name.startswith(Path(source).stem)
            assert result.suffix == ".png"


def test_a_bucket_into_a_bucket_and_back(tmp_path: Path) -> None:
    """One bad photo fails alone; a second run does only what is new; the ledger is said."""
    for key in ("a.jpg", "a.png", "sub/b.JPG", ".hidden.jpg"):
        storage.write(f"memory://in/{key}", blob("png" if key.endswith("png") else "jpeg"))
    storage.write("memory://in/bad.jpg", b"a text that calls itself a photo")
    storage.write("memory://in/notes.txt", b"not asked for")
    first = portrayer("matte", "memory://in/", "-o", "memory://out", "--json")
    assert (first.code, first.report["done"], first.failed) == (1, 3, {"bad.jpg": "decode"})
    assert first.report["output"] == "memory://out"
    assert below("memory://out") == {"a.png", "a.png.png", "sub/b.png"}
    assert picture(storage.read("memory://out/sub/b.png")) == ("RGBA", (96, 96))
    ledger = ledger_of("memory://out/")
    assert ledger.is_relative_to(tmp_path / "own")
    assert ledger.is_file()

    before = {entry.place: entry for entry in storage.walk("memory://out")}
    storage.write("memory://in/sub/c.jpg", blob())
    storage.write("memory://in/bad.jpg", blob())
    again = portrayer("matte", "memory://in/", "-o", "memory://out/")
    assert again.code == 0
    assert again.err == f"the ledger of memory://out/ is {ledger}\n"
    assert b"5 of 5 done (3 before)" in again.out
    after = {entry.place: entry for entry in storage.walk("memory://out")}
    assert {place: after[place] for place in before} == before

    back = portrayer("matte", "memory://out", "-o", tmp_path / "back", "--json")
    assert (back.code, back.report["done"]) == (0, 5)
    assert tree(tmp_path / "back") == {
        name.replace("a.png.png", "a.png.png") for name in below("memory://out")
    }


def test_paths_and_urls_side_by_side(tmp_path: Path) -> None:
    """Inputs may mix, each has a result of its own, here and there; a lost file is made anew."""
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "b.jpg")
    storage.write("memory://in/sub/a.jpg", blob())
    storage.write("memory://in/a.jpg", blob())
    storage.write("memory://alone/b.jpg", blob())
    mixed = (tmp_path / "in", "memory://in", tmp_path / "b.jpg", "memory://alone/b.jpg")
    wanted = {"a.png", "a.jpg.png", "sub/a.png", "b.png", "b.jpg.png"}
    there = portrayer("matte", *mixed, "-o", "memory://out/", "--json")
    assert (there.code, below("memory://out")) == (0, wanted)
    here = portrayer("matte", *mixed, "-o", tmp_path / "out", "--json")
    assert (here.code, tree(tmp_path / "out")) == (0, wanted)
    (tmp_path / "out" / "sub" / "a.png").unlink()
    again = portrayer("matte", *mixed, "-o", tmp_path / "out", "--json")
    assert (again.report["done_before"], again.report["done"]) == (4, 5)
    assert tree(tmp_path / "out") == wanted


def test_a_result_is_never_written_over_a_photo(tmp_path: Path) -> None:
    """A photo beside its results, and a bucket in which they would lie among the photos."""
    photo(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    storage.write("memory://in/a.jpg", blob())
    both = portrayer("matte", tmp_path, "memory://in", "-o", tmp_path, "--json")
    assert both.code == 0
    assert tree(tmp_path) >= {"a.png", "a.png.png", "a.jpg.png"}
    assert (tmp_path / "a.png").read_bytes() == before
    again = portrayer("matte", tmp_path, "memory://in", "-o", tmp_path, "--json")
    assert (again.report["done_before"], again.report["total"]) == (2, 2)
    for output in ("memory://in", "memory://in/"):
        among = portrayer("matte", "memory://in/", "-o", output)
        assert (among.code, among.complaint().partition(": ")[2]) == (2, "name another output")
    inside = portrayer("matte", "memory://in/", "-o", "memory://in/out", "--json")
    assert (inside.code, below("memory://in")) == (0, {"a.jpg", "out/a.png"})
    assert (
        portrayer("matte", "memory://in/", "-o", "memory://in/out", "--json").report["total"] == 1
    )


def test_one_photo_at_a_url(tmp_path: Path) -> None:
    """To a named file, to a named object with its matte beside it, to stdout; never over itself."""
    storage.write("memory://in/a.jpg", blob())
    assert portrayer("matte", "memory://in/a.jpg", "-o", tmp_path / "a.webp").code == 0
    assert picture(tmp_path / "a.webp")[1] == (96, 96)
    both = ("--output", "both")
    assert portrayer("matte", "memory://in/a.jpg", "-o", "memory://out/x.png", *both).code == 0
    assert below("memory://out") == {"x.png", "x.matte.png"}
    assert picture(portrayer("matte", "memory://in/a.jpg", "-o", "-").out)[1] == (96, 96)
    storage.write("memory://in/b.png", blob("png"))
    over = portrayer("matte", "memory://in/b.png", "-o", "memory://in/b.png")
    assert (over.code, "overwritten" in over.complaint()) == (2, True)


class Folder(SimpleHTTPRequestHandler):
    """The files of a folder, as a server of the web gives them."""

    def log_message(self, *_: object) -> None:
        """Nobody asks."""


def test_photos_of_the_web(tmp_path: Path) -> None:
    """Under their own names into a folder; one that is not there fails alone; again, no more."""
    photo(tmp_path / "web" / "a b.jpg")
    photo(tmp_path / "web" / "c.png")
    served = partial(Folder, directory=tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            host = f"http://127.0.0.1:{server.server_address[1]}"
            command = (
                "matte",
                f"{host}/a%20b.jpg?key=1",
                f"{host}/c.png",
                f"{host}/gone.jpg?key=2",
            )
            first = portrayer(*command, "-o", tmp_path / "out", "--json")
            again = portrayer(*command, "-o", tmp_path / "out", "--json")
            alone = portrayer("matte", f"{host}/c.png", "-o", tmp_path / "c.webp")
        finally:
            server.shutdown()
            thread.join()
    assert (first.code, first.report["done"], first.failed) == (1, 2, {"gone.jpg": "input"})
    assert tree(tmp_path / "out") == {"a b.png", "c.png"}
    assert again.report["done_before"] == 2
    assert b"key=" not in first.out + again.out
    assert (alone.code, picture(tmp_path / "c.webp")[1]) == (0, (96, 96))


def test_two_photos_go_together_from_anywhere(tmp_path: Path) -> None:
    """The photo beside may be a URL too: it is read for each, and asked after once."""
    storage.write("memory://in/face.jpg", blob(side=256))
    photo(tmp_path / "in" / "b.jpg", side=256)
    command = ("fuse", "memory://in/face.jpg", tmp_path / "in", "-o", "memory://out/", "--yes")
    first = portrayer(*command, "--json")
    assert (first.code, first.report["done"]) == (0, 1)
    assert below("memory://out") == {"b--face.png"}
    assert portrayer(*command, "--json").report["done_before"] == 1
    storage.write("memory://in/face.jpg", blob(side=256, shade=30))
    assert portrayer(*command, "--json").report["done_before"] == 0


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (("memory://in/", "-o", "https://host/out/"), "results cannot go to https://"),
        (("memory://in/", "-o", "http://host/a.png"), "results cannot go to http://"),
        (("memory://none/", "-o", "out"), "it does not exist"),
        (("memory://in/none.jpg", "-o", "a.png"), "it does not exist"),
        (("memory://in/", "-o", "a.png"), "many results need a folder"),
        (("memory://in/", "-o", "memory://out/a.png"), "many results need a folder"),
        (("memory://in/", "-o", "-"), "stdout"),
        (("memory://in/", "-o", "out", "--watch"), "run again for a URL"),
        (("az://in/", "-o", "out"), "pip install 'portrayer[az]'"),
        (("ftp://host/a.jpg", "-o", "out"), "use a path, https:// or one of"),
        (("file:///a.jpg", "-o", "out"), "use a path"),
    ],
)
def test_what_cannot_be_is_told_at_once(
    typed: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, as a mistake of typing, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    storage.write("memory://in/a.jpg", blob())
    told = portrayer("matte", *typed)
    assert (told.code, reason in told.complaint()) == (2, True), told.err
    assert tree(tmp_path) == set()


def test_what_went_away_after_the_listing_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are done; and it is told, unlike a file, for nobody asks whether it is there."""
    for name in ("a", "b", "c"):
        storage.write(f"memory://in/{name}.jpg", blob())
    put = Ledger.put

    def gone(self: Ledger, *entries: object, **rest: object) -> object:
        answer = put(self, *entries, **rest)  # type: ignore[arg-type]
        fsspec.filesystem("memory").store.pop("/in/b.jpg", None)
        return answer

    monkeypatch.setattr(Ledger, "put", gone)
    run = portrayer("matte", "memory://in", "-o", "memory://out", "--json")
    assert (run.code, run.report["done"], run.failed) == (1, 2, {"b.jpg": "input"})
    assert "it does not exist" in run.report["failed"][0]["reason"]


def test_nothing_is_imported_for_a_path(tmp_path: Path) -> None:
    """Who types no URL and no cluster never waits for fsspec or Ray, from the first to the last."""
    photo(tmp_path / "in" / "a.jpg")
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules));"
        "from portrayer.cli import main; main()"
    )
    wish = [sys.executable, "-c", code, "matte", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    ran = subprocess.run(wish, capture_output=True, text=True, check=True)
    assert "1 of 1 done" in ran.stdout
    assert "portrayer.storage" in ran.stdout.split()
    assert not {"fsspec", "s3fs", "botocore", "ray"} & set(ran.stdout.split())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": server.address}).items():
            patch.setenv(name, value)
        yield server
        objects.store.cache_clear()


@pytest.fixture
def s3(server: Server, request: pytest.FixtureRequest) -> str:
    """A bucket that is this test's own."""
    bucket = f"b{abs(hash(request.node.name)) % 10**12}"
    server.fill(bucket, 0)
    return f"s3://{bucket}"


def test_s3_in_and_out(s3: str, tmp_path: Path) -> None:
    """Strange names, a bad photo, a key that begins with a slash; what is done stays done."""
    keys = ["a.jpg", "b c#ü::d?.jpg", "sub/deep/b.jpg", "sub/.h/c.jpg", "/etc/d.jpg"]
    for key in keys:
        storage.write(f"{s3}/in/{key}", blob())
    storage.write(f"{s3}/in/bad.jpg", b"a text")
    storage.write(f"{s3}/inner/e.jpg", blob())
    first = portrayer("matte", f"{s3}/in", "-o", f"{s3}/out/", "--json")
    assert (first.code, first.failed) == (1, {"bad.jpg": "decode"})
    wanted = {"a.png", "b c#ü::d?.png", "sub/deep/b.png", "/etc/d.png"}
    assert below(f"{s3}/out") == wanted
    before = {entry.place: storage.entry(entry.place) for entry in storage.walk(f"{s3}/out")}
    assert before == {entry.place: entry for entry in storage.walk(f"{s3}/out")}
    assert picture(storage.read(f"{s3}/out/a.png")) == ("RGBA", (96, 96))
    again = portrayer("matte", f"{s3}/in/", "-o", f"{s3}/out", "--json")
    assert (again.report["done_before"], again.report["total"]) == (4, 5)
    here = portrayer("matte", f"{s3}/in", "-o", tmp_path / "out", "--json")
    assert here.code == 1
    assert tree(tmp_path / "out") == {name.removeprefix("/") for name in wanted}


@pytest.mark.slow
def test_s3_killed_and_run_again(s3: str, tmp_path: Path) -> None:
    """Kill -9 at work: the next run does the rest, and what was written is written no more."""
    count = 12
    for number in range(count):
        storage.write(f"{s3}/in/{number:02}.jpg", blob())
    command = ("matte", f"{s3}/in", "-o", f"{s3}/out", "--workers", 2)
    with started(*command) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and not below(f"{s3}/out") and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=30)
    with Ledger(ledger_of(f"{s3}/out")) as store:
        done = {item.target for item in store.items("matte", State.DONE)}
    stamps = written(s3)
    last = portrayer(*command, "--json")
    assert (last.code, last.report["done"], last.report["failed"]) == (0, count, [])
    assert last.report["done_before"] == len(done)
    assert below(f"{s3}/out") == {f"{number:02}.png" for number in range(count)}
    assert {place: stamp for place, stamp in written(s3).items() if place in done} == {
        place: stamps[place] for place in done
    }


def written(s3: str) -> dict[str, object]:
    """When each result was written."""
    found = objects.store("s3").find(f"{s3[5:]}/out", detail=True)
    return {f"s3://{name}": each["LastModified"] for name, each in found.items()}


def test_s3_refuses(s3: str, tmp_path: Path) -> None:
    """No such bucket to read or to write; a folder without photos; in a line, 2 or 3."""
    none = portrayer("matte", "s3://no-such-bucket/in", "-o", tmp_path)
    assert (none.code, "there is no such bucket" in none.complaint()) == (2, True)
    storage.write(f"{s3}/in/a.jpg", blob())
    run = portrayer("matte", f"{s3}/in", "-o", "s3://no-such-bucket/out", "--json")
    assert (run.code, "there is no such bucket" in run.complaint()) == (3, True)
    empty = portrayer("matte", f"{s3}/none/", "-o", tmp_path)
    assert (empty.code, empty.complaint()) == (2, f"no photos in {s3}/none/")


REFUSED = [
    (
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        2,
        "no credentials: run `aws configure`",
    ),
    ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 3, "check the network"),
]


@pytest.mark.parametrize(("said", "code", "reason"), REFUSED)
def test_s3_without_a_key_or_a_network(
    server: Server, said: dict[str, str], code: int, reason: str, tmp_path: Path
) -> None:
    """What is missing is told in a line."""
    home = {"HOME": str(tmp_path), "AWS_MAX_ATTEMPTS": "1"}
    world = {name: value for name, value in (os.environ | home | said).items() if value}
    command = [*PROGRAM, "matte", "s3://bucket/in", "-o", str(tmp_path / "out")]
    ran = subprocess.run(
        command, env=world, capture_output=True, text=True, timeout=60, check=False
    )
    [line] = ran.stderr.splitlines()
    assert (ran.returncode, reason in line) == (code, True), line


def test_s3_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the store does not know: told in a line."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with monkeypatch.context() as patch:
        patch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "0")
        with serving() as server:
            world = os.environ | KEYS | {"AWS_ENDPOINT_URL": server.address}
            command = [*PROGRAM, "matte", "s3://bucket/in", "-o", str(tmp_path / "out")]
            ran = subprocess.run(
                command, env=world, capture_output=True, text=True, timeout=60, check=False
            )
    [line] = ran.stderr.splitlines()
    assert (ran.returncode, "no permission (" in line) == (2, True), line


MEASURED = """
import re, sys, tempfile
from pathlib import Path
from time import perf_counter
from portrayer.cli.ledger import Ledger
from portrayer.cli.remote import prepare
from portrayer.cli.request import Request
request = Request("matte", {}, [sys.argv[1]], "s3://results/out/")
with tempfile.TemporaryDirectory() as home, Ledger(Path(home) / "ledger") as store:
    for turn in range(2):
        begun = perf_counter()
        prepare(store, [request], ".png")
        seconds = perf_counter() - begun
        # Of this program alone: what getrusage tells is inherited from the one that started it.
        [peak] = re.findall(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
        print(store.counts("matte").total, peak, f"{seconds:.1f}")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_s3_twenty_thousand_are_listed_in_flat_memory(server: Server) -> None:
    """Listed into the ledger, and listed again: ten times the objects take no more memory."""
    peaks = []
    for count in (2_000, 20_000):
        server.fill(f"bucket-of-{count}", count)
        ran = subprocess.run(
            [sys.executable, "-c", MEASURED, f"s3://bucket-of-{count}/photos/"],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        rows = [line.split() for line in ran.stdout.splitlines()]
        assert [int(total) for total, *_ in rows] == [count, count]
        peaks.append(int(rows[-1][1]) * 1024)
    assert peaks[1] - peaks[0] < FLAT, [f"{peak >> 20} MiB" for peak in peaks]
