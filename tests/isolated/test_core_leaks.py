"""Memory is given back; looked at in a fresh process, where nothing else allocates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_core_gives_back_what_it_takes():
    script = Path(__file__).with_name("core_leaks.py")
    # The importing rules of this process are handed on: it may run from a clone or beside a built wheel.
    code = (
        f"import runpy, sys; sys.path[:] = {sys.path!r}; runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
