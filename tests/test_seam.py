"""The seam for tests: every operation on a file can be watched, and by everybody."""

from __future__ import annotations

import inspect

import pytest
from disk_helpers import names

from largefile.disk.cache import LocalDownloadCache
from largefile.disk.fileops import REAL, FileOps
from largefile.errors import CacheIOError
from largefile.testing.disk.seam import FACTS, OPERATIONS, Watched, everywhere


class Log(Watched):
    def __init__(self):
        self.calls = []

    def perform(self, call):
        self.calls.append((call.name, call.path))
        return call()


def test_every_public_method_of_fileops_is_an_operation_or_a_fact():
    public = {name for name, _ in inspect.getmembers(FileOps, callable) if name[0] != "_"}
    assert public == OPERATIONS | FACTS
    assert not OPERATIONS & FACTS
    assert all(vars(Watched)[name] is not vars(FileOps)[name] for name in OPERATIONS)


def test_what_is_put_everywhere_is_used_by_who_named_nothing_and_goes_again(tmp_path):
    ops, before = Log(), type(REAL)
    with everywhere(ops):
        LocalDownloadCache.create(*names(tmp_path), 1000, 100).close()
    assert {
        ("pwrite", names(tmp_path)[1]),
        ("mmap", names(tmp_path)[1]),
        ("fsync_dir", str(tmp_path)),
    } <= set(ops.calls)
    assert type(REAL) is before
    seen = len(ops.calls)
    LocalDownloadCache.open(*names(tmp_path)).close()
    assert len(ops.calls) == seen


def test_the_arguments_are_known_by_name_and_another_thing_can_be_done(tmp_path):
    class Other(Watched):
        def perform(self, call):
            if call.name == "rename":
                assert call.arguments["source"] == "a"
                raise CacheIOError(5, "rename", call.path)
            return call()

    with pytest.raises(CacheIOError, match="b"):
        Other().rename("a", "b")
