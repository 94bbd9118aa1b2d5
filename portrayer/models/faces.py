"""Published networks for faces, which restore, fuse, recognise or find them: literal rows."""

from __future__ import annotations

from collections.abc import Mapping

from portrayer.models.published import (
    FULL,
    GITHUB,
    HALF,
    IMAGENET,
    ONE,
    ZERO,
    Colour,
    assets,
    brought,
    hugging,
)
from portrayer.models.spec import Graph, ModelSpec, Weights

ALIYUN = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
INSIGHT = f"{GITHUB}/deepinsight/insightface/releases/download"
STRIDES = (8, 16, 32)  # of YuNet's heads


def _restorer(weights: Weights, graph: Graph) -> ModelSpec:
    return ModelSpec(weights.name, "enhance", "", weights, 512, HALF, HALF, "picture", graph=graph)


def _swapper(
    side: int, output: str, weights: Weights, mean: Colour, std: Colour, matrix: str
) -> ModelSpec:
    graph = Graph("target", "source", 512, matrix=matrix)
    return ModelSpec(weights.name, "fuse", "", weights, side, mean, std, output, graph=graph)


def _converter(weights: Weights) -> ModelSpec:
    """From the recogniser's vectors to those that a swapper was trained with."""
    graph = Graph(vector="input", width=512)
    return ModelSpec(weights.name, "fuse", "", weights, 0, output="vector", graph=graph)


def _gpen(side: int, bytes: int, *urls: str) -> ModelSpec:
    weights = brought(
        f"gpen-{side}.safetensors",
        "",
        bytes,
        "non-commercial (academic use)",
        "github.com/yangxy/GPEN",
        *urls,
        commercial=False,
    )
    build = f"gpen:gpen{side}"
    return ModelSpec(weights.name, "enhance", build, weights, side, HALF, HALF, "picture")


RESTORING = (
    _restorer(
        brought(
            "gfpgan-1.4.onnx",
            "accc4757b26bdb89b32b4d3500d4f79c9dff97c1dd7c7104bf9dcb95e3311385",
            340_299_087,
            "Apache-2.0",
            "github.com/TencentARC/GFPGAN",
            *assets("models-3.0.0", "gfpgan_1.4.onnx"),
        ),
        Graph("input"),
    ),
    _restorer(
        brought(
            "restoreformer-plus-plus.onnx",
            "f4db5a89902b6a2d452446f5721245a6f7185f699b6aec7b77285adb4d504337",
            294_264_812,
            "Apache-2.0",
            "github.com/wzhouxiff/RestoreFormerPlusPlus",
            *assets("models-3.0.0", "restoreformer_plus_plus.onnx"),
        ),
        Graph("input"),
    ),
    _restorer(
        brought(
            "codeformer.onnx",
            "21710e7ab61c82683576c428e9c1b6fe1ed419586b7b39e394c3449c294b550f",
            376_951_650,
            "S-Lab 1.0 (non-commercial)",
            "github.com/sczhou/CodeFormer",
            *assets("models-3.0.0", "codeformer.onnx"),
            commercial=False,
        ),
        # Its authors' own default between quality (0) and likeness (1).
        Graph("input", constants=(("weight", 0.5),)),
    ),
    _gpen(256, 75_517_192, f"{ALIYUN}/GPEN-BFR-256.pth"),
    _gpen(
        512,
        284_022_236,
        f"{ALIYUN}/GPEN-BFR-512.pth",
        f"{GITHUB}/vinthony/video-retalking/releases/download/v0.0.1/GPEN-BFR-512.pth",
    ),
    _gpen(
        1024,
        284_843_696,
        "https://www.modelscope.cn/api/v1/models/damo/cv_gpen_image-portrait-enhancement-hires"
        "/repo?Revision=master&FilePath=pytorch_model.pt",
    ),
)

FUSING = (
    _swapper(
        128,
        "unit",
        # InsightFace's own file; facefusion publishes another of the same name.
        brought(
            "inswapper-128.onnx",
            "e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af",
            554_253_681,
            "non-commercial (InsightFace, research)",
            "github.com/deepinsight/insightface",
            f"{INSIGHT}/v0.7/inswapper_128.onnx",
            f"{INSIGHT}/model-zoo/inswapper_128.onnx",
            *hugging("ezioruan/inswapper_128.onnx/resolve/main/inswapper_128.onnx"),
            commercial=False,
        ),
        ZERO,
        FULL,
        "last",
    ),
    _swapper(
        256,
        "picture",
        # Free in itself; but it takes what arcface makes, which is not.
        brought(
            "ghost.onnx",
            "",
            514_902_950,
            "Apache-2.0, with arcface non-commercial",
            "github.com/ai-forever/ghost",
            *assets("models-3.0.0", "ghost_1_256.onnx"),
            commercial=False,
        ),
        HALF,
        HALF,
        "",
    ),
    _swapper(
        256,
        "unit",
        brought(
            "simswap.onnx",
            "",
            220_368_724,
            "CC BY-NC 4.0 (non-commercial)",
            "github.com/neuralchen/SimSwap",
            *assets("models-3.0.0", "simswap_256.onnx"),
            commercial=False,
        ),
        IMAGENET[0],
        IMAGENET[1],
        "unit",
    ),
    _converter(
        brought(
            "crossface-ghost.onnx",
            "",
            22_083_800,
            "Apache-2.0",
            "github.com/facefusion/facefusion-assets",
            *assets("models-3.4.0", "crossface_ghost.onnx"),
        )
    ),
    _converter(
        brought(
            "crossface-simswap.onnx",
            "6452a261ec30cc30afdbe4a426d82c3b10a476f2df794e3494071c02574e6829",
            22_083_800,
            "CC BY-NC 4.0 (non-commercial)",
            "github.com/facefusion/facefusion-assets",
            *assets("models-3.4.0", "crossface_simswap.onnx"),
            commercial=False,
        )
    ),
    ModelSpec(
        name="arcface",
        task="fuse",
        build="",
        weights=brought(
            "arcface.onnx",
            "f1f79dc3b0b79a69f94799af1fffebff09fbd78fd96a275fd8f0cbbea23270d1",
            174_388_474,
            "non-commercial (InsightFace, research)",
            "github.com/deepinsight/insightface (w600k_r50)",
            *assets("models-3.0.0", "arcface_w600k_r50.onnx"),
            commercial=False,
        ),
        side=112,
        mean=HALF,
        std=HALF,
        output="vector",
        graph=Graph(),
    ),
)

DETECTING = (
    ModelSpec(
        name="yunet",
        task="enhance",
        build="",
        weights=brought(
            "yunet.onnx",
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            232_589,
            "MIT",
            "github.com/opencv/opencv_zoo",
            f"{GITHUB}/opencv/opencv_zoo/raw/main/models/face_detection_yunet"
            "/face_detection_yunet_2023mar.onnx",
            *hugging("opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx"),
        ),
        side=640,
        mean=ZERO,
        std=ONE,
        output="yunet",
        graph=Graph(
            "input",
            outputs=tuple(
                f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES
            ),
        ),
        order="BGR",
    ),
)

NEEDS: Mapping[str, tuple[str, ...]] = {
    "inswapper-128": ("arcface",),
    "ghost": ("arcface", "crossface-ghost"),
    "simswap": ("arcface", "crossface-simswap"),
}
"""What a model does not work without: the recogniser of its vectors, then their converter."""
