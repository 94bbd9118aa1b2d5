"""What comes out of a network is made into what its callers were promised, sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from portrayer.models.outputs import OUTPUTS, raw_shape

RULES = {
    "alpha": ((2, 1, 4, 4), (2, 4, 4), (0, 1)),
    "matte": ((2, 1, 4, 4), (2, 4, 4), (0, 1)),
    "minmax": ((2, 1, 4, 4), (2, 4, 4), (0, 1)),
    "sigmoid-minmax": ((2, 1, 4, 4), (2, 4, 4), (0, 1)),
    "cells": ((2, 15, 4, 3), (2, 4, 3, 15), (-40, 40)),
    "change": ((2, 3, 4, 4), (2, 4, 4, 3), (-40, 40)),
    "points": ((2, 473, 3), (2, 473, 3), (-40, 40)),
    "picture": ((2, 3, 4, 4), (2, 4, 4, 3), (0, 1)),
    "unit": ((2, 3, 4, 4), (2, 4, 4, 3), (0, 1)),
    "vector": ((2, 512), (2, 512), (-40, 40)),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_output_rule_gives_its_shape_and_range(rule: str, dtype: torch.dtype) -> None:
    """float32, one entry a sample and contiguous; limits are reached, and kept to."""
    before, after, (low, high) = RULES[rule]
    raw = torch.linspace(-40, 40, math.prod(before)).reshape(before).to(dtype)
    made = OUTPUTS[rule](raw)
    assert (made.dtype, tuple(made.shape)) == (torch.float32, after)
    assert made.is_contiguous()
    assert (made.min().item(), made.max().item()) == pytest.approx((low, high), abs=1e-6)


def test_every_rule_is_held() -> None:
    """Each is in the table above, but the one whose shape is its law."""
    assert {*OUTPUTS} == {*RULES, "yunet"}


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_takes(rule: str) -> None:
    """The shape it says it takes is one it takes."""
    wanted, (_, *taken) = raw_shape(rule, 4), RULES[rule][0]
    assert len(wanted) == len(taken)
    assert all(size in (0, found) for size, found in zip(wanted, taken, strict=True))


def test_a_map_is_as_it_was() -> None:
    """Channels go last; no value changes."""
    raw = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    made = OUTPUTS["cells"](raw)
    assert all(torch.equal(made[..., c], raw[:, c]) for c in range(3))


@pytest.mark.parametrize(
    ("rule", "made"), [("picture", [0.0, 0.5, 1.0]), ("unit", [0.0, 0.0, 1.0])]
)
def test_a_picture_is_black_at_its_lower_limit(rule: str, made: list[float]) -> None:
    """``picture`` has -1 for black and 0 for middle grey, ``unit`` 0 for black; 1 is white, and red
    comes first.
    """
    raw = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert OUTPUTS[rule](raw).flatten().tolist() == made


@pytest.mark.parametrize("rule", ["minmax", "sigmoid-minmax"])
def test_each_sample_is_stretched_by_itself(rule: str) -> None:
    """A faint one as far as a strong one; a flat one stays as flat as it is."""
    strong = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    faint, flat = 0.25 + strong / 100, torch.full((1, 1, 4, 4), 0.25)
    made = OUTPUTS[rule](torch.cat([strong, faint, flat]))
    for at in (0, 1):
        assert (made[at].min().item(), made[at].max().item()) == pytest.approx((0, 1), abs=1e-5)
    if rule == "minmax":
        torch.testing.assert_close(made[0], made[1], atol=1e-4, rtol=0)
    expected = 0.25 if rule == "minmax" else torch.sigmoid(torch.tensor(0.25)).item()
    assert made[2].unique().tolist() == pytest.approx([expected])


def faces(raw: Tensor, side: int) -> np.ndarray:
    """The detector's arithmetic, one cell after another."""
    made, at = [], 0
    for stride in (8, 16, 32):
        for row in range(side // stride):
            for column in range(side // stride):
                cls, obj, x, y, w, h, *points = raw[at].tolist()
                at += 1
                w, h = math.exp(w) * stride, math.exp(h) * stride
                spread = [
                    (value + (row if n % 2 else column)) * stride for n, value in enumerate(points)
                ]
                score = math.sqrt(min(max(cls, 0), 1) * min(max(obj, 0), 1))
                corner = (column + x) * stride - w / 2, (row + y) * stride - h / 2
                made.append([score, *corner, w, h, *spread])
    assert at == len(raw)
    return np.array(made, np.float32)


@pytest.mark.parametrize("side", [64, 96])
def test_a_detectors_cells_become_pixels(side: int) -> None:
    """Score, box and five points of every cell, in pixels of the square."""
    anchors, parts = raw_shape("yunet", side)
    raw = torch.randn(2, anchors, parts, generator=torch.Generator().manual_seed(side))
    made = OUTPUTS["yunet"](raw).numpy()
    for at in range(2):
        np.testing.assert_allclose(made[at], faces(raw[at], side), rtol=1e-4, atol=1e-3)
