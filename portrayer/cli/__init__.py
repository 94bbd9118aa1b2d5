"""The command line: what people type, and the exit codes scripts read."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from portrayer import errors

EXIT: Mapping[type[errors.PortrayerError], int] = {
    errors.OutputError: 3,
    errors.InputError: 2,
    errors.NotFound: 2,
    errors.CapacityError: 3,
    errors.ModelError: 3,
    errors.PortrayerError: 3,
}
"""0 all done, 1 some failed, 2 usage, 3 environment; the first family that fits decides."""

STOPPED = 130  # what a shell says of a program that Ctrl-C ended


def exit_code(error: errors.PortrayerError) -> int:
    """The exit code of an error's family."""
    return next(code for family, code in EXIT.items() if isinstance(error, family))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with the exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except errors.PortrayerError as error:
        code = _tell(str(error), exit_code(error))
    except KeyboardInterrupt:
        code = _tell("stopped; run the same command again to go on", STOPPED)
    except BrokenPipeError:  # whoever read the output has seen enough
        code = 3
        _abandon_stdout()
    except OSError as error:
        code = _tell(f"{error.filename or 'standard output'}: {error.strerror or error}", 3)
        _abandon_stdout()
    except Exception:
        logging.getLogger("portrayer").exception("internal error")
        code = _tell("internal error, this is a bug; please report it with the lines above", 3)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    import typer

    from portrayer.cli.app import commands

    command = commands()
    # Typer brings its own copy of Click from 0.2x on, and used the real one before.
    bases = (base for base in typer.BadParameter.__mro__ if issubclass(base, Exception))
    complaint = next(base for base in bases if base.__name__ == "ClickException")
    try:
        # Not through Typer's own main, which has exit codes and silences of its own.
        with command.make_context("portrayer", arguments) as context:
            return command.invoke(context) or 0
    except typer.Exit as end:
        return end.exit_code
    except complaint as error:
        return _tell(getattr(error, "format_message", error.__str__)(), 2)


def _tell(line: str, code: int) -> int:
    print(f"portrayer: {line}", file=sys.stderr)
    return code


def _abandon_stdout() -> None:
    """Drop what is still buffered: Python would try once more at the end, and complain."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
