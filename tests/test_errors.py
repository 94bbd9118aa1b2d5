"""Laws of the tree of errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from portrayer import errors
from portrayer.errors import PortrayerError

FAMILIES = (errors.InputError, errors.NotFound, errors.CapacityError, errors.ModelError)


def below(cls: type[PortrayerError]) -> Iterator[type[PortrayerError]]:
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


TREE: list[type[PortrayerError]] = [PortrayerError, *below(PortrayerError)]


def test_codes_are_stable() -> None:
    """Machines read these: a code is never changed, and each class has its own."""
    assert {cls.__name__: cls.code for cls in TREE} == {
        "PortrayerError": "error",
        "InputError": "input",
        "DecodeError": "decode",
        "ImageTooLarge": "too-large",
        "InvalidOption": "option",
        "KeyReused": "key-reused",
        "NotReady": "not-ready",
        "OutputError": "output",
        "NoFaceFound": "no-face",
        "NotFound": "not-found",
        "UnknownTask": "unknown-task",
        "UnknownModel": "unknown-model",
        "UnknownJob": "unknown-job",
        "UnknownItem": "unknown-item",
        "CapacityError": "capacity",
        "QueueFull": "queue-full",
        "DeadlineExceeded": "deadline",
        "OutOfMemory": "out-of-memory",
        "Canceled": "canceled",
        "EngineClosed": "closed",
        "ModelError": "model",
        "DownloadFailed": "download",
        "ChecksumMismatch": "checksum",
        "WeightsMismatch": "weights",
        "DeviceUnavailable": "device",
    }
    assert len({cls.code for cls in TREE}) == len(TREE)


@pytest.mark.parametrize("cls", TREE)
def test_every_error_has_one_family(cls: type[PortrayerError]) -> None:
    """Whoever maps families to exit codes or statuses maps every error, in one way."""
    assert sum(issubclass(cls, family) for family in FAMILIES) == (cls is not PortrayerError)
    assert cls.__doc__


@pytest.mark.parametrize("cls", TREE)
def test_an_error_is_a_line(cls: type[PortrayerError]) -> None:
    """What happened, then what to do about it; the advice alone does not repeat in the reason."""
    error = cls("the sky fell")
    assert error.reason == "the sky fell"
    assert str(error) == ("the sky fell: " + cls.advice if cls.advice else "the sky fell")
    assert "\n" not in str(error)
    assert cls().reason == cls.code


@pytest.mark.parametrize("cls", TREE)
def test_an_error_survives_the_way_between_processes(cls: type[PortrayerError]) -> None:
    """Copied or pickled, it is of the same kind and says the same."""
    error = cls("the sky fell")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is cls
        assert str(again) == str(error)
