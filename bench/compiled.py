"""The C programs of the bench: compiled when they are needed, into a folder that goes with the run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent


def compiled(name: str, folder: Path) -> Path | None:
    """The program of ``name.c``; None where there is no compiler, or it is not for this system."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    program = folder / name
    command = [compiler, "-O2", "-o", program, SOURCES / f"{name}.c"]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode else program
