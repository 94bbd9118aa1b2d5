"""Laws of faces on their way out of a photo and back: where they land, and that nothing shows."""

from __future__ import annotations

import tracemalloc
from itertools import permutations

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from portrayer.image import faces
from portrayer.image.faces import TEMPLATES, Matrix, align, paste, relaid, similarity, warp
from portrayer.types import Image
from tests.image.pictures import scene
from tests.portraits import astronaut

EYES_NOSE_MOUTH = np.array([[100, 49], [122, 50], [110, 63], [101, 70], [120, 72]], np.float32)
"""Of the astronaut."""

ANGLES = st.floats(-3.1, 3.1)
SCALES = st.floats(0.05, 20)
SHIFTS = st.tuples(st.floats(-500, 500), st.floats(-500, 500))
SIDES = st.sampled_from([32, 48, 64])


def turn(angle: float, scale: float, shift: tuple[float, float]) -> Matrix:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def onto(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def centred(scale: float, angle: float, side: int, middle: tuple[float, float]) -> Matrix:
    """A crop whose middle shows ``middle`` of the photo, at ``scale`` crop pixels a photo pixel."""
    matrix = turn(angle, scale, (0, 0))
    matrix[:, 2] = (side - 1) / 2 - matrix[:, :2] @ np.array(middle)
    return matrix


def shown(matrix: Matrix, side: int, height: int, width: int, room: float = 0) -> np.ndarray:
    """Which pixels (H, W) of the photo lie within the crop's square, ``room`` crop pixels aside."""
    y, x = np.mgrid[:height, :width]
    u, v = np.moveaxis(onto(matrix, np.stack([x, y], -1)), -1, 0)
    low, high = room - 0.5, side - 0.5 - room
    return (u >= low) & (u <= high) & (v >= low) & (v <= high)


@st.composite
def crops(draw: st.DrawFn) -> tuple[Matrix, int]:
    """A crop of a photo of (90, 120): within it, across its border, or beside it."""
    side = draw(SIDES)
    middle = draw(st.floats(-20, 140)), draw(st.floats(-20, 110))
    return centred(draw(st.floats(0.3, 8)), draw(ANGLES), side, middle), side


@given(ANGLES, SCALES, SHIFTS, st.integers(2, 12), st.integers(0, 99))
def test_a_similarity_is_found_again(
    angle: float, scale: float, shift: tuple[float, float], count: int, seed: int
) -> None:
    """Points that were turned, scaled and shifted tell by what, exactly."""
    source = np.random.default_rng(seed).uniform(0, 100, (count, 2))
    matrix = turn(angle, scale, shift)
    found = similarity(source, onto(matrix, source))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, matrix, atol=1e-6)


@given(st.integers(0, 999), st.integers(3, 8))
def test_no_other_similarity_is_nearer(seed: int, count: int) -> None:
    """Of points that no similarity brings together, the squared distances are least: any nudge of
    turn, scale or shift makes them larger; mirrored points are not mirrored back."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 10, (2, count, 2))
    mirrored = source * (-1, 1) + rng.normal(0, 0.5, source.shape)
    for goal in (target, mirrored):
        best = similarity(source, goal)
        assert np.linalg.det(best[:, :2]) > 0
        least = ((onto(best, source) - goal) ** 2).sum()
        for _ in range(20):
            nudge = turn(*rng.normal(0, 0.01, 1), 1 + rng.normal(0, 0.01), rng.normal(0, 0.1, 2))
            nudged = nudge @ np.vstack([best, (0, 0, 1)])
            assert ((onto(nudged, source) - goal) ** 2).sum() >= least * (1 - 1e-9)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (np.ones((5, 2)) / 3, TEMPLATES["ffhq"]),
        (TEMPLATES["ffhq"], np.ones((5, 2)) / 3),
        (np.ones((1, 2)), np.ones((1, 2))),
        (np.ones((5, 2)), np.ones((4, 2))),
        (np.full((5, 2), np.nan), TEMPLATES["ffhq"]),
        (np.ones((5, 3)), np.ones((5, 3))),
    ],
)
def test_points_that_say_nothing_are_refused(source: np.ndarray, target: np.ndarray) -> None:
    """One place, one point, unlike lists, places that are none: ``ValueError``, not a matrix."""
    with pytest.raises(ValueError, match="point"):
        similarity(source, target)


@given(st.floats(0.06, 6), ANGLES)
@example(1.0, 0.0)
@example(0.5, 0.0)
@example(0.84, 0.3)
@example(0.3, 1.5)
def test_a_warp_shows_what_lies_there(scale: float, angle: float) -> None:
    """Each pixel of the crop has the photo's coordinates of where the matrix says it came from,
    within a fiftieth of the larger of the two pixels."""
    height, width, side = 400, 500, 24
    y, x = np.mgrid[:height, :width].astype(np.float32)
    matrix = centred(scale, angle, side, (251.3, 197.6))
    crop = warp(np.stack([x, y, x + y], -1), matrix, side)
    assert crop.shape == (side, side, 3)
    v, u = np.mgrid[:side, :side]
    there = onto(cv2.invertAffineTransform(matrix), np.stack([u, v], -1))
    room = 2 / scale + 2
    inside = ((there > room) & (there < (width - room, height - room))).all(-1)
    assert inside.any()
    np.testing.assert_allclose(crop[inside][:, :2], there[inside], atol=0.02 * max(1, 1 / scale))


def test_an_unmoved_warp_is_the_picture() -> None:
    """Without turn, scale or shift, the crop is the picture's corner, to the last bit."""
    photo = scene(60, 80)
    assert (warp(photo, turn(0, 1, (0, 0)), 50) == photo[:50, :50]).all()
    assert (warp(photo[..., 0], turn(0, 1, (0, 0)), 50) == photo[:50, :50, 0]).all()


@given(st.floats(0.02, 0.45), ANGLES)
def test_shrinking_skips_no_pixel(scale: float, angle: float) -> None:
    """What is finer than the crop can show becomes its mean, not a moiré."""
    board = (np.indices((300, 300)).sum(0) % 2 * 255).astype(np.uint8)
    side = max(2, int(150 * scale))
    crop = warp(board, centred(scale, angle, side, (149.7, 150.2)), side)
    assert np.abs(crop.astype(int) - 127).max() <= 25


@given(crops())
@settings(max_examples=50)
def test_beyond_the_photo_lies_its_border(crop: tuple[Matrix, int]) -> None:
    """Around a photo its nearest pixels go on, so that no colour comes in that was not there; with
    a border given, its value stands there."""
    matrix, side = crop
    photo = scene(90, 120) // 2 + 60
    seen = warp(photo, matrix, side)
    assert seen.min() >= photo.min()
    assert seen.max() <= photo.max()
    beyond = warp(np.full((90, 120), 200, np.uint8), matrix, side, border=7)
    v, u = np.mgrid[:side, :side]
    there = onto(cv2.invertAffineTransform(matrix), np.stack([u, v], -1))
    room = 3 + 3 / np.sqrt(np.linalg.det(matrix[:, :2]))
    far = ((there < -room) | (there > (119 + room, 89 + room))).any(-1)
    near = ((there > room) & (there < (119 - room, 89 - room))).all(-1)
    assert (beyond[far] == 7).all()
    assert (beyond[near] == 200).all()


def test_only_what_is_shown_is_worked_on() -> None:
    """A small face of a large photo needs the memory of a small face."""
    photo = np.zeros((4000, 6000, 3), np.uint8)
    tracemalloc.start()
    warp(photo, centred(0.5, 0.4, 128, (3000.0, 2000.0)), 128)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_faces(name: str) -> None:
    """Right eye, left eye, nose, right and left mouth corner, as seen: from left to right and from
    above, in the square's middle."""
    points = TEMPLATES[name]
    assert points.shape == (5, 2)
    assert points.dtype == np.float32
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert abs(points.mean(0)[0] - 0.5) < 0.01


def test_gpen_and_ffhq_lie_where_they_were_published() -> None:
    """In pixels of a 512 crop: GPEN's reference points, and the ones restorers of FFHQ use."""
    gpen = (202.04, 242.88, 309.43, 242.29, 256.08, 303.96, 211.96, 366.83, 300.89, 366.34)
    ffhq = (192.98, 239.95, 318.90, 240.19, 256.63, 314.02, 201.26, 371.41, 313.09, 371.15)
    np.testing.assert_allclose(512 * TEMPLATES["gpen"].ravel(), gpen, atol=0.01)
    np.testing.assert_allclose(512 * TEMPLATES["ffhq"].ravel(), ffhq, atol=0.01)


def test_the_templates_of_recognisers_lie_where_they_were_published() -> None:
    """In pixels of a 112 crop: ArcFace's five points, which insightface's networks use; two more
    have the same face in another frame, eyes wider apart in the crop than restorers have them.
    """
    arcface = (38.29, 51.70, 73.53, 51.50, 56.03, 71.74, 41.55, 92.37, 70.73, 92.20)
    np.testing.assert_allclose(112 * TEMPLATES["arcface"].ravel(), arcface, atol=0.01)
    wide = {name: points[1, 0] - points[0, 0] for name, points in TEMPLATES.items()}
    assert sorted(wide, key=lambda name: wide[name]) == [
        *("gpen", "ffhq", "arcface-128", "arcface-112-v1", "arcface")
    ]


@given(st.sampled_from(sorted(TEMPLATES)), ANGLES, st.floats(0.3, 3), st.sampled_from([64, 128]))
def test_an_aligned_face_fits_its_template(
    name: str, angle: float, scale: float, side: int
) -> None:
    """Five coloured dots, however large and turned, lie on the template's five points."""
    points = onto(turn(angle, scale, (0, 0)), TEMPLATES[name] * 100)
    points += 200 - points.mean(0)
    photo = np.zeros((400, 400, 3), np.uint8)
    for number, (x, y) in enumerate(points):
        colour = (255, 40 * number, 0)
        cv2.circle(photo, (round(x), round(y)), max(2, round(5 * scale)), colour, -1)
    crop, matrix = align(photo, points, name, side)
    assert crop.shape == (side, side, 3)
    assert crop.dtype == np.uint8
    np.testing.assert_allclose(onto(matrix, points), TEMPLATES[name] * side, atol=1e-3)
    for number, (x, y) in enumerate(TEMPLATES[name] * side):
        assert crop[round(y), round(x), 0] > 200
        assert abs(int(crop[round(y), round(x), 1]) - 40 * number) <= 20


@given(st.lists(crops(), max_size=3), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50)
def test_what_is_not_changed_is_not_touched(
    places: list[tuple[Matrix, int]], strength: float, colour: float
) -> None:
    """Crops that come back as they went, or with strength 0, leave the photo as it was, bit for
    bit, wherever they lie."""
    photo = scene(90, 120)
    before = [warp(photo, *place) for place in places]
    after = [255 - crop for crop in before]
    matrices = [matrix for matrix, _ in places]
    strengths = [strength] * len(places)
    assert (paste(photo, before, before, matrices, strengths, colour=colour) == photo).all()
    assert (paste(photo, before, after, matrices, [0] * len(places), colour=colour) == photo).all()


@given(crops(), st.integers(0, 99), st.floats(0, 1))
@example((centred(8, 0.7, 64, (60.0, 45.0)), 64), 0, 0.0)
@settings(max_examples=50)
def test_nothing_outside_the_crop_changes(
    place: tuple[Matrix, int], seed: int, colour: float
) -> None:
    """However much a face changes, no pixel whose middle is outside the crop does, and the photo
    that was given does not at all."""
    photo = scene(90, 120)
    given_photo = photo.copy()
    before = warp(photo, *place)
    after = np.random.default_rng(seed).integers(0, 256, before.shape, dtype=np.uint8)
    result = paste(photo, [before], [after], [place[0]], [1.0], colour=colour)
    assert (photo == given_photo).all()
    assert result.dtype == np.uint8
    outside = ~shown(*place, 90, 120)
    assert (result[outside] == photo[outside]).all()


@given(st.integers(0, 999), st.integers(2, 3))
@settings(max_examples=25)
def test_the_order_of_faces_does_not_matter(seed: int, count: int) -> None:
    """Overlapping faces give the same photo, bit for bit, in any order: also where all of them
    change it by half a level, so that the last bit of a sum decides."""
    rng = np.random.default_rng(seed)
    photo = np.full((90, 120, 3), 100, np.uint8)
    matrices = [
        centred(rng.uniform(0.5, 2), rng.uniform(-1, 1), 48, tuple(rng.uniform(45, 60, 2)))
        for _ in range(count)
    ]
    before = np.full((48, 48, 3), 100, np.uint8)
    wild = rng.integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
    halves = np.full((count, 48, 48, 3), 110.5, np.float32)
    for after in (wild, halves):
        results = [
            paste(
                photo,
                [before] * count,
                [after[i] for i in order],
                [matrices[i] for i in order],
                [1] * count,
                colour=0,
            )
            for order in permutations(range(count))
        ]
        assert all((result == results[0]).all() for result in results)


def test_the_nearer_face_has_the_pixel() -> None:
    """Where two crops overlap, each face's middle is its own: the other one changes nothing
    there."""
    photo = np.full((100, 160, 3), 100, np.uint8)
    matrices = [centred(1, 0, 64, (x, 50.0)) for x in (55.0, 95.0)]
    before = [warp(photo, matrix, 64) for matrix in matrices]
    after = [before[0] + 60, before[1] - 60]
    both = paste(photo, before, after, matrices, [1, 1], colour=0)
    for index, columns in enumerate((slice(45, 66), slice(85, 106))):
        alone = paste(photo, [before[index]], [after[index]], [matrices[index]], [1], colour=0)
        assert (both[40:60, columns] == alone[40:60, columns]).all()
        assert (np.abs(alone[40:60, columns].astype(int) - 100) == 60).all()
    # and from one to the other, no step
    assert np.abs(np.diff(both[50, 40:110, 0].astype(int))).max() <= 40


@given(st.floats(0.5, 4), ANGLES)
@settings(max_examples=50)
def test_a_paste_has_no_seam(scale: float, angle: float) -> None:
    """A face made lighter all over is so by its whole oval, and fades out towards the border: from
    one pixel to the next never by more than the fading asks for."""
    side, step = 64, 80
    photo = np.full((200, 240, 3), 100, np.uint8)
    matrix = centred(scale, angle, side, (120.0, 100.0))
    assume(shown(matrix, side, 200, 240)[1:-1, 1:-1].sum() > 0)
    before = warp(photo, matrix, side)
    result = paste(photo, [before], [before + step], [matrix], [1], colour=0).astype(int)[..., 0]
    y, x = np.mgrid[:200, :240]
    u, v = np.moveaxis(onto(matrix, np.stack([x, y], -1)), -1, 0) / side
    oval = ((u - 0.5) / 0.29) ** 2 + ((v - 0.58) / 0.3) ** 2 <= 1
    assert (result[oval] == 100 + step).all()
    # The fading is a tenth of the side wide, and at its steepest twice as steep as its mean.
    steepest = step * 2.2 * scale / (0.1 * side) + 1
    for axis in (0, 1):
        assert np.abs(np.diff(result, axis=axis)).max() <= steepest


def test_changes_are_rounded() -> None:
    """A change of .6 is one level, of .4 none: nothing is cut off."""
    photo = np.full((64, 64, 3), 100, np.uint8)
    matrix = turn(0, 1, (0, 0))
    for change, level in ((0.4, 100), (0.6, 101), (-0.4, 100), (-0.6, 99), (300, 255), (-300, 0)):
        after = photo + np.float32(change)
        result = paste(photo, [photo], [after], [matrix], [1], colour=0)
        assert (result[20:44, 20:44] == level).all()


def test_strength_is_a_blend() -> None:
    """At half the strength, half of the change comes."""
    photo = np.full((64, 64, 3), 100, np.uint8)
    for strength in (0.25, 0.5, 1):
        arguments = [photo], [photo + 40], [turn(0, 1, (0, 0))], [strength]
        result = paste(photo, *arguments, colour=0)
        assert (result[20:44, 20:44] == 100 + 40 * strength).all()


def psnr(one: Image, other: Image) -> float:
    return float(-20 * np.log10(np.sqrt(((one.astype(float) - other) ** 2).mean()) / 255))


@pytest.mark.parametrize("side", [96, 256])
def test_a_restored_face_is_restored_and_its_tint_left_out(side: int) -> None:
    """A perfect restorer's face, in a blurred photo, comes nearly all through; a restorer that
    makes it redder, too, gives a face as good, and not a redder one."""
    clean = astronaut()
    photo = cv2.GaussianBlur(clean, (0, 0), 1.5)
    before, matrix = align(photo, EYES_NOSE_MOUTH, "ffhq", side)
    after = warp(clean, matrix, side).astype(np.float32)
    face = shown(matrix, side, *clean.shape[:2], room=0.12 * side)
    whole = paste(photo, [before], [after], [matrix], [1], colour=0)
    kept = paste(photo, [before], [after], [matrix], [1])
    assert psnr(whole[face], clean[face]) > psnr(photo[face], clean[face]) + 6
    assert psnr(kept[face], clean[face]) > psnr(whole[face], clean[face]) - 0.5
    redder = [np.clip(after + np.float32((14, 0, -8)), 0, 255)]
    tinted = paste(photo, [before], redder, [matrix], [1], colour=0)
    neutral = paste(photo, [before], redder, [matrix], [1])
    shift = [(result[face].astype(float) - photo[face]).mean(0) for result in (tinted, neutral)]
    assert shift[0][0] > 10
    assert np.abs(shift[1]).max() < 1
    assert psnr(neutral[face], clean[face]) > psnr(tinted[face], clean[face]) + 3


def test_a_face_larger_than_its_crop_keeps_its_own_detail() -> None:
    """What is finer than the crop can hold stays in the photo as it was."""
    rng = np.random.default_rng(1)
    fine = rng.integers(-20, 21, (300, 300, 1))
    photo = np.clip(128 + fine, 0, 255).astype(np.uint8).repeat(3, 2)
    matrix = centred(0.25, 0.2, 64, (150.0, 150.0))
    before = warp(photo, matrix, 64)
    after = np.clip(before + 30 * np.sin(np.arange(64) / 3)[None, :, None], 0, 255)
    result = paste(photo, [before], [after.astype(np.float32)], [matrix], [1], colour=0)
    change = result.astype(float) - photo
    assert np.abs(change).max() > 25
    sharp = change - cv2.GaussianBlur(change, (0, 0), 2)
    assert np.abs(sharp).max() < 3


def test_a_face_larger_than_a_tile_is_pasted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles are not seen: in small ones the face is what it is in one."""
    photo = scene(300, 400)
    place = centred(0.25, 0.3, 64, (210.0, 140.0))
    before = warp(photo, place, 64)
    arguments = [before], [255 - before], [place], [1]
    whole = paste(photo, *arguments).astype(int)
    monkeypatch.setattr(faces, "SIDE", 64)
    assert np.abs(paste(photo, *arguments).astype(int) - whole).max() <= 3
    assert np.abs(whole - photo).max() > 50


def test_as_many_of_each_are_asked_for() -> None:
    """A crop without its matrix is an error, not a face left out."""
    photo = scene(64, 64)
    with pytest.raises(ValueError, match="shorter"):
        paste(photo, [photo, photo], [photo, photo], [turn(0, 1, (0, 0))], [1, 1])


@given(
    st.floats(0.5, 3), ANGLES, st.floats(0.5, 3), ANGLES, st.sampled_from([64, 96]), st.booleans()
)
@settings(max_examples=60)
def test_a_crop_is_seen_as_another_shows_it(
    one: float, turned: float, other: float, also: float, side: int, aside: bool
) -> None:
    """What a crop of a smooth photo shows is what the other crop would, as far as it covers that;
    and it covers what lies within both.
    """
    y, x = np.mgrid[:200, :200].astype(np.float32)
    photo = np.stack([x, y, 200 - x], 2)
    before = centred(one, turned, 80, (100, 100))
    after = centred(other, also, side, (140 if aside else 100, 100))
    crop = warp(photo, before, 80)
    picture, covered = relaid(crop, before, after, side)
    assert picture.shape == (side, side, 3)
    assert covered.shape == (side, side)
    assert covered.min() >= 0
    assert covered.max() <= 1 + 1e-6
    direct, v = warp(photo, after, side), np.mgrid[:side, :side][::-1]
    there = onto(np.linalg.inv(np.vstack([after, (0, 0, 1)]))[:2], np.moveaxis(v, 0, -1))
    inside = onto(before, there)
    within = ((inside > 4) & (inside < 75) & (there > 4) & (there < 195)).all(2)
    beyond = ((inside < -4) | (inside > 84)).any(2)
    assert (covered[within] > 0.99).all()
    assert (covered[beyond] < 0.01).all()
    assert np.abs(picture[within] - direct[within]).max(initial=0) < 3
