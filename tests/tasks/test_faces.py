"""Finding faces, with networks that see perfectly: what they are asked, and what is made of it.

The photo's colours are its coordinates, so that whoever is shown a part of it, however moved and
scaled, can tell where every face lies in that part.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from portrayer.errors import InvalidOption
from portrayer.tasks.faces import CELL, LOOKS, Face, chosen, decode, find, propose
from portrayer.types import Image

CLOSE, FAR, MESH = "face-detector-close", "face-detector", "face-landmarks"
KNOWN = np.random.default_rng(0).uniform(-0.5, 0.5, (468, 3))
KNOWN[:4, :2] = (-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)  # a mesh touches its box
FIVE = np.array([(-0.22, -0.1), (0.22, -0.1), (0, 0.1), (-0.18, 0.28), (0.18, 0.28)])


@dataclass(frozen=True)
class Sitter:
    """A face that is there: ``x``, ``y`` of its middle, in pixels; ``real`` is not if no mesh can
    follow it.
    """

    x: float
    y: float
    width: float
    height: float
    score: float = 0.9
    turn: float = 0.0
    real: bool = True

    def place(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        """What lies at ``shape`` (N, 2) of an upright face from -.5 to .5, in the photo."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        return (shape * (self.width, self.height)) @ np.array([(c, s), (-s, c)]) + (self.x, self.y)

    @property
    def mesh(self) -> NDArray[np.float64]:
        return self.place(KNOWN[:, :2])

    @property
    def points(self) -> NDArray[np.float64]:
        return self.place(FIVE)


def chart(height: int, width: int) -> Image:
    """A photo whose red is x and whose green is y, dithered; blue tells it from bars."""
    y, x = np.mgrid[:height, :width]
    exact = np.stack([20 + 200 * x / width, 20 + 200 * y / height, np.full(x.shape, 250.0)], 2)
    return np.floor(exact + np.random.default_rng(0).random(exact.shape)).astype(np.uint8)


@dataclass
class Seer:
    """Stands for the engine: it reads in the colours of a sample what part of the photo it shows,
    and answers what perfect networks would.
    """

    photo: Image
    sitters: list[Sitter]
    asked: Counter[str] = field(default_factory=Counter)
    crops: list[Image] = field(default_factory=list)

    def __call__(self, model: str, samples: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert samples.dtype == np.uint8
        self.asked[model] += 1
        sides = {FAR: 640, CLOSE: 320, MESH: 128}
        assert samples.shape[1:] == (sides[model], sides[model], 3)
        self.crops += [*samples] if model == MESH else []
        answer = self.mesh if model == MESH else self.maps
        return np.stack([answer(sample) for sample in samples]).astype(np.float32)

    def shown(self, sample: Image) -> NDArray[np.float64]:
        """(2, 3) from the photo's pixels to the sample's, by least squares over its colours."""
        step = max(1, len(sample) // 80)
        v, u = np.mgrid[: len(sample) : step, : len(sample) : step]
        red, green, blue = np.float64(sample[::step, ::step]).reshape(-1, 3).T
        low, high = 23, 216  # beyond lies the photo's edge, repeated
        good = (blue > 245) & (np.minimum(red, green) > low) & (np.maximum(red, green) < high)
        height, width = self.photo.shape[:2]
        here = np.stack([(red - 20) * width / 200, (green - 20) * height / 200, red * 0 + 1], 1)
        there = np.stack([u.ravel(), v.ravel()], 1)
        # Colours are rounded and pixels are not: they are what is explained.
        ones = np.column_stack([there, np.ones(len(there))])
        back = np.linalg.lstsq(ones[good], here[good], rcond=None)[0]
        return np.linalg.inv(back.T)[:2]

    def maps(self, sample: Image) -> NDArray[np.float64]:
        cells = len(sample) // CELL
        maps = np.zeros((cells, cells, 15))
        maps[..., 0] = -9
        matrix = self.shown(sample)
        for sitter in self.sitters:
            zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
            size = np.array([sitter.width, sitter.height]) * zoom
            if not 8 <= max(size) <= 330:
                continue
            middle = matrix @ (sitter.x, sitter.y, 1)
            column, row = np.clip(np.round((middle - 3.5) / 8), 0, cells - 1).astype(int)
            points = sitter.points @ matrix[:, :2].T + matrix[:, 2]
            maps[row, column] = [
                np.log(sitter.score / (1 - sitter.score)),
                *((middle - 3.5) / 8 - (column, row)),
                *np.log(size / 32),
                *((points - middle) / size).ravel(),
            ]
        return maps

    def mesh(self, sample: Image) -> NDArray[np.float64]:
        matrix = self.shown(sample)
        middle = np.linalg.solve(matrix[:, :2], 63.5 - matrix[:, 2])
        sitter = min(self.sitters, key=lambda s: np.hypot(*(middle - (s.x, s.y))))
        if not sitter.real:
            return np.random.default_rng(sample[60].ravel().tolist()).uniform(0, 1, (473, 3))
        zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
        depth = np.append(KNOWN[:, 2] * sitter.width * zoom, np.zeros(5))
        flat = np.concatenate([sitter.mesh, sitter.points]) @ matrix[:, :2].T + matrix[:, 2]
        return np.column_stack([flat, depth]) / 128


@st.composite
def photos(draw: st.DrawFn) -> Seer:
    """A photo and up to six faces, no two of which touch."""
    height, width = draw(st.integers(150, 700)), draw(st.integers(150, 700))
    slots = draw(st.lists(st.integers(0, 8), unique=True, max_size=6))
    sitters = []
    for slot in slots:
        room = np.array([width, height]) / 3
        x, y = (slot % 3 + draw(st.floats(0.45, 0.55)), slot // 3 + draw(st.floats(0.45, 0.55)))
        size = draw(st.floats(0.4, 0.8)) * room.min()
        sitters.append(
            Sitter(
                x * room[0],
                y * room[1],
                size * draw(st.floats(0.65, 0.9)),
                size,
                score=draw(st.floats(0.45, 0.99)),
                turn=draw(st.floats(-0.4, 0.4)),
            )
        )
    return Seer(chart(height, width), sitters)


def nearest(sitter: Sitter, faces: list[Face]) -> Face:
    return min(faces, key=lambda f: np.abs(f.points - sitter.points).max())


@settings(max_examples=12, deadline=None)
@given(photos())
def test_every_face_is_found_once_where_it_is(seer: Seer) -> None:
    """As many as there are, the largest first; points, mesh and box within 2 % of the face."""
    faces = find(seer.photo, seer)
    assert len(faces) == len(seer.sitters)
    areas = [face.box[2] * face.box[3] for face in faces]
    assert areas == sorted(areas, reverse=True)
    for sitter in seer.sitters:
        face, near = nearest(sitter, faces), 0.02 * sitter.height
        np.testing.assert_allclose(face.points, sitter.points, atol=near)
        np.testing.assert_allclose(face.mesh[:, :2], sitter.mesh, atol=near)
        np.testing.assert_allclose(face.mesh[:, 2], KNOWN[:, 2] * sitter.width, atol=near)
        corner, size = sitter.mesh.min(0), np.ptp(sitter.mesh, axis=0)
        np.testing.assert_allclose(face.box, [*corner, *size], atol=2 * near)
        assert face.score == pytest.approx(sitter.score, abs=1e-3)
        assert face.points.shape == (5, 2)
        assert face.mesh.shape == (468, 3)
        assert face.points.dtype == face.mesh.dtype == np.float32


@settings(max_examples=12, deadline=None)
@given(photos(), st.integers(1, 8), st.floats(0, 200), st.floats(0.4, 1))
def test_what_is_left_out(seer: Seer, count: int, size: float, score: float) -> None:
    """A number takes the first so many; a least size and score leave out, and change nothing."""

    def boxes(**options: object) -> list[tuple[float, ...]]:
        return [face.box for face in find(seer.photo, seer, **options)]  # type: ignore[arg-type]

    faces = find(seer.photo, seer)
    every = [face.box for face in faces]
    assert boxes(which=str(count)) == every[:count]
    assert boxes(which="largest") == every[:1]
    assert boxes(min_size=size) == [box for box in every if min(box[2:]) >= size]
    assert boxes(min_score=score) == [face.box for face in faces if face.score >= score]


@settings(max_examples=12, deadline=None)
@given(photos())
def test_proposals(seer: Seer) -> None:
    """The detector's boxes and points, within half a pixel of its square and each face once."""
    boxes, scores, points = propose(seer.photo, seer, 0.4)
    assert len(boxes) == len(seer.sitters)
    assert (np.diff(scores) <= 0).all()
    near = 0.5 * max(1, max(seer.photo.shape) / 320)
    for sitter in seer.sitters:
        k = int(np.abs(points - sitter.points).max((1, 2)).argmin())
        middle = boxes[k, :2] + boxes[k, 2:] / 2
        np.testing.assert_allclose(middle, (sitter.x, sitter.y), atol=near)
        np.testing.assert_allclose(boxes[k, 2:], (sitter.width, sitter.height), rtol=0.02)
        np.testing.assert_allclose(points[k], sitter.points, atol=near)


def test_how_a_face_is_looked_at() -> None:
    """Some looks a face; the first has the box in its middle, 1.5 times as wide, and level eyes;
    the others lie about it.
    """
    sitter = Sitter(210, 160, 80, 100, turn=0.3)
    seer = Seer(chart(360, 400), [sitter])
    find(seer.photo, seer)
    assert len(seer.crops) == len(LOOKS) > 2
    first, *others = [seer.shown(crop) for crop in seer.crops]
    np.testing.assert_allclose(first @ (sitter.x, sitter.y, 1), 63.5, atol=0.7)
    right, left = sitter.points[:2] @ first[:, :2].T + first[:, 2]
    assert abs(right[1] - left[1]) < 0.7
    assert np.sqrt(np.linalg.det(first[:, :2])) == pytest.approx(128 / 150, rel=0.02)
    for other in others:
        off = np.hypot(*(other @ (sitter.x, sitter.y, 1) - 63.5))
        assert 2 < off < 15


def test_a_face_is_as_small_as_its_shorter_side() -> None:
    """A least size between a face's width and its height leaves it out."""
    seer = Seer(chart(300, 300), [Sitter(150, 150, 60, 90)])
    assert len(find(seer.photo, seer, min_size=55)) == 1
    assert find(seer.photo, seer, min_size=70) == []


def test_nobody() -> None:
    """Without a proposal there is no face, and no mesh is asked for."""
    seer = Seer(chart(400, 500), [])
    assert find(seer.photo, seer) == []
    assert seer.asked == {CLOSE: 1, FAR: 1}


def test_all_faces_are_one_request() -> None:
    """Each view of the detector is asked once, and the landmark network once for all faces."""
    sitters = [Sitter(60 + 120 * k, 80 + 130 * j, 45, 60) for k in range(5) for j in range(3)]
    seer = Seer(chart(480, 640), sitters)
    assert len(find(seer.photo, seer)) == 15
    assert seer.asked == {CLOSE: 1, FAR: 1, MESH: 1}


@pytest.mark.parametrize(
    ("height", "width", "face", "views"),
    [
        (600, 500, 660, {CLOSE, FAR}),
        (1300, 1000, 1100, {CLOSE, FAR}),
        (1200, 1600, 22, {CLOSE, FAR}),
        (320, 200, 60, {CLOSE}),
    ],
)
def test_every_size_has_its_view(height: int, width: int, face: int, views: set[str]) -> None:
    """Faces larger than the photo, as large, and a seventy-fifth of it are found; a small photo
    needs no second view.
    """
    seer = Seer(chart(height, width), [Sitter(width / 2, height / 2, 0.75 * face, face)])
    (found,) = find(seer.photo, seer)
    np.testing.assert_allclose(found.points, seer.sitters[0].points, atol=max(1, 0.03 * face))
    assert set(seer.asked) == {*views, MESH}


def test_what_no_mesh_follows_is_no_face() -> None:
    """A proposal whose looks disagree is rejected, and its neighbours are not."""
    sitters = [Sitter(100, 100, 60, 80), Sitter(300, 120, 60, 80, real=False, score=0.99)]
    seer = Seer(chart(300, 400), sitters)
    (face,) = find(seer.photo, seer)
    np.testing.assert_allclose(face.points, sitters[0].points, atol=2)


def test_one_face_seen_twice_is_one() -> None:
    """Proposals that lead to the same mesh are one face, with the better one's score."""

    class Double(Seer):
        def maps(self, sample: Image) -> NDArray[np.float64]:
            maps = super().maps(sample)
            row, column = np.argwhere(maps[..., 0] > 0)[0]
            again = maps[row, column].copy()
            again[0] -= 1
            maps[row + 4, column + 4] = again  # shares half of itself with the first
            return maps

    seer = Double(chart(300, 300), [Sitter(150, 150, 90, 120)])
    (face,) = find(seer.photo, seer)
    assert face.score == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("which", ["", "none", "0", "-1", "1.5", "ALL", "²", "1 2"])
def test_a_wrong_word(which: str) -> None:
    """What is neither all, largest nor a number from 1 is said in one line, before any network."""
    with pytest.raises(InvalidOption, match="all, largest, or a number") as error:
        chosen(which)
    assert "\n" not in str(error.value)


def test_words() -> None:
    """all is no limit, largest is one, a number is itself."""
    assert [chosen(w) for w in ("all", "largest", "1", "12")] == [None, 1, 1, 12]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0.05, 0.95)),
        unique_by=lambda t: t[:2],
    ),
    st.floats(0.1, 0.9),
    st.integers(0, 1000),
)
def test_peaks_are_decoded(
    peaks: list[tuple[int, int, float]], threshold: float, seed: int
) -> None:
    """Every peak above the threshold is one box, best first, where the formula of the maps puts it;
    what surrounds a peak is none.
    """
    rng = np.random.default_rng(seed)
    maps = rng.normal(0, 0.3, (16, 16, 15)).astype(np.float32)
    maps[..., 0] = -12
    for i, j, score in peaks:
        row, column = 3 * i + 1, 3 * j + 1
        logit = np.log(score / (1 - score))
        maps[row - 1 : row + 2, column - 1 : column + 2, 0] = logit - 0.1
        maps[row, column, 0] = logit
    boxes, scores, points = decode(maps, threshold)
    expected = sorted((p for p in peaks if p[2] >= threshold), key=lambda p: -p[2])
    np.testing.assert_allclose(scores, [p[2] for p in expected], rtol=1e-4)
    for (i, j, _), box, five in zip(expected, boxes, points, strict=True):
        said = maps[3 * i + 1, 3 * j + 1]
        x = 8 * (3 * j + 1) + 3.5 + 8 * said[1]
        y = 8 * (3 * i + 1) + 3.5 + 8 * said[2]
        w, h = 32 * np.exp(said[3:5])
        match = np.abs(boxes - [x - w / 2, y - h / 2, w, h]).max(1) < 1e-3
        assert match.any()
        at = int(match.argmax())
        np.testing.assert_allclose(points[at, 2], [x + w * said[9], y + h * said[10]], atol=1e-3)
        assert box.dtype == five.dtype == np.float32
