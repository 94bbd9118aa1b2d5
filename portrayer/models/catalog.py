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
                sha256="86d9cab32b3087e8265b1f6bf6131dd75ffceb05914cb29f76119e956c95e052",
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
