"""Every model Portrayer knows: a literal, not a registry."""

from __future__ import annotations

from collections.abc import Mapping

from portrayer.errors import UnknownModel
from portrayer.models.spec import ModelSpec, Weights

CATALOG: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="portrait-matting",
            task="matte",
            build="unet:UNet",
            weights=Weights(
                file="portrait-matting.safetensors",
                sha256="42672ac9c8c4f5ccf42c558087f831d8f1c096eb9b3f54bf52402785519b59b2",
                bytes=11_231_802,
                licence="Apache-2.0",
                origin="trained by train/matting.py, shipped in the package",
            ),
            side=352,
        ),
    )
}


def spec(name: str) -> ModelSpec:
    """The catalogue's row of this name; :class:`UnknownModel` names the ones there are."""
    try:
        return CATALOG[name]
    except KeyError:
        raise UnknownModel(
            f"no model is called {name!r} (there are: {', '.join(CATALOG)})"
        ) from None
