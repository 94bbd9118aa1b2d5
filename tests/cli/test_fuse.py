"""A task of two photos and the word it wants, through the command line."""

from __future__ import annotations

import json
import os
import select
import shutil
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrayer.cli import main
from portrayer.cli.app import HELP
from portrayer.cli.consent import STATEMENT
from portrayer.cli.pairs import groups
from portrayer.cli.show import Tally
from portrayer.errors import InputError, InvalidOption
from portrayer.image import codec
from portrayer.image.codec import Mark
from portrayer.jobs.record import Counts, Item, State
from portrayer.jobs.runner import Event
from portrayer.jobs.store import Store
from portrayer.tasks import TASKS
from portrayer.tasks.options import option, options
from portrayer.tasks.task import Encoding, Infer, Product, Task
from portrayer.types import Image

from .terminal import Outcome, blob, photo, portrayer, state, tree

USAGE = 2
PATCH = np.s_[:16, :16]


@dataclass(frozen=True)
class Patching(Encoding):
    """Options of a task that is done at once."""

    level: int = option(0, "added to the patch", ge=0, le=99)
    consent: bool = option(False, "the user's word")


meeting = threading.Barrier(1)


def run(images: Sequence[Image], options: Patching, infer: Infer) -> Product:
    """The target with a patch of the source's mean in its corner."""
    if not options.consent:
        raise InvalidOption("pass consent=True")
    meeting.wait(timeout=20)
    source, target = images
    made = target.copy()
    made[PATCH] = round(source.mean()) + options.level
    return Product(made, mark={"level": str(options.level)})


PATCHER = Task(
    "patch",
    "Paste a patch",
    ("source", "target"),
    (),
    Patching,
    run,
    lambda _, pixels: 12 * pixels,
)


@pytest.fixture(autouse=True)
def _a_task_of_two_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, PATCHER.name, PATCHER)
    monkeypatch.setitem(HELP, PATCHER.name, PATCHER.help)


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in: two sources of one name, a third, and a folder of two targets."""
    photo(tmp_path / "me.png", shade=-60)
    photo(tmp_path / "old" / "me.png", shade=60)
    photo(tmp_path / "you.png", shade=20)
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "sub" / "b.png", shade=30)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def patch(*arguments: object, stdin: bytes = b"") -> Outcome:
    return portrayer("patch", *arguments, "--yes", stdin=stdin)


def shade(path: Path | bytes) -> int:
    """Mean of the patch in a result."""
    found = path if isinstance(path, bytes) else path.read_bytes()
    return round(codec.decode(found).image[PATCH].mean())


def mean(path: Path) -> int:
    return round(codec.decode(path.read_bytes()).image.mean())


def mark(path: Path) -> Mark | None:
    return codec.decode(path.read_bytes()).credits.mark


def table(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_one_target_to_one_file(room: Path) -> None:
    """The first photo is the source and the second the target; only that file is written."""
    before = tree(room)
    done = patch("me.png", "in/a.jpg", "-o", "made.png", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.report["done"] == 1
    assert shade(room / "made.png") == mean(room / "me.png")
    assert abs(mean(room / "made.png") - mean(room / "in" / "a.jpg")) < 20
    assert tree(room) == before | {"made.png"}
    assert not (room / ".portrayer").exists()


def test_the_target_may_come_from_a_pipe(room: Path) -> None:
    """stdin is the target, stdout the result; the source is a file."""
    done = patch("me.png", "-", stdin=blob(shade=40))
    assert (done.code, done.err) == (0, "")
    assert shade(done.out) == mean(room / "me.png")


def test_a_source_into_many_targets(room: Path) -> None:
    """A result says whose it is, the tree is kept, and a second run does only what is new."""
    first = patch("me.png", "in", "-o", "out", "--json")
    assert (first.code, first.err, first.report["done"]) == (0, "", 2)
    out = room / "out"
    assert tree(out) == {"a--me.png", "sub/b--me.png"}
    assert {shade(out / name) for name in tree(out)} == {mean(room / "me.png")}
    before = state(out)
    photo(room / "in" / "c.jpg")
    again = patch("me.png", "in", "-o", "out", "--json")
    assert (again.report["done_before"], again.report["done"]) == (2, 3)
    after = state(out)
    assert set(after) == {*before, "c--me.png"}
    assert before.items() <= after.items()


def test_two_sources_in_one_folder_are_two_wishes(room: Path) -> None:
    """The second touches nothing of the first, of the same name as well; each goes on by itself."""
    patch("me.png", "in", "-o", "out")
    before = state(room / "out")
    for source, names in (
        ("you.png", {"a--you.png", "sub/b--you.png"}),
        ("old/me.png", {"a.jpg--me.png", "sub/b.png--me.png"}),
    ):
        assert patch(source, "in", "-o", "out", "--json").report["done"] == 2
        after = state(room / "out")
        assert set(after) - set(before) == names
        assert before.items() <= after.items()
        assert {shade(room / "out" / name) for name in names} == {mean(room / source)}
        before = after
    for source in ("me.png", "you.png", "old/me.png"):
        assert patch(source, "in", "-o", "out", "--json").report["done_before"] == 2
    assert state(room / "out") == before


def test_a_changed_source_queues_its_targets_again(room: Path) -> None:
    """All of its own and none of another's; a changed target, itself alone."""
    patch("me.png", "in", "-o", "out")
    patch("you.png", "in", "-o", "out")
    before = state(room / "out")
    photo(room / "me.png", side=80)
    again = patch("me.png", "in", "-o", "out", "--json")
    assert again.report["done_before"] == 0
    assert patch("you.png", "in", "-o", "out", "--json").report["done_before"] == 2
    after = state(room / "out")
    assert {name for name in after if after[name] != before[name]} == {"a--me.png", "sub/b--me.png"}
    assert shade(room / "out" / "a--me.png") == mean(room / "me.png")
    photo(room / "in" / "a.jpg", side=80)
    assert patch("me.png", "in", "-o", "out", "--json").report["done_before"] == 1


def test_pairs_from_a_table(room: Path) -> None:
    """Rows count from the table's folder; a target may come with several sources, a row twice."""
    rows = ("Source, Target", "../me.png,a.jpg", "", "../me.png,a.jpg", "../you.png,a.jpg")
    last = '"../old/me.png", "sub/b.png"'
    table(room / "in" / "pairs.csv", "\ufeff" + rows[0], *rows[1:], last)
    for done_before in (0, 3):
        done = patch("--pairs", "in/pairs.csv", "-o", "out", "--json")
        assert (done.code, done.err) == (0, "")
        report = done.report
        assert (report["done_before"], report["done"], report["total"]) == (done_before, 3, 3)
    sources = {"a--me.png": "me.png", "a--you.png": "you.png", "b--me.png": "old/me.png"}
    assert tree(room / "out") == set(sources)
    for name, source in sources.items():
        assert shade(room / "out" / name) == mean(room / source)
    one = patch("me.png", "in/a.jpg", "-o", "out", "--json")  # the same wish, typed
    assert (one.report["done_before"], one.report["total"]) == (1, 1)


def test_one_pair_to_one_file(room: Path) -> None:
    """A table of one row is as good as two names typed."""
    table(room / "pairs.csv", "me.png,in/a.jpg")
    assert patch("--pairs", "pairs.csv", "-o", "made.png").code == 0
    assert shade(room / "made.png") == mean(room / "me.png")


def test_a_path_of_any_letters(room: Path) -> None:
    """Commas and quotes in a table, and names that are not valid text, are names like others."""
    odd = os.fsdecode(b"o\xffdd.png")
    shutil.copy("me.png", odd)
    shutil.copy("me.png", 'a, "b".png')
    table(room / "pairs.csv", '"a, ""b"".png",in/a.jpg')
    assert patch("--pairs", "pairs.csv", "-o", "out").code == 0
    assert patch(odd, "in/a.jpg", "-o", "out").code == 0
    assert tree(room / "out") == {'a--a, "b".png', f"a--{Path(odd).stem}.png"}
    assert patch(odd, "in/a.jpg", "-o", "out", "--json").report["done_before"] == 1


def test_different_pairs_are_worked_on_at_once(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though each source is a job of its own: only so can their faces share batches."""
    monkeypatch.setattr("tests.cli.test_fuse.meeting", threading.Barrier(4))
    for name in "abcd":
        photo(room / f"{name}.png")
    table(room / "pairs.csv", *(f"{name}.png,in/a.jpg" for name in "abcd"))
    done = patch("--pairs", "pairs.csv", "-o", "out", "--workers", "4", "--json")
    assert (done.code, done.report["done"], done.report["failed"]) == (0, 4, [])


def test_the_faces_of_every_pair_count() -> None:
    """Of a target that goes with two sources both; once, however often a pair is done again."""
    tally = Tally(Counts(), 0.0)
    for job, faces in (("one", 2), ("two", 1), ("one", 3)):
        place = (0, job, "target.jpg", f"{job}.png", "")
        item = Item(*place, State.DONE, 1, None, {"faces": faces}, 0.0, 1.0)
        tally.add(Event(item, Counts(), 1.0))
    assert tally.faces() == {"target.jpg": 4}


def test_the_whole_is_counted(room: Path) -> None:
    """Failures are told with both photos, and fail no other pair; what was wrong can be mended."""
    table(room / "bad.png", "no picture")
    rows = [
        f"{source},in/{target}" for source in ("me.png", "bad.png") for target in ("a.jpg", "t")
    ]
    table(room / "in" / "t", "text")
    table(room / "pairs.csv", *rows, "you.png,in/a.jpg")
    done = patch("--pairs", "pairs.csv", "-o", "out", "--json")
    report = done.report
    assert (done.code, report["done"], report["total"]) == (1, 2, 5)
    told = {(Path(row["source"]).name, Path(row["file"]).name): row for row in report["failed"]}
    assert set(told) == {("me.png", "t"), ("bad.png", "a.jpg"), ("bad.png", "t")}
    assert told["me.png", "t"]["reason"].startswith("target: not a readable picture")
    assert told["bad.png", "a.jpg"]["reason"].startswith("source: not a readable picture")
    assert {row["code"] for row in told.values()} == {"decode"}
    photo(room / "bad.png")
    again = patch("--pairs", "pairs.csv", "-o", "out", "--json").report
    assert (again["done_before"], again["done"]) == (2, 3)
    assert [Path(row["source"]).name for row in again["failed"]] == ["me.png", "bad.png"]


def test_no_photo_is_written_over(room: Path) -> None:
    """In the folder of the photos, whatever they are called; nor is a result taken for a target."""
    for name in ("me.png", "you.png"):
        shutil.copy(name, f"in/{name}")
    shutil.copy("me.png", "in/a--you.png")
    originals = state(room / "in")
    results: set[str] = set()
    for source in ("in/me.png", "in/you.png", "in/me.png"):
        assert patch(source, "in", "-o", "in").code == 0
        after = state(room / "in")
        assert {name: after[name] for name in originals} == originals
        added = set(after) - set(originals) - results
        results |= added
    assert added == set()
    assert {"a--me.png", "a.jpg--you.png", "you--me.png", "a--you--me.png"} <= results
    assert "me--me.png" not in results  # the source itself is no target, found in its folder
    named = patch("you.png", "in/a--me.png", "-o", "in", "--json")  # but what is named is meant
    assert named.report["done"] == 1
    assert "a--me--you.png" in tree(room / "in")


def test_a_watched_source(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While targets are watched for, a new source does them all again."""
    out = room / "out"

    def steps() -> Iterator[None]:
        yield
        yield
        assert tree(out) == {"a--me.png", "sub/b--me.png"}
        first = state(out)
        photo(room / "in" / "c.jpg")
        yield
        yield
        second = state(out)
        assert set(second) == {*first, "c--me.png"}
        assert first.items() <= second.items()
        photo(room / "me.png", side=80)
        yield
        yield
        assert not set(state(out).values()) & set(second.values())

    script = steps()

    def look_away(_: float) -> None:
        if next(script, script) is script:
            raise KeyboardInterrupt

    monkeypatch.setattr("portrayer.cli.folder.time.sleep", look_away)
    watched = patch("me.png", "in", "-o", "out", "--watch", "--json")
    assert (watched.code, watched.err, watched.report["done"]) == (0, "", 3)


def test_the_ledger_holds_a_job_a_source(room: Path) -> None:
    """The target is an item's source, and the source one of its job's options: what any other
    process needs to go on."""
    patch("me.png", "in/a.jpg", "-o", "out")
    patch("you.png", "in", "-o", "out", "--level", "5")
    with Store(room / "out" / ".portrayer" / "jobs.sqlite") as store:
        jobs = store.jobs()
        assert [job.task for job in jobs] == ["patch", "patch"]
        assert [job.options for job in jobs] == [
            {"consent": True, "source": str(room / "me.png")},
            {"consent": True, "source": str(room / "you.png"), "level": 5},
        ]
        sources = [{item.source for item in store.items(job.id)} for job in jobs]
        assert sources == [
            {str(room / "in" / "a.jpg")},
            {str(room / "in" / "a.jpg"), str(room / "in" / "sub" / "b.png")},
        ]


def test_marked_for_good(room: Path) -> None:
    """What was made of two photos says so after another task has made a file of another kind."""
    patch("me.png", "in/a.jpg", "-o", "made.jpg", "--level", "7")
    made = mark(room / "made.jpg")
    assert made is not None
    assert made.tool.startswith("Portrayer ")
    assert made.parameters == {"level": "7"}
    for name, more in (("cut.png", ()), ("m.webp", ("--output", "matte"))):
        assert portrayer("matte", "made.jpg", "-o", name, *more).code == 0
        assert mark(room / name) == made
    both = ("--output", "both", "--background", "white")
    assert portrayer("matte", "cut.png", "-o", "both.jpg", *both).code == 0
    assert mark(room / "both.jpg") == mark(room / "both.matte.png") == made
    assert portrayer("matte", "in/a.jpg", "-o", "plain.png").code == 0
    assert mark(room / "plain.png") is None


WRONG = [
    ((), "type source and at least one target, or say --pairs"),
    (("me.png",), "type source and at least one target"),
    (("me.png", "in"), "say where the results go"),
    (("gone.png", "in", "-o", "out"), "gone.png does not exist"),
    (("me.png", "gone", "-o", "out"), "gone does not exist"),
    (("in", "me.png", "-o", "out"), "in is a folder: the source is one photo"),
    (("-", "in/a.jpg", "-o", "out"), "- (stdin) stands alone, as the only target"),
    (("me.png", "-", "in", "-o", "out"), "- (stdin) stands alone, as the only target"),
    (("me.png", "in", "-o", "made.png"), "many results need a folder"),
    (("--pairs", "two.csv", "-o", "made.png"), "many results need a folder"),
    (("--pairs", "two.csv", "-o", "-"), "takes one photo"),
    (("me.png", "in/a.jpg", "-o", "me.png"), "me.png would be overwritten"),
    (("me.png", "in/a.png", "-o", "in/a.png"), "a.png would be overwritten"),
    (("--pairs", "two.csv", "me.png", "-o", "out"), "--pairs names all photos"),
    (("--pairs", "gone.csv", "-o", "out"), "gone.csv cannot be read: No such file"),
    (("--pairs", "in", "-o", "out"), "in cannot be read: Is a directory"),
    (("--pairs", "me.png", "-o", "out"), "me.png is not text in UTF-8"),
    (("--pairs", "empty.csv", "-o", "out"), "empty.csv has no row of source,target"),
    (("--pairs", "head.csv", "-o", "out"), "head.csv has no row of source,target"),
    (("--pairs", "turned.csv", "-o", "out"), "turned.csv: line 1 is not source,target"),
    (("--pairs", "quote.csv", "-o", "out"), "quote.csv, line 2: "),
    (("me.png", "in", "-o", "out", "--level", "100"), "level is 100, it can be 0 to 99"),
    (("me.png", "in", "-o", "out", "--consent"), "--consent"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_a_wrong_wish(arguments: tuple[str, ...], line: str, room: Path) -> None:
    """One line, exit code 2, and nothing is written."""
    photo(room / "in" / "a.png")
    table(room / "two.csv", "me.png,in/a.jpg", "you.png,in/a.jpg")
    table(room / "empty.csv")
    table(room / "head.csv", "source,target")
    table(room / "turned.csv", "Target,Source", "in/a.jpg,me.png")
    table(room / "quote.csv", "me.png,in/a.jpg", 'me.png,"in/a.jpg')
    before = state(room)
    wrong = patch(*arguments)
    assert wrong.code == USAGE
    assert line in wrong.complaint()
    assert state(room) == before


def test_bad_rows_are_told_by_their_lines(room: Path) -> None:
    """All that is wrong with a table, as far as a line holds it; nothing is begun."""
    rows = ("me.png,in/a.jpg", "me.png", "", "me.png,in/a.jpg,3", ",in/a.jpg", "x.png,in/a.jpg")
    table(room / "pairs.csv", *rows)
    wrong = patch("--pairs", "pairs.csv", "-o", "out")
    assert wrong.code == USAGE
    said = wrong.complaint()
    for line in (2, 4, 5):
        assert f"line {line} is not source,target" in said
    assert f"line 6: {room / 'x.png'} does not exist" in said
    assert "line 1" not in said
    assert not (room / "out").exists()
    table(room / "pairs.csv", *(["me.png"] * 2000))
    assert patch("--pairs", "pairs.csv", "-o", "out").complaint().endswith("and 1995 more")


@contextmanager
def terminal(answer: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A terminal at which ``answer`` is typed; what it showed is there at the end."""
    outside, inside = os.openpty()
    os.write(outside, f"{answer}\n".encode())
    shown: list[str] = []
    with (
        open(inside, encoding="utf-8") as typed,
        open(os.dup(inside), "w") as screen,
        monkeypatch.context() as patched,
    ):
        patched.setattr("sys.stdin", typed)
        patched.setattr("sys.stderr", screen)
        yield shown
        screen.flush()
        while select.select([outside], [], [], 0.2)[0]:
            shown.append(os.read(outside, 4096).decode())
    os.close(outside)


def at_a_terminal(
    answer: str, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int | str | None, str]:
    """Exit code of a command typed at a terminal, and what was shown there."""
    with terminal(answer, monkeypatch) as shown, pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code, "".join(shown)


WISH = ("patch", "me.png", "in", "-o", "out")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where a user's word is kept."""
    return tmp_path / "home" / "portrayer" / "consent.toml"


@pytest.mark.parametrize("answer", ["y", " YES "])
def test_asked_once(answer: str, room: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The word given at a terminal is kept with its date, and is good for every later run."""
    code, shown = at_a_terminal(answer, monkeypatch, *WISH)
    assert code == 0
    assert shown.count(f"{STATEMENT} [y/N] ") == 1
    assert tomllib.loads(kept.read_text()) == {STATEMENT: date.today()}
    assert len(tree(room / "out")) == 2
    code, shown = at_a_terminal("n", monkeypatch, *WISH[:4], "other")
    assert (code, STATEMENT in shown) == (0, False)
    silent = portrayer(*WISH[:4], "third", "--json")
    assert (silent.code, silent.report["done"]) == (0, 2)


@pytest.mark.parametrize("answer", ["", "n", "yess"])
def test_no_is_no(answer: str, room: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but yes is yes; nothing is done or kept, and one line says why."""
    code, shown = at_a_terminal(answer, monkeypatch, *WISH)
    assert code == USAGE
    assert "portrayer: nothing was done: it needs the right to use these faces" in shown
    assert not kept.exists()
    assert not (room / "out").exists()


def test_nobody_to_ask(room: Path, kept: Path) -> None:
    """Without a terminal it takes --yes, which is for that run alone."""
    wrong = portrayer(*WISH)
    assert wrong.code == USAGE
    assert wrong.complaint() == f'say --yes, which means: "{STATEMENT}"'
    assert not (room / "out").exists()
    assert portrayer(*WISH, "--yes").code == 0
    assert not kept.exists()
    assert portrayer(*WISH).code == USAGE


def test_nobody_elses_word_counts(room: Path, kept: Path) -> None:
    """Not a preset's, which others may have written, nor one for another statement."""
    preset = table(room / "nice.toml", 'task = "patch"', "[options]", "consent = true", "level = 9")
    assert "--yes" in portrayer(*WISH, "--preset", preset).complaint()
    for text in ('"I am 18" = 2026-01-01', f'"{STATEMENT}" = true', f'"{STATEMENT}" = false', ""):
        table(kept, text)
        assert "--yes" in portrayer(*WISH).complaint()
    table(kept, f'"{STATEMENT}" = 2026-01-01')
    assert portrayer(*WISH, "--preset", preset).code == 0
    assert mark(room / "out" / "a--me.png") == mark(room / "out" / "sub" / "b--me.png")
    found = mark(room / "out" / "a--me.png")
    assert found is not None
    assert found.parameters == {"level": "9"}


def test_a_word_that_cannot_be_read_or_kept(
    room: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken file is told, not taken for a yes; a disk that keeps nothing stops nobody."""
    table(kept, "yes yes")
    assert "consent.toml is not valid TOML" in portrayer(*WISH).complaint()
    shutil.rmtree(kept.parent)
    table(kept.parent)  # a file where the folder should be
    code, shown = at_a_terminal("y", monkeypatch, *WISH)
    assert code == 0
    assert "portrayer: the answer is not kept, " in shown


def test_python_wants_it_too(room: Path) -> None:
    """The task itself refuses, whoever calls it, and names what to pass."""
    from portrayer.studio import Studio

    with Studio(device="cpu", workers=1) as studio:
        photos = [room / "me.png", room / "in" / "a.jpg"]
        with pytest.raises(InvalidOption, match="consent=True"):
            studio.pipeline.run("patch", photos)
        assert studio.pipeline.run("patch", photos, {"consent": True}).credits.mark is not None
        with pytest.raises(InputError, match="patch takes source, target; 1 inputs were given"):
            studio.pipeline.process_file("patch", {"consent": True}, photos[1], room / "x.png")


def test_tasks_of_one_photo_are_as_they_were() -> None:
    """Neither --pairs nor --yes; what was typed is one group, or stdin."""
    assert "--pairs" in portrayer("patch", "--help").out.decode()
    assert "--yes" in portrayer("patch", "--help").out.decode()
    shown = portrayer("matte", "--help").out.decode()
    assert "--pairs" not in shown
    assert "--yes" not in shown
    assert groups(("photo",), ["a", "b"]) == [({}, [Path("a"), Path("b")])]
    assert groups(("photo",), ["-"]) == [({}, None)]


@pytest.mark.parametrize("name", TASKS)
def test_no_option_is_called_like_an_input(name: str) -> None:
    """For both stand side by side in a job's options."""
    row = TASKS[name]
    beside: Mapping[str, Any] = dict.fromkeys(row.inputs[:-1])
    assert not beside.keys() & {o.field for o in options(row.options)}
    json.dumps(beside)
