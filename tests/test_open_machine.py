"""Whatever is read, in whatever order, from whatever server, over closings and kills: no byte is wrong."""

from __future__ import annotations

import io
import random
import shutil
import tempfile
from collections import deque
from pathlib import Path

from disk_helpers import SHM
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from remote_tools import noise, opened, times_asked

from largefile.errors import SourceChangedError, TransferError
from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
SIZE = 2 * MIB + 12345
VERSIONS = [noise(SIZE, seed) for seed in range(2)] + [noise(SIZE // 3, 2)]

ENDS = sorted({len(version) for version in VERSIONS})
positions = st.integers(0, SIZE + 10) | st.sampled_from(
    [0, *(max(0, at - back) for at in (65_536, MIB, *ENDS) for back in (0, 1, 100, 65_536, 100_000))]
)
sizes = st.sampled_from([0, 1, 100, 4096, 65_536, 100_000, MIB]) | st.integers(0, 200_000)
ranges = st.lists(st.tuples(positions, sizes).map(lambda found: (found[0], sum(found))), max_size=6)
#: What a server does wrong with one request. Those that let a block land cost no pause.
faults = st.sampled_from(
    [
        {"cut_after": 70_000},
        {"cut_after": 70_000, "reset": True},
        {"cut_after": 200_001},
        {"at_most": 10_000},
        {"at_most": 100_000},
        {"close": True},
        {"delay": 0.01},
        {"cut_after": 0},
        {"status": 503},
        {"status": 503, "headers": {"Retry-After": "0"}},
        {"content_range": f"bytes 5-9/{SIZE}"},
        {"ranges": False},
    ]
)


class OpenFiles(RuleBasedStateMachine):
    """Up to two files over one folder, each with the version that it was opened on."""

    @initialize(
        block_size=st.sampled_from([4096, 65_536]),
        readahead=st.sampled_from([0, 300_000, 32 * MIB]),
        concurrency=st.sampled_from([1, 2, 8]),
    )
    def begin(self, block_size, readahead, concurrency):
        self.folder = Path(tempfile.mkdtemp(dir=SHM, prefix="largefile-test-"))
        self.wrongs = deque()
        self.failed = self.changed = False
        self.version = 0
        self.server = LoopbackServer(VERSIONS[0], etag='"v0"', behave=self.behave).start()
        self.options = {"readahead": readahead, "concurrency": concurrency, "block_size": block_size}
        self.files = []
        self.open()

    def teardown(self):
        if not hasattr(self, "server"):
            return
        for file, _ in self.files:
            file.close()
        self.server.close()
        shutil.rmtree(self.folder)

    def behave(self, request):
        if request.range == (0, 0) or not self.wrongs:
            return None
        return Behaviour(**self.wrongs.popleft())

    # --- what is done ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.files) < 2)
    @rule()
    def open(self):
        try:
            file = opened(self.server, cache_dir=self.folder, tries=4, **self.options)
        except TransferError:
            assert self.failed
            return
        self.files.append((file, VERSIONS[self.version]))

    @precondition(lambda self: self.files)
    @rule(which=st.integers(0, 1))
    def close(self, which):
        file, _ = self.files.pop(which % len(self.files))
        file.close()
        self.begin_to_count()

    @precondition(lambda self: self.files)
    @rule()
    def kill(self):
        """As kill -9 leaves it: nothing is committed, nothing is said."""
        for file, _ in self.files:
            file._access._lease.cache._group.poisoned = "killed"
        for file, _ in self.files:
            file.close()
        self.files.clear()
        self.begin_to_count()

    @rule(wrong=faults)
    def misbehave(self, wrong):
        """The next request meets this."""
        if len(self.wrongs) < 2:
            self.wrongs.append(wrong)
            self.failed = True

    @rule()
    def change(self):
        self.version = random.Random(self.version).choice([n for n in range(3) if n != self.version])
        self.server.replace(VERSIONS[self.version], etag=f'"v{self.version}"')
        self.changed = True

    # --- what is read ------------------------------------------------------------------------------

    def check(self, which, read, expect):
        """What `read` gives of a file is what `expect` gives of its version."""
        if not self.files:
            self.open()
        if not self.files:
            return
        file, truth = self.files[which % len(self.files)]
        try:
            found = read(file)
        except SourceChangedError:
            assert self.changed
        except TransferError:
            assert self.failed
        else:
            assert found == expect(truth), "a wrong byte"

    @rule(which=st.integers(0, 1), pos=positions, size=sizes)
    def read_at(self, which, pos, size):
        self.check(which, lambda f: f.read_at(size, pos), lambda t: t[pos : pos + size])

    @rule(which=st.integers(0, 1), pos=positions, size=sizes)
    def readinto_at(self, which, pos, size):
        buffer = bytearray(size)
        self.check(
            which,
            lambda f: bytes(memoryview(buffer)[: f.readinto_at(buffer, pos)]),
            lambda t: t[pos : pos + size],
        )

    @rule(which=st.integers(0, 1), wanted=ranges)
    def read_ranges(self, which, wanted):
        self.check(
            which, lambda f: f.read_ranges(wanted), lambda t: [t[first:stop] for first, stop in wanted]
        )

    @rule(which=st.integers(0, 1), pos=positions, pieces=st.lists(sizes, max_size=5))
    def seek_and_read_on(self, which, pos, pieces):
        def expect(truth):
            local = io.BytesIO(truth)
            local.seek(pos)
            return [local.read(size) for size in pieces], local.tell()

        def read(file):
            file.seek(pos)
            return [file.read(size) for size in pieces], file.tell()

        self.check(which, read, expect)

    @rule(which=st.integers(0, 1), back=st.integers(0, 100_000))
    def read_the_end(self, which, back):
        def read(file):
            file.seek(-back, io.SEEK_END)
            return file.read()

        self.check(which, read, lambda t: t[len(t) - back :])

    @rule(which=st.integers(0, 1), pos=positions, beyond=st.integers(0, 100_000))
    def read_nothing(self, which, pos, beyond):
        """Whatever went wrong before: what has no bytes has none to ask for, or to wait for."""
        if not self.files:
            return
        file, truth = self.files[which % len(self.files)]
        end = len(truth) + beyond
        lease, asked = file._access._lease, []
        real, lease.ask = lease.ask, lambda *runs: asked.append(runs) or real(*runs)
        try:
            assert file.read_at(0, pos) == file.read_at(beyond, end) == b""
            assert file.readinto_at(bytearray(0), pos) == file.readinto_at(bytearray(beyond), end) == 0
            assert file.read_ranges([(pos, pos), (end, end + beyond)]) == [b"", b""]
            file.seek(end)
            assert file.read(beyond) == file.read() == b""
        finally:
            del lease.ask
        assert asked == [], "nobody needs it"

    # --- what is fetched ---------------------------------------------------------------------------

    def begin_to_count(self):
        """What was on its way when a file was closed may be asked for again."""
        if self.options["readahead"] or not self.files:
            self.counted = len(self.server.requests)

    @invariant()
    def no_block_is_asked_for_twice_when_nothing_failed(self):
        if self.failed or self.changed:
            return
        since = getattr(self, "counted", 0)
        found = times_asked(self.server, self.options["block_size"], since)
        assert not found or max(found.values()) == 1


OpenFiles.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_open_files = OpenFiles.TestCase
