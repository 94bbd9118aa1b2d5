"""Output rules: what comes out of a network, made into what its callers are promised."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def _alpha(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits.float()).squeeze(1)


def _matte(planes: Tensor) -> Tensor:
    return planes.float().squeeze(1).clamp(0, 1)


def _minmax(planes: Tensor) -> Tensor:
    low, high = planes.float().aminmax(dim=-1, keepdim=True)
    low, high = low.amin(dim=-2, keepdim=True), high.amax(dim=-2, keepdim=True)
    span = high - low
    flat = span <= torch.finfo(torch.float32).eps  # nothing to stretch: it stays as it is
    return _matte(torch.where(flat, planes.float(), (planes - low) / span.clamp(min=1e-7)))


def _sigmoid_minmax(logits: Tensor) -> Tensor:
    return _minmax(torch.sigmoid(logits.float()))


def _planes(planes: Tensor) -> Tensor:
    return planes.float().permute(0, 2, 3, 1).contiguous()


def _unit(planes: Tensor) -> Tensor:
    return _planes(planes).clamp(0, 1)


def _picture(planes: Tensor) -> Tensor:
    return (_planes(planes) / 2 + 0.5).clamp(0, 1)


def _as_it_is(raw: Tensor) -> Tensor:
    return raw.float()


def _yunet(raw: Tensor) -> Tensor:
    """Offsets from a cell's corner, in its strides; sizes as logarithms."""
    cells = _cells(_side(raw.shape[1]))
    cls, obj, middle, size, points = raw.float().split([1, 1, 2, 2, 10], dim=2)
    corner, stride = cells[:, :2], cells[:, 2:]
    score = (cls.clamp(0, 1) * obj.clamp(0, 1)).sqrt()
    extent = size.exp() * stride
    start = (middle + corner) * stride - extent / 2
    return torch.cat([score, start, extent, (points + corner.repeat(1, 5)) * stride], dim=2)


STRIDES = (8, 16, 32)


def _side(anchors: int) -> int:
    """Of the square that has so many cells at all the strides."""
    return round(math.sqrt(anchors / sum(stride**-2 for stride in STRIDES)))


def _cells(side: int) -> Tensor:
    """(anchors, 3): column, row and stride of each cell, row by row, the finest first."""
    made = []
    for stride in STRIDES:
        row, column = torch.meshgrid(*[torch.arange(side // stride)] * 2, indexing="ij")
        made.append(torch.stack([column, row, torch.full_like(row, stride)], dim=2).view(-1, 3))
    return torch.cat(made).float()


OUTPUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "alpha": _alpha,
    "matte": _matte,
    "minmax": _minmax,
    "sigmoid-minmax": _sigmoid_minmax,
    "cells": _planes,
    "change": _planes,
    "points": _as_it_is,
    "picture": _picture,
    "unit": _unit,
    "vector": _as_it_is,
    "yunet": _yunet,
}
"""All to float32, each sample alone.

``alpha``: logits (N, 1, S, S) to (N, S, S) in 0..1. ``matte``: (N, 1, S, S) in 0..1 to (N, S, S),
clamped. ``minmax``: the same, each sample stretched to 0..1; a flat one stays flat.
``sigmoid-minmax``: the same, of logits. ``cells``: (N, 15, h, w), an eighth of the side, to
(N, h, w, 15), as they are. ``change``: RGB (N, 3, S, S) to (N, S, S, 3), as it is. ``points``:
(N, 473, 3), as they are. ``picture``: RGB (N, 3, S, S) in about -1..1 to (N, S, S, 3) in 0..1,
clamped. ``unit``: the same, of 0..1. ``vector``: (N, D), as it is. ``yunet``: (N, anchors, 16),
class, object, box and five points of each cell at strides 8, 16 and 32, to (N, anchors, 15):
score, box (x, y, width, height) and points (x, y) in pixels of the square.
"""


def raw_shape(rule: str, side: int) -> tuple[int, ...]:
    """What a rule takes, for a square of ``side``, without N; 0 where any number will do."""
    return {
        "cells": (15, side // 8, side // 8),
        "change": (3, side, side),
        "points": (473, 3),
        "picture": (3, side, side),
        "unit": (3, side, side),
        "vector": (0,),
        "yunet": (sum((side // stride) ** 2 for stride in STRIDES), 16),
    }.get(rule, (1, side, side))
