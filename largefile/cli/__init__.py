"""The command line. `main` is the console script; click is imported here and rich only to draw a bar."""

from __future__ import annotations

from largefile.cli.app import main

__all__ = ["main"]
