"""Laws of face meshes: what pose, shape and expression are, and pictures that follow them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrayer.image import mesh as meshes
from portrayer.image.canonical import FILE, PARTS, ROLLED, canonical
from portrayer.image.faces import similarity
from portrayer.image.faces import warp as turned
from portrayer.image.mesh import bend, complete, mirrored, oval, parts, posed, rigid, towards, way
from portrayer.image.shape import LIMIT, SHARE, wholes
from portrayer.image.visible import coverage, net, size
from tests.image.meshes import gap, person, pose, poses, rotation, speaking
from tests.portraits import astronaut

SIDE = 96
SEEDS = st.integers(0, 999)
DEGREES = st.floats(0, 1)


def places(side: int) -> np.ndarray:
    """A picture (side, side, 3) that says of each pixel where it is: x, y and 0; float32."""
    along = np.arange(side, dtype=np.float32)
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.zeros_like(x)], -1)


def test_the_canonical_face_is_symmetric_small_and_level() -> None:
    """Its left mirrors its right to the last bit, its eyes are level and 1 apart."""
    face = canonical()
    assert FILE.stat().st_size < 10_000
    assert face.vertices.shape == (468, 3)
    np.testing.assert_array_equal(face.vertices[face.mirror] * (-1, 1, 1), face.vertices)
    np.testing.assert_array_equal(face.mirror[face.mirror], np.arange(468))
    right, left = face.vertices[[33, 133]].mean(0), face.vertices[[263, 362]].mean(0)
    np.testing.assert_allclose(left - right, (1, 0, 0), atol=1e-3)
    np.testing.assert_allclose(face.vertices.mean(0), 0, atol=1e-4)


def test_triangles_use_every_vertex_and_share_every_edge() -> None:
    """But for the rolled lip all vertices have triangles; an edge is of two, or the contour's; the
    edges of lids, brows and lips are among them; and each triangle has its mirror image.
    """
    face = canonical()
    rolled = {*ROLLED, *face.mirror[list(ROLLED)].tolist()}
    assert set(face.triangles.ravel().tolist()) == set(range(468)) - rolled
    edges = np.concatenate([face.triangles[:, [k, (k + 1) % 3]] for k in range(3)]).tolist()
    directed = {(a, b) for a, b in edges}
    assert len(directed) == len(edges)  # each once in each direction: all turn alike
    rim = {(a, b) for a, b in directed if (b, a) not in directed}
    assert rim == set(zip(PARTS["oval"], PARTS["oval"][1:] + PARTS["oval"][:1], strict=True))
    for name in PARTS.keys() - {"nose"}:
        contour = PARTS[name]
        for a, b in zip(contour, contour[1:] + contour[:1], strict=True):
            assert {(a, b), (b, a)} & directed, (name, a, b)
    known = {frozenset(t) for t in face.triangles.tolist()}
    assert {frozenset(t) for t in face.mirror[face.triangles].tolist()} == known


def test_contours_lie_where_their_names_say() -> None:
    """Right is on the left of a picture, brows above eyes, the nose between them and the lips, and
    a mirrored part is the other side's.
    """
    face = canonical()
    middle = {name: face.vertices[list(part)].mean(0) for name, part in PARTS.items()}
    assert middle["right-eye"][0] < 0 < middle["left-eye"][0]
    heights = [middle[name][1] for name in ("right-brow", "right-eye", "nose", "mouth")]
    assert heights == sorted(heights)
    for name, part in PARTS.items():
        swap = {"right": "left", "left": "right"}
        side, _, rest = name.partition("-")
        other = f"{swap[side]}-{rest}" if side in swap else name
        assert set(face.mirror[list(part)].tolist()) == set(PARTS[other])


@given(SEEDS, poses(60), st.floats(0.01, 100))
def test_a_similarity_in_space_is_found_again(
    seed: int, how: dict[str, float], scale: float
) -> None:
    """Points that were turned, scaled and shifted tell by what, exactly; and points of no weight
    have no say.
    """
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 1, (12, 3))
    wanted = rotation(how["yaw"], how["pitch"], how["roll"])
    shift = rng.normal(0, 10, 3)
    goal = scale * points @ wanted.T + shift
    goal[8:] += rng.normal(0, 5, (4, 3))
    found, turn, moved = rigid(points, goal, np.arange(12) < 8)
    assert found == pytest.approx(scale)
    np.testing.assert_allclose(turn, wanted, atol=1e-6)
    np.testing.assert_allclose(moved, shift, atol=1e-5 * (1 + scale))


@given(SEEDS)
def test_a_mirror_image_is_not_mirrored_back(seed: int) -> None:
    """The turn is a turn, also where a reflection would bring points nearer."""
    points = np.random.default_rng(seed).normal(0, 1, (9, 3))
    _, turn, _ = rigid(points, points * (-1, 1, 1))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.zeros((9, 3)), np.full((9, 3), np.nan)])
def test_points_that_are_nowhere_are_refused(bad: np.ndarray) -> None:
    """All in one place, or not a number: there is no answer, and it is said."""
    with pytest.raises(ValueError, match="place"):
        rigid(bad, np.arange(27).reshape(9, 3))
    with pytest.raises(ValueError, match="somewhere"):
        oval(np.full((468, 3), np.nan), 32)


@given(SEEDS, poses(), poses(), st.floats(0, 0.4))
def test_a_mesh_takes_another_pose_and_keeps_its_own_face(
    seed: int, how: dict[str, float], other: dict[str, float], opening: float
) -> None:
    """Posed onto itself in another pose a mesh lies there, also with another expression of the
    mouth, but for the mouth and chin.
    """
    shape = person(seed)
    onto = pose(speaking(shape, opening), 512, **other)
    found = posed(pose(shape, 512, **how), onto)
    firm = canonical().vertices[:, 1] < 0.25
    np.testing.assert_allclose(found[firm], onto[firm], atol=0.05)


@given(SEEDS, SEEDS, poses(), poses())
def test_degree_0_is_the_target_and_the_way_is_straight(
    one: int, two: int, how: dict[str, float], other: dict[str, float]
) -> None:
    """At 0 the target to the last bit; from there each vertex goes evenly, and depth stays."""
    target, source = pose(person(one), 512, **how), pose(person(two), 512, **other)
    ways = [towards(target, source, degree) for degree in (0, 0.25, 0.5, 1)]
    np.testing.assert_array_equal(ways[0], target)
    for degree, found in zip((0.25, 0.5, 1), ways[1:], strict=True):
        np.testing.assert_allclose(found - target, degree * (ways[3] - target), atol=1e-3)
        np.testing.assert_array_equal(found[:, 2], target[:, 2])


@given(SEEDS, poses(40), poses(40), DEGREES)
def test_the_same_face_in_another_pose_changes_nothing(
    seed: int, how: dict[str, float], other: dict[str, float], degree: float
) -> None:
    """A shape is what pose does not tell."""
    shape = person(seed)
    target, source = pose(shape, 512, **how), pose(shape, 512, **other)
    np.testing.assert_allclose(towards(target, source, degree), target, atol=0.01)


@given(SEEDS, SEEDS, poses())
def test_no_vertex_goes_far(one: int, two: int, how: dict[str, float]) -> None:
    """Whatever the source is, a face no less than a caricature, no vertex goes further than its
    share of the limit, but for what a wider eye does to its lids.
    """
    target = pose(person(one), 512, **how)
    moved = towards(target, pose(person(two, 12), 512), 1) - target
    far = np.linalg.norm(moved, axis=1).max() / size(target[:, :2])
    assert far < 1.25 * SHARE * LIMIT


@given(SEEDS, SEEDS, poses(), st.floats(0, 0.5), DEGREES)
def test_the_expression_stays_the_targets(
    one: int, two: int, how: dict[str, float], opening: float, degree: float
) -> None:
    """Lips are as far open as they were, whatever the source's do, and lids but for the eye's size;
    from the front and turned.
    """
    target = pose(person(one), 512, **how)
    source = pose(speaking(person(two), opening), 512)
    found = towards(target, source, degree)
    np.testing.assert_allclose(gap(found), gap(target), atol=0.01)
    for corners, lids in (((33, 133), (159, 145)), ((263, 362), (386, 374))):
        wide, high = (
            [np.linalg.norm(np.subtract(*mesh[list(pair), :2])) for mesh in (found, target)]
            for pair in (corners, lids)
        )
        assert 0.85 < wide[0] / wide[1] < 1.18
        assert high[0] / high[1] == pytest.approx(wide[0] / wide[1], abs=0.02)


@given(SEEDS, st.floats(0.05, 0.4))
def test_an_open_mouth_is_no_long_chin(seed: int, opening: float) -> None:
    """Of a source that is the target, speaking, next to nothing comes over: less than a twentieth
    of what its mouth is open, anywhere.
    """
    shape = person(seed)
    target, source = pose(shape, 512), pose(speaking(shape, opening), 512)
    moved = np.linalg.norm(towards(target, source, 1) - target, axis=1) / size(target[:, :2])
    assert moved.max() < 0.05 * opening


@pytest.mark.parametrize(
    ("part", "way"), [("right-brow", (0, -1, 0)), ("nose", (0, 1, 0)), ("lips", (0, 1, 0))]
)
def test_a_part_goes_the_sources_way_but_not_all_of_it(
    part: str, way: tuple[float, float, float]
) -> None:
    """A higher brow, a longer nose and a lower mouth come over, up to the share that may."""
    moved = 0.08
    shape = canonical().vertices.copy()
    edge = shape[list(PARTS[part]), :2].astype(np.float32)
    right = [
        v
        for v, at in enumerate(shape[:, :2].tolist())
        if cv2.pointPolygonTest(edge, tuple(at), True) > -0.02
    ]
    both = sorted({*right, *canonical().mirror[right].tolist()})
    shape[both] += moved * np.array(way)
    target = pose(canonical().vertices, 512)
    change = towards(target, pose(shape, 512), 1) - target
    gone = (change[both] @ np.array(way)).mean() / size(target[:, :2])
    assert 0.3 * SHARE * moved < gone <= SHARE * moved


def test_the_contour_gives_way_less_than_the_middle() -> None:
    """Where all of a face is larger below the eyes, the contour goes less of the way, and nothing
    goes out of the share.
    """
    shape = canonical().vertices.copy()
    low = shape[:, 1] > 0
    shape[low, 0] *= 1.08
    target = pose(canonical().vertices, 512)
    change = (towards(target, pose(shape, 512), 1) - target)[:, 0] / size(target[:, :2])
    full = shape[:, 0] - canonical().vertices[:, 0]
    rim = [v for v in PARTS["oval"] if full[v] > 0.03]
    apart = {*PARTS["oval"], *wholes()["lips"].tolist()}
    cheek = [v for v in np.flatnonzero(full > 0.03).tolist() if v not in apart]
    assert (change[rim] / full[rim]).max() < 0.5 * SHARE < (change[cheek] / full[cheek]).max()
    assert (change[[*rim, *cheek]] > 0).all()
    assert np.abs(change).max() <= SHARE * full.max()


def warp(
    texture: np.ndarray, mesh_from: np.ndarray, mesh_to: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """A texture's face as a picture, and how well it is covered."""
    there = way(mesh_from, mesh_to, side)
    return there.picture(texture), there.covered


@settings(max_examples=40)
@given(SEEDS, SEEDS, poses(), poses())
def test_a_vertex_of_one_picture_comes_to_lie_on_that_of_the_other(
    one: int, two: int, how: dict[str, float], other: dict[str, float]
) -> None:
    """Where a mesh's vertex is seen in the picture, the texture shows what lay at its vertex."""
    start, goal = pose(person(one), 128, **how), pose(person(two), SIDE, **other)
    picture, covered = warp(places(128), start, goal, SIDE)
    face = canonical()
    seen = coverage(start[:, :2].astype(float), goal[:, :2].astype(float))
    sure = np.setdiff1d(net().triangles[(seen > 0.999).all(1)], net().triangles[(seen < 0.9)])
    sure = sure[sure < len(face.vertices)]
    sure = sure[np.abs(face.vertices[sure, 0]) > 0.3]  # the nose may hide its other side
    x, y = np.round(goal[sure, :2]).astype(int).T
    scale = np.linalg.norm(np.ptp(start, 0)) / np.linalg.norm(np.ptp(goal, 0))
    away = np.abs(picture[y, x, :2] - start[sure, :2]).max(1)
    assert len(sure) > 20
    assert np.quantile(away, 0.9) < 2.5 * max(scale, 1)
    assert np.quantile(covered[y, x], 0.2) > 0.8


@settings(max_examples=25)
@given(poses())
def test_a_flat_move_is_that_move(how: dict[str, float]) -> None:
    """Between a mesh and itself turned and scaled in the picture's plane, a warp is what
    :func:`portrayer.image.faces.warp` makes of it, also around the face.
    """
    photo = cv2.GaussianBlur(astronaut(), (0, 0), 2)
    start = pose(canonical().vertices, 256, zoom=0.8)
    matrix = similarity(start[:9, :2], pose(canonical().vertices, SIDE, roll=how["roll"])[:9, :2])
    goal = start[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    picture, covered = warp(photo, start, goal, SIDE)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - turned(photo, matrix, SIDE)).mean() < 1.5
    inner = cv2.erode(oval(goal, SIDE), np.ones((5, 5))) == 1
    np.testing.assert_allclose(covered[inner], 1, atol=0.05)
    assert not covered[[0, -1]].any()


def test_a_finer_texture_is_averaged() -> None:
    """Stripes finer than the picture's pixels become their mean, not other stripes."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 200
    mesh = pose(canonical().vertices, 512)
    picture, _ = warp(stripes, mesh, mesh[:, :2] * 0.25, 128)
    inside = picture[parts(mesh[:, :2] * 0.25, 128, "oval") == 1]
    assert abs(inside.mean() - 100) < 3
    assert inside.std() < 12


def test_what_is_turned_away_is_not_covered() -> None:
    """Of a face turned by 50 degrees the far cheek is not covered, in either direction, the near
    one is; its mirror image covers the far one.
    """
    shape, near, far = canonical().vertices, 50, 280  # on the cheeks, right and left
    front, aside = pose(shape, 128), pose(shape, 128, yaw=50)
    covered = way(aside, front, 128).covered
    at = {v: tuple(np.round(front[v, 1::-1]).astype(int)) for v in (near, far)}
    seen, hidden = covered[at[near]], covered[at[far]]
    if seen < hidden:
        seen, hidden = hidden, seen
        near, far = far, near
    assert (seen, hidden) == (pytest.approx(1, abs=0.05), pytest.approx(0, abs=0.05))
    for covered in (
        way(mirrored(aside), front, 128).covered,
        complete(aside, front, 128).covered,
    ):
        assert covered[at[far]] > 0.95


def test_a_turned_face_is_completed_by_its_mirror_image() -> None:
    """Half a face makes a whole one: both cheeks have the colour of the one that is seen, in levels
    and in floats; and of a face that is seen whole no pixel changes.
    """
    shape = canonical().vertices
    front, aside = pose(shape, 128), pose(shape, 128, yaw=45)
    face = oval(aside, 128)[..., None]
    found, whole = complete(aside, front, 128), complete(front, front, 128)
    assert found.covered.max() <= 1
    for dtype in (np.uint8, np.float32):
        texture = (face * (200, 150, 120)).astype(dtype)
        picture = found.picture(texture)
        assert picture.dtype == dtype
        inner = cv2.erode(oval(front, 128), np.ones((15, 15))) == 1
        assert np.abs(picture[inner] - np.array([200.0, 150, 120])).mean() < 3
        red = found.picture(np.ascontiguousarray(texture[..., 0]))
        np.testing.assert_array_equal(red, picture[..., 0])
        same, covered = warp(texture, front, front, 128)
        np.testing.assert_array_equal(whole.picture(texture), same)
        np.testing.assert_array_equal(whole.covered, covered)


def test_the_mirror_shows_the_same_at_each_vertex() -> None:
    """What lies at a vertex lies in the mirror at that of the other side; and twice mirrored is as
    before.
    """
    mesh = pose(person(3), 128, yaw=20)
    there, order = mirrored(mesh), canonical().mirror
    np.testing.assert_array_equal(there * (-1, 1, 1), mesh[order])
    np.testing.assert_array_equal(mirrored(there), mesh)


def test_a_closed_mouth_has_no_teeth_to_give() -> None:
    """Between open lips nothing is covered of a face whose lips are closed; of an open one all."""
    shut = canonical().vertices
    target = pose(speaking(shut, 0.3), 256)
    inner = parts(target, 256, "mouth")
    inner = cv2.erode(inner, np.ones((7, 7)))
    around = cv2.dilate(inner, np.ones((31, 31))) * (parts(target, 256, "lips") == 0)
    for opening, wanted in ((-0.02, 0), (0.3, 1)):
        covered = way(pose(speaking(shut, opening), 256), target, 256).covered
        assert np.abs(covered[inner == 1] - wanted).max() < 0.05
        assert covered[around == 1].mean() > 0.9


def test_a_mesh_needs_no_depth() -> None:
    """Pictures are the same, bit for bit, with a mesh's depth or without."""
    start, goal = pose(person(1), 256, yaw=20), pose(person(2), SIDE, yaw=-15)
    with_depth, without = (warp(astronaut(), start[:, :d], goal[:, :d], SIDE) for d in (3, 2))
    for one, other in zip(with_depth, without, strict=True):
        np.testing.assert_array_equal(one, other)


@given(SEEDS, poses(), st.sampled_from([np.uint8, np.float32]))
def test_what_does_not_bend_stays_to_the_last_bit(
    seed: int, how: dict[str, float], dtype: type
) -> None:
    """Equal meshes: the crop itself, in levels and in floats, of any size."""
    side = 40 + seed % 60
    crop = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(dtype)
    mesh = pose(person(seed), side, **how)
    bent = bend(crop, mesh, mesh)
    assert bent.dtype == dtype
    np.testing.assert_array_equal(bent, crop)


@settings(max_examples=40)
@given(SEEDS)
def test_what_lies_far_from_a_move_stays_to_the_last_bit(seed: int) -> None:
    """Where lips move, no pixel of the triangles that do not have them changes, nor any of the
    crop's border where all of the face moves.
    """
    crop = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mesh = pose(person(seed), SIDE)
    lips = [*PARTS["lips"], *PARTS["mouth"]]
    moved = mesh.copy()
    moved[lips] += (1.5, 1, 0)
    bent = bend(crop, mesh, moved)
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    for triangle in canonical().triangles[np.isin(canonical().triangles, lips).any(1)]:
        cv2.fillConvexPoly(drawn, np.round(moved[triangle, :2]).astype(np.int32), 1)
    away = (cv2.dilate(drawn, np.ones((9, 9))) == 0) & (oval(mesh, SIDE) == 1)
    assert away.sum() > 1000
    np.testing.assert_array_equal(bent[away], crop[away])
    assert (bent != crop).any()
    bent = bend(crop, mesh, mesh[:, :2] + (2.0, -2.0))
    for edge in ((0, slice(None)), (-1, slice(None)), (slice(None), 0), (slice(None), -1)):
        np.testing.assert_array_equal(bent[edge], crop[edge])


@settings(max_examples=40)
@given(SEEDS, SEEDS, poses(40))
def test_nothing_tears(one: int, two: int, how: dict[str, float]) -> None:
    """Bent to another person's shape, neighbours in the crop were neighbours before, around the
    face and in it, also where its nose hides its cheek: no jump, and no fold.
    """
    target = pose(person(one), 192, **how)
    moved = towards(target, pose(person(two), 192), 1)
    where = bend(places(192), target, moved)
    inside = where[4:-4, 4:-4]
    across, down = np.diff(inside[..., 0], axis=1), np.diff(inside[..., 1], axis=0)
    assert across.min() > 0.6
    assert down.min() > 0.6
    assert max(across.max(), down.max()) < 1.4
    assert np.abs(np.diff(inside[..., 1], axis=1)).max() < 0.4


@settings(max_examples=40)
@given(SEEDS, poses(35))
def test_the_oval_holds_the_face(seed: int, how: dict[str, float]) -> None:
    """Every vertex lies within it, also of a turned face; its parts do; and it is one piece without
    a hole, whose area is the mesh's.
    """
    mesh = pose(person(seed), SIDE, **how)
    face = oval(mesh, SIDE)
    assert face.dtype == np.float32
    assert (face.min(), face.max()) == (0, 1)
    x, y = np.round(mesh[net().skin.ravel(), :2]).astype(int).T
    assert cv2.dilate(face, np.ones((3, 3)))[y, x].min() > 0
    inner = parts(mesh, SIDE, "nose", "lips", "right-eye", "left-eye")
    assert face[inner > 0.5].min() > 0.5
    hull = cv2.contourArea(cv2.convexHull(mesh[:, :2].copy()))
    assert 0.9 * hull < face.sum() < 1.03 * hull
    assert cv2.connectedComponents((face > 0.5).astype(np.uint8))[0] == 2
    assert cv2.connectedComponents((face <= 0.5).astype(np.uint8))[0] == 2


@settings(max_examples=20)
@given(SEEDS, poses())
def test_the_oval_is_of_all_triangles_that_are_seen(seed: int, how: dict[str, float]) -> None:
    """Also of those that are left out when it is drawn: bit for bit the contour and every one."""
    mesh = pose(person(seed), SIDE, **how)[:, :2].astype(np.float64)
    corners = mesh[canonical().triangles]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    seen = corners[u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] > 0]
    fine = np.zeros((4 * SIDE, 4 * SIDE), np.uint8)
    for polygon in (mesh[list(PARTS["oval"])], *seen):
        points = np.round(((polygon + 0.5) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, cv2.LINE_8, 4)
    whole = cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(oval(mesh, SIDE), whole / 255, atol=1e-6)


def test_parts_are_a_union() -> None:
    """Of two names, what either has; of none, nothing."""
    mesh = pose(canonical().vertices, SIDE)
    one, other = (parts(mesh, SIDE, name) for name in ("lips", "nose"))
    np.testing.assert_array_equal(parts(mesh, SIDE, "lips", "nose"), np.maximum(one, other))
    assert not parts(mesh, SIDE).any()
    assert parts(mesh, SIDE, "mouth").sum() < one.sum()


def test_what_is_published_is_there() -> None:
    """Every name of ``__all__``."""
    assert all(hasattr(meshes, name) for name in meshes.__all__)
