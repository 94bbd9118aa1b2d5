"""``python -m portrayer``."""

from __future__ import annotations

from portrayer.cli import main

if __name__ == "__main__":
    main()
