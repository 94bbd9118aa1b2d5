"""The command line: what people type, and the exit codes scripts read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

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


def exit_code(error: errors.PortrayerError) -> int:
    """The exit code of an error's family."""
    return next(code for family, code in EXIT.items() if isinstance(error, family))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with the exit code."""
    import click

    from portrayer.cli.app import app

    try:
        code = app(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        print(f"portrayer: {error.format_message()}", file=sys.stderr)
        code = 2
    except errors.PortrayerError as error:
        print(f"portrayer: {error}", file=sys.stderr)
        code = exit_code(error)
    except (KeyboardInterrupt, click.Abort):
        print("portrayer: stopped; run the same command again to go on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        code = 3
    except Exception:
        logging.getLogger("portrayer").exception("internal error")
        print("portrayer: internal error, this is a bug; please report it with the lines above", file=sys.stderr)
        code = 3
    sys.exit(code or 0)
