"""Fetching a model: from where a broken line left off, never two versions mixed, and only what it
should be.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from portrayer.errors import ChecksumMismatch, DownloadFailed, OutputError, WeightsMismatch
from portrayer.models import installed, weights
from portrayer.models.spec import ModelSpec

from .origin import (
    CONTENT,
    SHA256,
    WHOLE,
    Origin,
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
    weights.verify.cache_clear()
    origin.content = torch_file(tensors(1))
    with pytest.raises(ChecksumMismatch):
        installed.pull(spec)
    origin.content = CONTENT
    assert installed.pull(spec).sha256 == made.sha256
    assert runs(spec)


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
