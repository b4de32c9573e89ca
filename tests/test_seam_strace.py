"""Nothing is done to the files of a download but through the seam: the system's account of it is the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

#: A download, with the operations counted as the seam sees them.
PROGRAM = """
import sys; sys.path[:] = {path!r}
import json, largefile
from largefile.testing.disk.seam import Watched, everywhere
from largefile.testing.script import Content
from largefile.testing.server import LoopbackServer
from collections import Counter

class Log(Watched):
    def __init__(self):
        self.counts = Counter()

    def perform(self, call):
        result = call()
        name, given = call.name, call.arguments
        if name == "open":
            name = "create" if given["flags"] & {creat} else ""
        if name == "mmap":
            name = "mmap" if given["writable"] else ""
        if name == "fallocate" and given["keep_size"] is not True:
            name = "fallocate that sets the size"
        self.counts[name] += 1
        return result

log = Log()
with LoopbackServer(Content({size})) as server, everywhere(log):
    largefile.download(server.url, {dest!r}, block_size=65536, proxy="", threads=1)
    largefile.download(server.url, {dest!r}, block_size=65536, proxy="", overwrite=True)
print(json.dumps(log.counts))
"""
SIZE = 3_000_000
#: What the operations of the seam are called by the system.
CALLS = {
    "create": {"openat"},
    "pwrite": {"pwrite64"},
    "ftruncate": {"ftruncate"},
    "fallocate": {"fallocate"},
    "fdatasync": {"fdatasync"},
    "fsync": {"fsync"},
    "fsync_dir": {"fsync"},
    "fchmod": {"fchmod"},
    "link": {"link", "linkat"},
    "rename": {"rename", "renameat", "renameat2"},
    "rename_noreplace": {"rename", "renameat", "renameat2"},
    "unlink": {"unlink", "unlinkat"},
    "mmap": {"mmap"},
    "start_writeback": {"sync_file_range"},
    "wait_writeback": {"sync_file_range"},
    "drop_pages": {"fadvise64"},
}
#: Whatever else may change a file.
OTHERS = {
    "write", "writev", "pwritev", "pwritev2", "truncate", "copy_file_range", "sendfile", "splice", "creat",
    "symlink", "symlinkat", "fchmodat", "chmod", "fchown", "setxattr", "fsetxattr", "utimensat", "mkdir",
    "mkdirat", "open_by_handle_at", "sync", "syncfs", "msync",
}  # fmt: skip


def can_trace():
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "true"], capture_output=True).returncode == 0


def is_change(name, line):
    if name == "openat":
        return "O_CREAT" in line
    if name == "mmap":
        return "PROT_WRITE" in line and "MAP_SHARED" in line
    return True


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or not allowed to trace")
def test_every_change_of_a_file_is_an_operation_of_the_seam(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    code = PROGRAM.format(path=sys.path, size=SIZE, dest=str(folder / "x"), creat=os.O_CREAT)
    trace = tmp_path / "trace"
    wanted = sorted(set.union(OTHERS, *CALLS.values()))
    only = "trace=" + ",".join(f"?{name}" for name in wanted)
    child = subprocess.run(
        ["strace", "-f", "-y", "-qq", "-s0", "-e", only, "-o", str(trace), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert child.returncode == 0, child.stderr
    seam = Counter(json.loads(child.stdout))
    system: Counter[str] = Counter()
    for line in trace.read_text(errors="replace").splitlines():
        found = re.match(r"\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed)", line)
        if found is None or str(folder) not in line or "resumed" in line[:40]:
            continue
        if is_change(found[1], line) and "ENOENT" not in line:
            system[found[1]] += 1
    told: Counter[str] = Counter()
    for name, count in seam.items():
        if name in CALLS:
            told[next((call for call in sorted(CALLS[name]) if call in system), name)] += count
    assert system == told
    assert told["pwrite64"] > 2 * SIZE // 65536
    assert {"fdatasync", "fsync", "fallocate", "mmap", "openat"} <= set(told)
