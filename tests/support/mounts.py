"""Small filesystems of a test's own: in memory, or over a file. Who may not mount skips."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MIB = 1 << 20


def run(*words: object) -> str:
    """A command that has to go well; the test is skipped where it does not."""
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip(f"{words[0]} is not installed")
    if done.returncode:
        pytest.skip(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def mounted(kind: str, size: int) -> Iterator[Path]:
    """A folder that is a filesystem of this kind and about this size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    with tempfile.TemporaryDirectory(prefix="largefile-test-") as name:
        folder = Path(name) / "mount"
        folder.mkdir()
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
        else:
            image = Path(name) / "image"
            with image.open("wb") as file:
                file.truncate(size)
            run(f"mkfs.{kind}", "-q", image)
            run("mount", "-o", "loop", image, folder)
        try:
            yield folder
        finally:
            # Lazily: a test that failed may still have a file open.
            subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60)


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all the room that there is, but for `leave` bytes; the file that has it."""
    hog = folder / "hog"
    free = shutil.disk_usage(folder).free - leave
    with hog.open("ab", buffering=0) as file:
        piece = bytes(MIB)
        with contextlib.suppress(OSError):
            while free > 0:
                free -= file.write(piece[: min(free, MIB)])
            os.fsync(file.fileno())
    return hog
