"""Cut out, restore and fuse portraits, at the speed of the device and within its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portrayer.pipeline import Result
    from portrayer.studio import Studio

__version__ = "0.1.0"
__all__ = ["Result", "Studio", "__version__"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; `portrayer --help` must not wait for it.
    if name == "Studio":
        from portrayer.studio import Studio

        return Studio
    if name == "Result":
        from portrayer.pipeline import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
