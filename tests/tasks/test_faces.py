"""Finding faces, with networks that see perfectly: what they are asked, what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from portrayer.errors import InvalidOption
from portrayer.models import installed
from portrayer.models.catalog import following, spec
from portrayer.tasks.faces import LOOKS, Face, chosen, decode, find, propose, ranked
from portrayer.types import Image
from tests.portraits import astronaut
from tests.tasks import stubs
from tests.tasks.sitters import CLOSE, FAR, KNOWN, MESH, Seer, Sitter, chart

TEACHER = Path(__file__).parents[3] / "shared" / "data" / "teachers" / "yunet_n_640_640.onnx"


class Ranker(Seer):
    """Answers as YuNet does: a list of anchors, each face at several of them."""

    def __call__(
        self, model: str, samples: NDArray[np.uint8], vectors: object = None
    ) -> NDArray[np.float32]:
        if model != "yunet":
            return super().__call__(model, samples)
        assert samples.shape[1:] == (640, 640, 3)
        self.asked[model] += 1
        return np.stack([self.anchors(sample) for sample in samples]).astype(np.float32)

    def anchors(self, sample: Image) -> NDArray[np.float64]:
        anchors = np.zeros((8400, 15))
        matrix = self.shown(sample)
        zoom = np.sqrt(np.linalg.det(matrix[:, :2]))
        for at, sitter in enumerate(self.sitters):
            size = np.array([sitter.width, sitter.height]) * zoom
            start = matrix @ (sitter.x, sitter.y, 1) - size / 2
            points = sitter.points @ matrix[:, :2].T + matrix[:, 2]
            for again in range(3):
                row = [sitter.score - 0.01 * again, *(start + again), *size, *points.ravel()]
                anchors[1000 * again + 7 * at] = row
        return anchors


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


def test_a_part_of_a_face_is_none() -> None:
    """A proposal that lies within a better one is not followed."""
    seer = Seer(chart(300, 300), [Sitter(150, 150, 120, 160), Sitter(150, 196, 50, 60, score=0.7)])
    (face,) = find(seer.photo, seer)
    np.testing.assert_allclose(face.points, seer.sitters[0].points, atol=3)


def test_the_wide_frame_is_for_large_faces() -> None:
    """What only the third look shows is a face if it fills most of the photo."""

    class Late(Seer):
        def maps(self, sample: Image) -> NDArray[np.float64]:
            maps, zoom = super().maps(sample), np.linalg.norm(self.shown(sample)[0, :2])
            maps[..., 0] -= 20 * (zoom > 0.6 * 320 / 300)
            return maps

    for height, count in ((250, 1), (100, 0)):
        seer = Late(chart(300, 300), [Sitter(150, 150, 0.75 * height, height)])
        assert len(find(seer.photo, seer)) == count


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
    assume(all(abs(score - threshold) > 1e-4 for *_, score in peaks))  # logits are rounded
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


@settings(max_examples=12, deadline=None)
@given(photos())
def test_another_detector_finds_the_same(seer: Seer) -> None:
    """YuNet's answer leads to the same faces, each once, in one request of the detector."""
    other = Ranker(seer.photo, seer.sitters)
    faces, same = find(seer.photo, seer), find(other.photo, other, detector="yunet")
    assert len(same) == len(faces) == len(seer.sitters)
    for sitter in seer.sitters:
        one, two = nearest(sitter, faces), nearest(sitter, same)
        np.testing.assert_allclose(one.points, two.points, atol=0.02 * sitter.height)
    assert other.asked["yunet"] == 1
    assert set(other.asked) <= {"yunet", MESH}


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
    st.floats(0, 1, width=32),
    st.integers(0, 99),
)
def test_anchors_are_ranked(scores: list[float], least: float, seed: int) -> None:
    """Those of at least the least score, best first, each with its own box and points."""
    anchors = np.random.default_rng(seed).uniform(0, 640, (len(scores), 15)).astype(np.float32)
    anchors[:, 0] = scores
    boxes, found, points = ranked(anchors, least)
    assert found.tolist() == sorted((s for s in scores if s >= least), reverse=True)
    assert points.shape == (len(found), 5, 2)
    for box, score, five in zip(boxes, found, points, strict=True):
        row = np.array([score, *box, *five.ravel()], np.float32)
        assert (anchors == row).all(1).any()


@pytest.mark.skipif(not TEACHER.is_file(), reason="its file is not here")
def test_the_published_yunet_finds_a_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that network, brought as a user's own: where our detector finds the astronaut, it
    does.
    """
    monkeypatch.setenv("PORTRAYER_MODELS", str(tmp_path))
    mine = following(spec("yunet"), "zoo", TEACHER, tmp_path)
    installed.add(mine, TEACHER, consented=True)
    pipeline = stubs.pipeline(tmp_path)
    try:
        results = [
            pipeline.run("enhance", [astronaut()], {"detector": d, "strength": 0})
            for d in ("lite", "zoo")
        ]
    finally:
        pipeline.close()
    assert "zoo" in results[1].forwards
    [[one], [two]] = [result.faces or () for result in results]
    eyes = np.linalg.norm(one.points[0] - one.points[1])
    assert np.linalg.norm(one.points - two.points, axis=1).max() < 0.1 * eyes
