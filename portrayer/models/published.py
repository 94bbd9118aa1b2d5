"""How the models that others publish come here: their addresses, hashes and licences. None of them
ships; a user fetches or brings them.
"""

from __future__ import annotations

from portrayer.models.spec import Weights

Colour = tuple[float, float, float]

HALF: Colour = (127.5, 127.5, 127.5)  # as mean and as std: -1..1
ZERO: Colour = (0.0, 0.0, 0.0)
ONE: Colour = (1.0, 1.0, 1.0)
FULL: Colour = (255.0, 255.0, 255.0)  # as std alone: 0..1
IMAGENET: tuple[Colour, Colour] = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))

GITHUB = "https://github.com"


def hugging(path: str) -> tuple[str, ...]:
    """A file on Hugging Face, and on its mirror."""
    return tuple(f"https://{host}/{path}" for host in ("huggingface.co", "hf-mirror.com"))


def assets(tag: str, file: str) -> tuple[str, ...]:
    """A file of facefusion's, which many models are published as."""
    origin = f"{GITHUB}/facefusion/facefusion-assets/releases/download/{tag}/{file}"
    return (origin, *hugging(f"facefusion/{tag}/resolve/main/{file}"))


def brought(
    file: str,
    sha256: str,
    bytes: int,
    licence: str,
    origin: str,
    *urls: str,
    md5: str = "",
    commercial: bool = True,
) -> Weights:
    """Weights that are fetched; a licence that forbids earning with them must be accepted."""
    return Weights(
        file,
        sha256,
        bytes,
        licence,
        origin,
        urls,
        consent=not commercial,
        md5=md5,
        commercial=commercial,
    )
