"""Every model Portrayer knows: a literal, not a registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from portrayer.errors import UnknownModel
from portrayer.models.spec import ModelSpec, Weights

HALF = (127.5, 127.5, 127.5)  # as mean and as std: -1..1
ALIYUN = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"


def _ours(file: str, sha256: str, bytes: int, script: str) -> Weights:
    origin = f"trained by {script}, shipped in the package"
    return Weights(file, sha256, bytes, "Apache-2.0", origin)


def _face(name: str, build: str, weights: Weights, side: int, output: str) -> ModelSpec:
    return ModelSpec(name, "enhance", build, weights, side, HALF, HALF, output)


def _gpen(side: int, bytes: int, *urls: str) -> ModelSpec:
    weights = Weights(
        file=f"gpen-{side}.safetensors",
        sha256="",
        bytes=bytes,
        licence="non-commercial (academic use)",
        origin="github.com/yangxy/GPEN",
        urls=urls,
        consent=True,
    )
    return _face(f"gpen-{side}", f"gpen:gpen{side}", weights, side, "picture")


DETECTOR = _ours(
    file="face-detector.safetensors",
    sha256="1c3451542c18d5a557a223ec20859817ed9d6883a4631e1b572ad6baa6f0a893",
    bytes=1_052_230,
    script="train/detector.py",
)

CATALOG: Mapping[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="portrait-matting",
            task="matte",
            build="unet:UNet",
            weights=_ours(
                file="portrait-matting.safetensors",
                sha256="86d9cab32b3087e8265b1f6bf6131dd75ffceb05914cb29f76119e956c95e052",
                bytes=11_231_802,
                script="train/matting.py",
            ),
            side=352,
        ),
        _face("face-detector", "detector:Detector", DETECTOR, 640, "map"),
        _face("face-detector-close", "detector:Detector", DETECTOR, 320, "map"),
        _face(
            "face-landmarks",
            "landmarker:Landmarker",
            _ours(
                file="face-landmarks.safetensors",
                sha256="f7627fe920753349b92ac2efd10f32615d528127e954a5f0367340f07dfa73a8",
                bytes=1_198_592,
                script="train/landmarker.py",
            ),
            128,
            "points",
        ),
        _face(
            "portrait-restore",
            "restorer:Restorer",
            _ours(
                file="portrait-restore.safetensors",
                sha256="39b6cadfe82f2d461e201d6eff5a5b20e11c7587d4efc87a1ff43a12a0396b49",
                bytes=5_023_994,
                script="train/restorer.py",
            ),
            256,
            "map",
        ),
        _gpen(256, 75_517_192, f"{ALIYUN}/GPEN-BFR-256.pth"),
        _gpen(
            512,
            284_022_236,
            f"{ALIYUN}/GPEN-BFR-512.pth",
            "https://github.com/vinthony/video-retalking/releases/download/v0.0.1/GPEN-BFR-512.pth",
        ),
        _gpen(
            1024,
            284_843_696,
            "https://www.modelscope.cn/api/v1/models/damo/cv_gpen_image-portrait-enhancement-hires"
            "/repo?Revision=master&FilePath=pytorch_model.pt",
        ),
    )
}


def spec(name: str, folder: Path | None = None) -> ModelSpec:
    """The catalogue's row of this name, with what a user brings in ``folder`` (None: the settings'
    own); :class:`UnknownModel` names the ones there are.
    """
    try:
        row = CATALOG[name]
    except KeyError:
        raise UnknownModel(
            f"no model is called {name!r} (there are: {', '.join(CATALOG)})"
        ) from None
    if folder is None or row.weights.shipped:
        return row
    return replace(row, weights=replace(row.weights, folder=folder))
