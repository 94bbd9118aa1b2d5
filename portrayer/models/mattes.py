"""Published networks that cut out: literal rows.

BiRefNet's logits, and the mattes of U2-Net and IS-Net, are stretched for each photo as rembg does.
"""

from __future__ import annotations

from portrayer.models.published import (
    FULL,
    GITHUB,
    HALF,
    IMAGENET,
    Colour,
    assets,
    brought,
    hugging,
)
from portrayer.models.spec import Graph, ModelSpec, Weights

REMBG = f"{GITHUB}/danielgatis/rembg/releases/download/v0.0.0"
BIREFNET = f"{GITHUB}/ZhengPeng7/BiRefNet/releases/download/v1"


def _cutter(
    side: int,
    output: str,
    weights: Weights,
    mean: Colour = IMAGENET[0],
    std: Colour = IMAGENET[1],
    *,
    peak: bool = True,
) -> ModelSpec:
    return ModelSpec(
        weights.name, "matte", "", weights, side, mean, std, output, graph=Graph(), peak=peak
    )


MATTES = (
    _cutter(
        320,
        "minmax",
        brought(
            "u2net.onnx",
            "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            175_997_641,
            "Apache-2.0",
            "github.com/xuebinqin/U-2-Net",
            f"{REMBG}/u2net.onnx",
            *hugging("tomjackson2023/rembg/resolve/main/u2net.onnx"),
            md5="60024c5c889badc19c04ad937298a77b",
        ),
    ),
    _cutter(
        320,
        "minmax",
        brought(
            "u2netp.onnx",
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            4_574_861,
            "Apache-2.0",
            "github.com/xuebinqin/U-2-Net",
            f"{REMBG}/u2netp.onnx",
            *hugging("tomjackson2023/rembg/resolve/main/u2netp.onnx"),
            md5="8e83ca70e441ab06c318d82300c84806",
        ),
    ),
    _cutter(
        320,
        "minmax",
        brought(
            "u2net-human.onnx",
            "01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
            175_997_641,
            "Apache-2.0",
            "github.com/xuebinqin/U-2-Net",
            f"{REMBG}/u2net_human_seg.onnx",
            *hugging("jellybox/u2net-human-seg/resolve/main/u2net_human_seg.onnx"),
            md5="c09ddc2e0104f800e3e1bb4652583d1f",
        ),
    ),
    _cutter(
        1024,
        "minmax",
        brought(
            "isnet-general.onnx",
            "60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            178_648_008,
            "Apache-2.0",
            "github.com/xuebinqin/DIS",
            f"{REMBG}/isnet-general-use.onnx",
            *hugging("tomjackson2023/rembg/resolve/main/isnet-general-use.onnx"),
            md5="fc16ebd8b0c10d971d3513d564d01e29",
        ),
        HALF,
        FULL,
    ),
    _cutter(
        1024,
        "sigmoid-minmax",
        brought(
            "birefnet-general.onnx",
            "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
            972_666_916,
            "MIT",
            "github.com/ZhengPeng7/BiRefNet",
            f"{BIREFNET}/BiRefNet-general-epoch_244.onnx",
            f"{REMBG}/BiRefNet-general-epoch_244.onnx",
            md5="7a35a0141cbbc80de11d9c9a28f52697",
        ),
    ),
    _cutter(
        1024,
        "sigmoid-minmax",
        brought(
            "birefnet-general-lite.onnx",
            "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
            224_005_088,
            "MIT",
            "github.com/ZhengPeng7/BiRefNet",
            f"{BIREFNET}/BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            f"{REMBG}/BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            *hugging("onnx-community/BiRefNet_lite-ONNX/resolve/main/onnx/model.onnx"),
            md5="4fab47adc4ff364be1713e97b7e66334",
        ),
    ),
    _cutter(
        1024,
        "sigmoid-minmax",
        brought(
            "birefnet-portrait.onnx",
            "1ba1c8ff5a7bbfadc8d8d13fb11d7be793f91f23d9d466549e37a854f6668f99",
            972_666_916,
            "MIT",
            "github.com/ZhengPeng7/BiRefNet",
            f"{BIREFNET}/BiRefNet-portrait-epoch_150.onnx",
            f"{REMBG}/BiRefNet-portrait-epoch_150.onnx",
            *hugging("onnx-community/BiRefNet-portrait-ONNX/resolve/main/onnx/model.onnx"),
            md5="c3a64a6abf20250d090cd055f12a3b67",
        ),
    ),
    _cutter(
        512,
        "matte",
        brought(
            "modnet.onnx",
            "a9edce4b47653992aacd1bee48126e65a415ed54e2ecbe51bdca25a8cab0c0d3",
            25_901_946,
            "Apache-2.0",
            "github.com/ZHKKKe/MODNet",
            *assets("models-3.5.0", "modnet.onnx"),
        ),
        HALF,
        HALF,
        peak=False,
    ),
)
