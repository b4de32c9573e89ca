"""``python -m largefile`` is the command line."""

from __future__ import annotations

from largefile.cli import main

if __name__ == "__main__":
    main(prog_name="largefile")
