"""The landmark network: the 468 vertices of a face mesh, and five points, from a small crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from portrayer.nets.unet import Block, conv

SIDE = 128
VERTICES = 468
POINTS = 5


class FaceSpace(nn.Module):
    """Features to a mesh, as a sum of shapes: a mean and principal components of training meshes.

    Stays in float32 whatever the network around it is cast to: in bfloat16 a coordinate in the
    middle of the crop would move in steps of a quarter of a pixel and more.

    ``basis``, ``mean``: shapes in crop pixels, (components, 1404) and (1404,), x y z of a vertex
    together. ``points``: (5, 468), the five points as weighted means of vertices.
    """

    points: Tensor

    def __init__(self, features: int, components: int) -> None:
        super().__init__()
        self.coefficients = nn.Linear(features, components)
        self.basis = nn.Parameter(torch.randn(components, VERTICES * 3))
        self.mean = nn.Parameter(torch.full((VERTICES * 3,), SIDE / 2))
        self.register_buffer("points", torch.full((POINTS, VERTICES), 1 / VERTICES))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def keep(tensor: Tensor) -> Tensor:
            cast = fn(tensor)
            return cast if cast.dtype == tensor.dtype else tensor.to(cast.device)

        return super()._apply(keep, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            shape = self.mean + self.coefficients(features.float()) @ self.basis
            mesh = shape.view(-1, VERTICES, 3) / SIDE
            points = self.points @ mesh[..., :2]
        return torch.cat([mesh, nn.functional.pad(points, (0, 1))], 1)


class Landmarker(nn.Module):
    """A face mesh from a normalised crop.

    A plain residual network; its last layers choose a point of a linear space of faces
    (:class:`FaceSpace`; Cootes et al., 1995).

    Input: (N, 3, 128, 128) RGB, 0..255 less 127.5 over 127.5; a square of 1.5 times the longer side
    of the face's box, eyes roughly level.
    Output: (N, 473, 3) float32: 468 vertices of the MediaPipe mesh (Kartynnik et al., 2019) as x, y
    in crop pixels / 128 and z, towards the camera negative, in the same unit; then right eye, left
    eye, nose, right and left mouth corner with z 0.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 48, 64, 96),
        squeeze: int = 32,
        components: int = 96,
    ) -> None:
        super().__init__()
        stages = [conv(3, widths[0], 2)]
        for above, width in pairwise(widths):
            stages.append(nn.Sequential(*conv(above, width, 2), Block(width)))
        last = SIDE >> len(widths)
        self.features = nn.Sequential(
            *stages,
            nn.Sequential(
                nn.Conv2d(widths[-1], squeeze, 1, bias=False),
                nn.BatchNorm2d(squeeze),
                nn.ReLU(inplace=True),
            ),
        )
        self.face = FaceSpace(squeeze * last * last, components)

    def forward(self, x: Tensor) -> Tensor:
        return self.face(self.features(x).flatten(1))  # type: ignore[no-any-return]
