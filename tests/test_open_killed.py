"""A process that reads a kept file is killed, at any moment, and another goes on: no byte is wrong."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from disk_helpers import SHM
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from processes import until
from remote_tools import noise

from largefile.testing.script import Behaviour
from largefile.testing.server import LoopbackServer

MIB = 1 << 20
SIZE = 3 * MIB + 54_321
VERSIONS = [noise(SIZE, seed) for seed in range(3)]

#: Reads what each line of its input asks for, and gives the size (-1: another version) and the bytes.
READER = """
import sys; sys.path[:] = {path!r}
import json, struct
import largefile
from largefile.errors import SourceChangedError

with largefile.open({url!r}, cache_dir={folder!r}, proxy="", timeout=5.0, **json.loads({options!r})) as file:
    for line in sys.stdin:
        try:
            found = file.read_at(*json.loads(line))
        except SourceChangedError:
            sys.stdout.buffer.write(struct.pack("<q", -1))
        else:
            sys.stdout.buffer.write(struct.pack("<q", len(found)) + found)
        sys.stdout.buffer.flush()
"""

positions = st.integers(0, SIZE + 10) | st.sampled_from([0, MIB - 1, MIB, SIZE - 1, SIZE])
sizes = st.sampled_from([1, 4096, 65_536, MIB]) | st.integers(1, 400_000)


class KilledReaders(RuleBasedStateMachine):
    """One process at a time over one folder; `truth` is the version that it was started on."""

    @initialize(
        block_size=st.sampled_from([4096, 65_536]),
        readahead=st.sampled_from([0, 300_000, 32 * MIB]),
        concurrency=st.sampled_from([1, 4]),
    )
    def begin(self, block_size, readahead, concurrency):
        self.folder = Path(tempfile.mkdtemp(dir=SHM, prefix="largefile-test-"))
        self.version, self.changed, self.slow = 0, False, False
        self.server = LoopbackServer(VERSIONS[0], etag='"v0"', behave=self.behave).start()
        self.options = {"readahead": readahead, "concurrency": concurrency, "block_size": block_size}
        self.process = None

    def teardown(self):
        if not hasattr(self, "server"):
            return
        if self.process is not None:
            self.end()
        self.server.close()
        shutil.rmtree(self.folder)

    def behave(self, request):
        return Behaviour(rate=2 * MIB) if self.slow else None

    # --- processes ---------------------------------------------------------------------------------

    def running(self):
        if self.process is None:
            self.truth, self.changed = VERSIONS[self.version], False
            code = READER.format(
                path=sys.path, url=self.server.url, folder=str(self.folder), options=json.dumps(self.options)
            )
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self.process

    def end(self):
        process, self.process = self.process, None
        process.kill()
        process.communicate()

    def ask(self, pos, size):
        process = self.running()
        process.stdin.write(f"[{size}, {pos}]\n".encode())
        process.stdin.flush()
        return process

    @rule(pos=positions, size=sizes)
    def read(self, pos, size):
        process = self.ask(pos, size)
        found = int.from_bytes(process.stdout.read(8), "little", signed=True)
        if found == -1:
            assert self.changed
            self.end()
            return
        assert process.stdout.read(found) == self.truth[pos : pos + size], "a wrong byte"

    @precondition(lambda self: self.process is not None)
    @rule()
    def kill(self):
        self.end()

    @rule(pos=positions, size=sizes, requests=st.integers(0, 2))
    def kill_in_the_middle_of_a_read(self, pos, size, requests):
        """With so many requests under way, if it makes so many: bodies flow for a while then."""
        process, self.slow = self.ask(pos, size), True
        asked = len(self.server.requests)
        until(
            lambda: len(self.server.requests) >= asked + requests or self.answered(process),
            what="a request, or an answer",
        )
        self.end()
        self.slow = False

    def answered(self, process):
        """Whether it has what was asked for: then it makes no request."""
        return process.poll() is not None or bool(select.select([process.stdout], [], [], 0)[0])

    @rule()
    def change(self):
        self.version = (self.version + 1) % 3
        self.server.replace(VERSIONS[self.version], etag=f'"v{self.version}"')
        self.changed = True

    @precondition(lambda self: self.process is not None)
    @rule()
    def leave(self):
        """The end of its input: it closes the file."""
        process, self.process = self.process, None
        process.communicate(timeout=30)
        assert process.returncode == 0


KilledReaders.TestCase.settings = settings(max_examples=12, stateful_step_count=15, deadline=None)
test_killed_readers = KilledReaders.TestCase
