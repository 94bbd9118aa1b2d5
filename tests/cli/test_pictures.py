"""Pictures that an option names, through the command line."""

from __future__ import annotations

from pathlib import Path

from .terminal import photo, portrayer, state


def test_a_changed_background_makes_the_photos_anew(tmp_path: Path) -> None:
    """Like a changed photo; what it was before is what is gone on with."""
    out, hill = tmp_path / "out", tmp_path / "hill.png"
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "b.jpg")
    photo(hill, side=40)
    wish = ("matte", tmp_path / "in", "-o", out, "--background", hill, "--json")
    assert portrayer(*wish).report["done"] == 2
    before = state(out)
    assert portrayer(*wish).report["done_before"] == 2
    assert state(out) == before
    photo(hill, side=60)
    again = portrayer(*wish)
    assert (again.code, again.report["done"], again.report["done_before"]) == (0, 2, 0)
    after = state(out)
    assert all(after[name] != before[name] for name in ("a.png", "b.png"))


def test_a_background_is_not_written_over(tmp_path: Path) -> None:
    """A result that would have its name takes another."""
    out = tmp_path / "out"
    photo(tmp_path / "in" / "a.jpg")
    hill = out / "a.png"
    photo(hill, side=40)
    behind = hill.read_bytes()
    wish = ("matte", tmp_path / "in", "-o", out, "--background", hill, "--json")
    for done_before in (0, 1):
        assert portrayer(*wish).report["done_before"] == done_before
        assert hill.read_bytes() == behind
        assert set(state(out)) == {"a.png", "a.jpg.png"}
