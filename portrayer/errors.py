"""What can go wrong, as a tree: which family decides the exit code and the HTTP status."""

from __future__ import annotations

from typing import ClassVar


class PortrayerError(Exception):
    """Base of everything Portrayer raises on purpose.

    ``code`` is stable and machine-readable; ``advice`` says in a few words what to do about it.
    ``str(error)`` is one line: what happened, then the advice.
    """

    code: ClassVar[str] = "error"
    advice: ClassVar[str] = ""

    @property
    def reason(self) -> str:
        """What happened, without the advice."""
        return str(self.args[0]) if self.args else self.code

    def __str__(self) -> str:
        return f"{self.reason}: {self.advice}" if self.advice else self.reason


class InputError(PortrayerError):
    """The caller can fix it."""

    code = "input"


class DecodeError(InputError):
    """The bytes are not a picture that can be read."""

    code = "decode"
    advice = "save the picture again as JPEG, PNG, WebP, BMP or TIFF"


class ImageTooLarge(InputError):
    """More pixels than the limit; found in the header, before any are decoded."""

    code = "too-large"
    advice = "make the picture smaller or raise the limit (--max-pixels)"


class InvalidOption(InputError):
    """An option does not exist, or its value is out of range."""

    code = "option"


class KeyReused(InputError):
    """An idempotency key came again with another request."""

    code = "key-reused"
    advice = "send a new key with a new request"


class NotReady(InputError):
    """What was asked for does not exist yet, or not any more."""

    code = "not-ready"


class OutputError(InputError):
    """The result cannot be written where it was asked to go."""

    code = "output"


class NoFaceFound(InputError):
    """The task needs a face and the picture shows none."""

    code = "no-face"
    advice = "use a picture with a visible face or lower the threshold (--min-score)"


class NotFound(PortrayerError):
    """No such thing."""

    code = "not-found"


class UnknownTask(NotFound):
    """No task has this name."""

    code = "unknown-task"


class UnknownModel(NotFound):
    """No model in the catalogue has this name."""

    code = "unknown-model"
    advice = "`portrayer models` lists them"


class UnknownJob(NotFound):
    """The ledger holds no job with this name."""

    code = "unknown-job"


class UnknownItem(NotFound):
    """The ledger holds no item with this number."""

    code = "unknown-item"


class CapacityError(PortrayerError):
    """Try again later, or with more room."""

    code = "capacity"


class QueueFull(CapacityError):
    """As many requests wait as may wait."""

    code = "queue-full"
    advice = "try again in a moment"


class DeadlineExceeded(CapacityError):
    """The request was not done in the time it was given."""

    code = "deadline"
    advice = "try again or allow more time"


class OutOfMemory(CapacityError):
    """One picture alone does not fit the memory that may be used."""

    code = "out-of-memory"
    advice = "raise the memory budget, free the device, or make the picture smaller"


class Canceled(CapacityError):
    """The work was given up because nobody wants it any more."""

    code = "canceled"


class EngineClosed(CapacityError):
    """The engine was closed before this request was answered."""

    code = "closed"


class ModelError(PortrayerError):
    """The installation is wrong."""

    code = "model"


class DownloadFailed(ModelError):
    """A model's weights could not be fetched."""

    code = "download"


class ChecksumMismatch(ModelError):
    """A model's weights are not the published ones."""

    code = "checksum"
    advice = "the file is damaged or not the published one; install it again"


class WeightsMismatch(ModelError):
    """A model's weights do not fit its network."""

    code = "weights"


class DeviceUnavailable(ModelError):
    """The device that was asked for is not there."""

    code = "device"
    advice = "`portrayer doctor` says what was found and why"
