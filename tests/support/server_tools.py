"""Downloads from a scripted server, with settings that suit small contents."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import largefile
from largefile.testing.script import Behaviour

BLOCK = 64 * 1024


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def get(server, dest, **options):
    """`largefile.download` with small blocks; no proxy, no sync, and no long wait for a dead server."""
    url = options.pop("url", None) or server.url
    usual = {"block_size": BLOCK, "concurrency": 4, "timeout": 5.0, "durable": False, "proxy": ""}
    return largefile.download(url, dest, **{**usual, **options})


def on(*numbers: int, **how):
    """A script that misbehaves for the requests of these numbers."""
    return lambda request: Behaviour(**how) if request.number in numbers else None


def always(**how):
    return lambda request: Behaviour(**how)


def after(number: int, **how):
    """A script that misbehaves from this request on."""
    return lambda request: Behaviour(**how) if request.number >= number else None


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def parts(dest: Path) -> tuple[Path, Path]:
    return dest.with_name(dest.name + ".part"), dest.with_name(dest.name + ".part.idx")
