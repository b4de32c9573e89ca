"""What the micro benchmarks share: a group is compared at one size, and caches to work on."""

from __future__ import annotations

from pathlib import Path

import pytest

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.create import create_cache_files

#: Parameters that say how large the task is; others tell variants of one task apart.
SIZES = {"blocks": "{:,} blocks", "block_size": "blocks of {:,} bytes"}


@pytest.fixture(autouse=True)
def _one_size_a_group(request):
    """Put the size into the group's name: ours and the baseline are compared at the same one."""
    if "benchmark" in request.fixturenames and hasattr(request.node, "callspec"):
        benchmark = request.getfixturevalue("benchmark")
        given = request.node.callspec.params
        sizes = [text.format(given[name]) for name, text in SIZES.items() if name in given]
        benchmark.group = ", ".join([benchmark.group, *sizes])


@pytest.fixture
def new_cache(tmp_path):
    """Make an empty cache of these sizes, anew each time, and open it for writing."""
    opened: list[LocalDownloadCache] = []

    def make(content_size: int, block_size: int, reserve: str = "all") -> LocalDownloadCache:
        while opened:
            opened.pop().close()
        data, index = paths(tmp_path)
        for path in (data, index):
            path.unlink(missing_ok=True)
        create_cache_files(data, index, content_size, block_size, reserve=reserve)
        opened.append(LocalDownloadCache.open(data, index, reserve=reserve))
        return opened[0]

    yield make
    while opened:
        opened.pop().close()


def paths(folder: Path) -> tuple[Path, Path]:
    return folder / "x.part", folder / "x.part.idx"
