"""The user's word that faces may be used: asked once, then kept."""

from __future__ import annotations

import json
import sys
from datetime import date

from portrayer.errors import InputError, OutputError
from portrayer.image import files
from portrayer.tasks.options import options

STATEMENT = "I have the right to use these faces"
OPTION = "consent"  # of a task that needs it


def wanted(cls: type) -> bool:
    """Whether a task of these options needs the user's word."""
    return any(o.name == OPTION for o in options(cls))


def ask(yes: bool) -> None:
    """Go on if the user says so: with ``yes``, on an earlier day, or now on the terminal.

    Only what is said on the terminal is kept. Raises :class:`InputError` if the answer is no, or
    nobody is there to give one.
    """
    from portrayer.settings import agreed, consent_file

    if yes or agreed(STATEMENT):
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InputError(f'say --yes, which means: "{STATEMENT}"')
    print(f"{STATEMENT} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InputError("nothing was done: it needs the right to use these faces")
    line = f"# asked by portrayer; without this line it asks again\n{json.dumps(STATEMENT)} = "
    try:
        files.write(consent_file(), f"{line}{date.today()}\n".encode())
    except OutputError as error:
        print(f"portrayer: the answer is not kept, {error}", file=sys.stderr)
