"""Fetching a model: from where a broken line left off, never two versions mixed, and only what it
should be.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from portrayer.errors import (
    ChecksumMismatch,
    DownloadFailed,
    InputError,
    ModelError,
    OutputError,
    WeightsMismatch,
)
from portrayer.models import installed, weights
from portrayer.models.spec import ModelSpec
from portrayer.settings import Settings

from . import graphs
from .origin import (
    CONTENT,
    GRAPH,
    KEPT,
    SHA256,
    WHOLE,
    Origin,
    cuts,
    cutter,
    inside,
    published,
    runs,
    small,
    tensors,
    torch_file,
)

pytestmark = pytest.mark.usefixtures("nets")


def test_a_model_is_fetched(folder: Path, origin: Origin) -> None:
    """The hash of what came is pinned, progress ends at the whole, nothing is left over; a second
    pull asks for nothing."""
    spec, told = small(folder, origin.url), list[tuple[int, int]]()
    made = installed.pull(spec, progress=lambda here, total: told.append((here, total)))
    assert (made.source, made.source_sha256) == (origin.url, SHA256)
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert inside(folder) == WHOLE
    assert runs(spec)
    assert installed.pull(spec) == made
    assert origin.asked == [""]


def test_a_file_url_is_fetched(folder: Path, given: Path) -> None:
    """From a disk as from a server; one that is not there is told."""
    spec = small(folder, given.as_uri())
    assert installed.pull(spec).source_sha256 == SHA256
    assert runs(spec)
    with pytest.raises(DownloadFailed, match="No such file"):
        installed.pull(small(folder / "other", (given.parent / "none").as_uri()))


def broken(spec: ModelSpec) -> str:
    with pytest.raises(DownloadFailed) as caught:
        installed.pull(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("cut", [1, 1000, len(CONTENT) - 1])
def test_a_broken_line_is_taken_up_again(cut: int, folder: Path, origin: Origin) -> None:
    """What came stays; the next pull asks for the rest alone, and the whole is as published."""
    spec = small(folder, origin.url)
    origin.cut = cut
    assert "run the same command again to go on" in broken(spec)
    assert (folder / "small.part").read_bytes() == CONTENT[:cut]
    assert installed.installed(spec) is None
    origin.cut = None
    assert installed.pull(spec).source_sha256 == SHA256
    assert origin.asked == ["", f"bytes={cut}-"]
    assert inside(folder) == WHOLE


def test_many_breaks_still_come_to_an_end(folder: Path, origin: Origin) -> None:
    """Each try goes on where the last one ended."""
    spec = small(folder, origin.url)
    origin.cut = len(CONTENT) // 4 + 1
    for _ in range(3):
        broken(spec)
    assert installed.pull(spec).source_sha256 == SHA256
    assert origin.asked == ["", *(f"bytes={origin.cut * n}-" for n in (1, 2, 3))]


def test_two_versions_are_never_mixed(folder: Path, origin: Origin) -> None:
    """What changed at its origin between two tries is fetched anew."""
    spec = small(folder, origin.url)
    half = origin.cut = len(CONTENT) // 2
    broken(spec)
    origin.content, origin.cut = torch_file(tensors(1)), None
    assert origin.content[:half] != CONTENT[:half], "equal beginnings would prove nothing"
    installed.pull(spec)
    assert origin.asked == ["", f"bytes={half}-"]
    assert runs(spec, seed=1)


def test_a_server_without_ranges(folder: Path, origin: Origin) -> None:
    """It sends the whole again, and the whole is what is kept."""
    spec = small(folder, origin.url)
    origin.ranges, origin.cut = False, 1000
    broken(spec)
    origin.cut = None
    assert installed.pull(spec).source_sha256 == SHA256


def test_a_rest_of_something_else_is_not_gone_on_with(folder: Path, origin: Origin) -> None:
    """A part without its note, or of another address, is begun again."""
    folder.mkdir(parents=True)
    (folder / "small.part").write_bytes(b"nobody knows")
    assert installed.pull(small(folder, origin.url)).source_sha256 == SHA256
    assert origin.asked == [""]


def test_a_part_that_is_longer_than_the_whole(folder: Path, origin: Origin) -> None:
    """A server that knows no such rest (416) is asked for the whole."""
    spec = small(folder, origin.url)
    origin.cut = 1000
    broken(spec)
    origin.cut = None
    (folder / "small.part").write_bytes(CONTENT * 2)
    assert installed.pull(spec).source_sha256 == SHA256
    assert origin.asked == ["", f"bytes={2 * len(CONTENT)}-", ""]


def test_two_that_fetch_at_once(folder: Path, origin: Origin) -> None:
    """What both wrote is not installed, and not gone on with."""
    spec = small(folder, origin.url)

    def other(here: int, total: int) -> None:
        with (folder / "small.part").open("ab") as part:
            part.write(CONTENT)

    with pytest.raises(DownloadFailed, match="ended after"):
        installed.pull(spec, progress=other)
    assert inside(folder) == {"small.part"}
    assert installed.pull(spec).source_sha256 == SHA256


def test_one_process_at_a_time(folder: Path, tmp_path: Path, origin: Origin) -> None:
    """While one fetches a model, no other fetches, adds or removes it, and the first is not
    disturbed; other models are nobody's business.
    """
    spec, other = small(folder, origin.url), cutter(folder)
    graph = graphs.write(tmp_path / "given.onnx", GRAPH)
    weight = graphs.write(tmp_path / "given.pth", torch_file(tensors(1)))
    said = []

    def meanwhile(here: int, total: int) -> None:
        for act in (installed.pull, installed.remove, lambda spec: installed.add(spec, weight)):
            with pytest.raises(OutputError, match=r"another portrayer .* small") as caught:
                act(spec)
            said.append(str(caught.value))
        installed.add(other, graph)

    assert installed.pull(spec, progress=meanwhile).source_sha256 == SHA256
    assert len(said) >= 3
    assert inside(folder) == WHOLE | KEPT
    assert (origin.asked, runs(spec), cuts(other)) == ([""], True, True)
    installed.remove(spec)
    assert inside(folder) == KEPT


def test_another_process_is_seen(folder: Path, origin: Origin) -> None:
    """And its end, whatever it was: what it had is gone on with."""
    spec = small(folder, origin.url)
    origin.cut = 1000
    broken(spec)
    note = weights.unfinished(folder / "small.part")
    code = (
        "import sys, pathlib; from portrayer.models import claim\n"
        "with claim.held(pathlib.Path(sys.argv[1]), 'small'): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(note)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="wait until it is done"):
            installed.pull(spec)
        process.kill()
    origin.cut = None
    assert installed.pull(spec).source_sha256 == SHA256
    assert origin.asked == ["", "bytes=1000-"]


def test_a_part_from_elsewhere_in_the_file(folder: Path, origin: Origin) -> None:
    """A server that sends another part than the rest is told, and what is here stays as it is."""
    spec = small(folder, origin.url)
    origin.cut = 1000
    broken(spec)
    origin.cut, origin.astray = None, 10
    assert "another part" in broken(spec)
    assert (folder / "small.part").read_bytes() == CONTENT[:1000]
    origin.astray = 0
    assert installed.pull(spec).source_sha256 == SHA256


def test_what_was_fetched_whole_is_not_fetched_again(folder: Path, origin: Origin) -> None:
    """A disk that takes no more at the very end costs no second download."""
    spec = small(folder, origin.url)
    (folder / "small.safetensors").mkdir(parents=True)
    with pytest.raises(OutputError):
        installed.pull(spec)
    (folder / "small.safetensors").rmdir()
    assert installed.pull(spec).source_sha256 == SHA256
    assert origin.asked == [""]


def test_the_next_address_is_tried(folder: Path, origin: Origin) -> None:
    """Where the first does not have it; where none has, each is named."""
    gone = origin.url.replace("127.0.0.1", "nowhere.invalid")
    assert installed.pull(small(folder, gone, origin.url)).source == origin.url
    origin.status = 404
    line = broken(small(folder / "other", gone, origin.url))
    assert "nowhere.invalid" in line
    assert "404" in line


def test_a_broken_line_is_no_reason_to_begin_elsewhere(folder: Path, origin: Origin) -> None:
    """While an address gives something it is kept to; when it gives nothing more, the next one has
    its turn."""
    with published(CONTENT) as mirror:
        spec = small(folder, origin.url, mirror.url)
        origin.cut = 1000
        broken(spec)
        assert mirror.asked == []
        origin.status = 500
        assert installed.pull(spec).source == mirror.url


def test_a_server_that_says_nothing(
    folder: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up after a while."""
    monkeypatch.setattr(weights, "TIMEOUT", 0.1)
    origin.silent.set()
    assert "timed out" in broken(small(folder, origin.url))


@pytest.mark.parametrize("url", ["none:", "http://[", "http://127.0.0.1:1/", "nothing at all"])
def test_an_address_that_leads_nowhere(url: str, folder: Path) -> None:
    """One line that names it."""
    assert broken(small(folder, url)).startswith(url)


def test_a_published_hash_is_held_to(folder: Path, origin: Origin) -> None:
    """Another file is refused and not kept; the right one is installed."""
    with pytest.raises(ChecksumMismatch, match=SHA256[:12]):
        installed.pull(small(folder, origin.url, sha="0" * 64))
    assert inside(folder) == set()
    assert installed.pull(small(folder, origin.url, sha=SHA256)).source_sha256 == SHA256


def test_the_first_hash_is_pinned(folder: Path, origin: Origin) -> None:
    """A damaged model is fetched again, and must be what it was the first time."""
    spec = small(folder, origin.url)
    made = installed.pull(spec)
    (folder / "small.safetensors").write_bytes(b"damaged")
    origin.content = torch_file(tensors(1))
    with pytest.raises(ChecksumMismatch):
        installed.pull(spec)
    origin.content = CONTENT
    assert installed.pull(spec).sha256 == made.sha256
    assert runs(spec)


def test_the_pin_holds_for_every_address(folder: Path, origin: Origin) -> None:
    """What came from one is not replaced by another file from the next."""
    with published(torch_file(tensors(1))) as mirror:
        installed.pull(small(folder, origin.url, mirror.url))
        (folder / "small.safetensors").write_bytes(b"damaged")
        origin.status = 404
        with pytest.raises(ChecksumMismatch, match=mirror.url):
            installed.pull(small(folder, origin.url, mirror.url))
        mirror.content = CONTENT
        assert installed.pull(small(folder, origin.url, mirror.url)).source == mirror.url


def test_a_page_instead_of_weights(folder: Path, origin: Origin) -> None:
    """What a login page or a full quota sends is told, and not kept."""
    origin.content = b"<!doctype html><title>Sign in</title>" * 100
    with pytest.raises(WeightsMismatch, match=r"127\.0\.0\.1.*no file of weights"):
        installed.pull(small(folder, origin.url))
    assert inside(folder) == set()


def test_an_unfinished_download_can_be_removed(folder: Path, origin: Origin) -> None:
    """Nothing of it stays."""
    spec = small(folder, origin.url)
    origin.cut = 10
    broken(spec)
    installed.remove(spec)
    assert inside(folder) == set()


# --- graphs, which are kept as they are -----------------------------------------------------------


@pytest.fixture
def graph(origin: Origin) -> Origin:
    """Where a graph is published."""
    origin.content = GRAPH
    return origin


def test_a_graph_is_fetched_and_kept(folder: Path, graph: Origin) -> None:
    """To the byte, with its receipt; it answers, and a second pull asks for nothing."""
    spec = cutter(folder, graph.url)
    made = installed.pull(spec)
    assert (folder / "cutter.onnx").read_bytes() == GRAPH
    assert made.sha256 == made.source_sha256 == hashlib.sha256(GRAPH).hexdigest()
    assert (made.bytes, made.graph) == (len(GRAPH), True)
    assert inside(folder) == KEPT
    assert cuts(spec)
    assert installed.pull(spec) == made
    assert graph.asked == [""]


def test_a_graph_is_gone_on_with(folder: Path, graph: Origin) -> None:
    """Where the line broke; the whole is the published one."""
    spec = cutter(folder, graph.url)
    graph.cut = half = len(GRAPH) // 2
    assert "run the same command again to go on" in broken(spec)
    graph.cut = None
    installed.pull(spec)
    assert graph.asked == ["", f"bytes={half}-"]
    assert (folder / "cutter.onnx").read_bytes() == GRAPH


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_what_is_published_is_held_to(kind: str, folder: Path, graph: Origin) -> None:
    """By either hash, and by both: another file is refused in one line that says which, and not
    kept."""
    right = {"sha": hashlib.sha256(GRAPH).hexdigest(), "md5": hashlib.md5(GRAPH).hexdigest()}
    wrong = right | {"sha" if kind == "sha256" else "md5": "0" * 32}
    with pytest.raises(ChecksumMismatch) as caught:
        installed.pull(cutter(folder, graph.url, **wrong))
    assert f"{graph.url} has {kind} " in str(caught.value)
    assert ", not 000000000000... as it should" in str(caught.value)
    assert inside(folder) == set()
    assert cuts(_pulled(cutter(folder, graph.url, **right)))


def _pulled(spec: ModelSpec) -> ModelSpec:
    installed.pull(spec)
    return spec


@pytest.mark.parametrize("wrong", [b"<html>Sign in</html>", graphs.picture(64)])
def test_a_wrong_file_is_no_reason_to_give_up(wrong: bytes, folder: Path, graph: Origin) -> None:
    """Published or not, a file that is not the model, or not the published one, is passed over;
    where every address has such a one each is named, and the mismatch is what is raised.
    """
    sha = hashlib.sha256(GRAPH).hexdigest()
    with published(wrong) as page, published(GRAPH) as mirror:
        for at, row in enumerate(({}, {"sha": sha})):
            spec = cutter(folder / str(at), page.url, mirror.url, **row)
            assert installed.pull(spec).source == mirror.url
            assert inside(folder / str(at)) == KEPT
            assert cuts(spec)
        graph.status, mirror.content = 404, wrong
        spec = cutter(folder / "none", graph.url, page.url, mirror.url, sha=sha)
        with pytest.raises(ChecksumMismatch) as caught:
            installed.pull(spec)
        assert [url in str(caught.value) for url in spec.weights.urls] == [True] * 3
        assert inside(folder / "none") == set()


def test_what_moved_is_found_at_the_next_address(folder: Path, graph: Origin) -> None:
    """An origin that answers 404 is passed over."""
    with published(GRAPH) as mirror:
        graph.status = 404
        spec = cutter(folder, graph.url, mirror.url)
        assert installed.pull(spec).source == mirror.url
    assert len(graph.paths) == 1
    assert cuts(spec)


def test_a_graph_that_does_not_fit(folder: Path, graph: Origin) -> None:
    """Neither one of another side nor a login page is kept; the line names the address, and the
    input."""
    graph.content = graphs.picture(64)
    with pytest.raises(WeightsMismatch, match=r"127\.0\.0\.1.*'input' has shape"):
        installed.pull(cutter(folder, graph.url))
    graph.content = b"<!doctype html><title>Sign in</title>" * 100
    with pytest.raises(WeightsMismatch, match=r"127\.0\.0\.1") as caught:
        installed.pull(cutter(folder, graph.url))
    assert "\n" not in str(caught.value)
    assert inside(folder) == set()


def test_no_consent_nothing_asked(folder: Path, graph: Origin) -> None:
    """The licence is named, and the origin hears of nothing."""
    spec = cutter(folder, graph.url, consent=True)
    with pytest.raises(InputError, match="must be accepted first: for tests, here"):
        installed.pull(spec)
    assert (inside(folder), graph.paths) == (set(), [])
    assert installed.pull(spec, consented=True).consented
    assert not installed.unanswered(spec)


def test_without_the_runtime(folder: Path, graph: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said before anything is fetched."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'portrayer\[onnx\]'"):
        installed.pull(cutter(folder, graph.url))
    assert graph.paths == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk(folder: Path, graph: Origin) -> None:
    """One line names the file; with room again the same command does it."""
    spec = cutter(folder, graph.url)
    folder.mkdir(parents=True)
    (folder / "cutter.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"cutter\.part' cannot be written: No space left"):
        installed.pull(spec)
    (folder / "cutter.part").unlink()
    assert cuts(_pulled(spec))
    assert inside(folder) == KEPT


# --- mirrors, proxies, no network -----------------------------------------------------------------


def test_a_mirror_may_be_a_host() -> None:
    """And has no slash at its end; what is no address is refused."""
    for said in ("hf-mirror.com", "https://hf-mirror.com", "https://hf-mirror.com/"):
        assert Settings(mirror=said).mirror == "https://hf-mirror.com"
    assert Settings(proxy="10.0.0.1:3128").proxy == "http://10.0.0.1:3128"
    for wrong in ({"mirror": "ftp://a"}, {"mirror": "https://"}, {"proxy": "file:///a"}):
        with pytest.raises(ValueError, match="an address is needed"):
            Settings.model_validate(wrong)


def test_a_mirror_is_asked_first(folder: Path, graph: Origin) -> None:
    """At the path of the origin, below the mirror's own; the origin is not asked."""
    with published(GRAPH) as mirror:
        base = mirror.url.rpartition("/")[0]
        net = Settings(mirror=f"{base}/hub/")
        spec = cutter(folder, f"{graph.url}?Revision=master")
        assert installed.pull(spec, net=net).source == f"{base}/hub/small.pth?Revision=master"
        assert mirror.paths == ["/hub/small.pth?Revision=master"]
    assert graph.paths == []
    assert cuts(spec)


def test_what_a_mirror_has_not_comes_from_the_origin(folder: Path, graph: Origin) -> None:
    """And a mirror may be a folder."""
    share = folder.parent / "share"
    net = Settings(mirror=share.as_uri())
    assert installed.pull(cutter(folder, graph.url), net=net).source == graph.url
    share.mkdir(parents=True)
    (share / "small.pth").write_bytes(GRAPH)
    other = cutter(folder / "other", graph.url)
    assert installed.pull(other, net=net).source == f"{share.as_uri()}/small.pth"
    assert len(graph.paths) == 1


@pytest.mark.parametrize("how", ["setting", "environment"])
def test_a_proxy_is_asked(
    how: str, folder: Path, graph: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the address as it is; the one that is set, or the one that the environment names."""
    proxy, url = graph.url.rpartition("/")[0], "http://origin.invalid/cutter.onnx"
    for name in ("no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    if how == "environment":
        monkeypatch.setenv("http_proxy", proxy)
    net = Settings(proxy=proxy if how == "setting" else "")
    assert installed.pull(cutter(folder, url), net=net).source == url
    assert graph.paths == [url]


def test_nothing_is_fetched_offline(folder: Path, graph: Origin) -> None:
    """The line says what takes a file instead; what is here already stays, and what came whole
    before is installed."""
    spec, net = cutter(folder, graph.url), Settings(offline=True)
    with pytest.raises(DownloadFailed, match="`portrayer models add FILE --like cutter`"):
        installed.pull(spec, net=net)
    assert graph.paths == []
    (folder / "cutter.onnx").mkdir(parents=True)
    with pytest.raises(OutputError):
        installed.pull(spec)
    (folder / "cutter.onnx").rmdir()
    made = installed.pull(spec, net=net)
    assert installed.pull(spec, net=net) == made
    assert graph.asked == [""]


def test_offline_a_folder_may_be_read(folder: Path, given: Path) -> None:
    """It is no network."""
    spec, net = small(folder, given.as_uri()), Settings(offline=True)
    assert installed.pull(spec, net=net).source_sha256 == SHA256
