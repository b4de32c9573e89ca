"""One content on its way to one reader, in order: what the engine fills, and what the reader takes.

Two threads meet here. The engine's turns the loop (in the background; without that, the reader's own does,
while it waits). The reader's takes blocks, has them hashed on a third thread, and says how far it is. The
window follows the reader, so a reader that stops stops the transfers, and nothing is asked for beyond it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from largefile.core.reorder import Block
from largefile.engine.job import Control, Job
from largefile.errors import CacheError, DigestMismatchError, InternalError, LargeFileError
from largefile.stats import DownloadStats

if TYPE_CHECKING:
    from largefile.engine.digester import Hasher

__all__ = ["Engine", "Feed", "Flow"]

#: Seconds between two looks at what nobody tells of: views that other threads let go of.
LOOK = 0.1
#: … and of a reader that turns the loop himself, at what has come meanwhile: the network tells of ends only.
GLANCE = 0.01
#: … and of a reader that is as quick as the network, before it waits to be woken: to be woken for each block
#: costs both threads more than the block does. Measured: 1 GiB in 0.53 s, with naps in 0.47.
NAP = 0.002


class Feed(Protocol):
    """Where blocks come out in order: a ring, or a cache."""

    @property
    def ready(self) -> bool: ...
    @property
    def at_end(self) -> bool: ...
    @property
    def freed(self) -> int: ...
    @property
    def held(self) -> int: ...
    def wait(self, timeout: float) -> None: ...
    def wake(self) -> None: ...
    @property
    def next(self) -> int: ...
    def take(self) -> Block | memoryview: ...
    def taken(self, number: int) -> Block | memoryview | None: ...
    def forget(self) -> None: ...
    def close(self) -> None: ...


class Engine(Protocol):
    """What fills the feed, by the step: a `Session`, or a `Passage`."""

    phase: str

    def step(self, limit: float = ...) -> bool: ...
    def end(self) -> None: ...
    def consumed(self, head_block: int) -> None:
        """Where the window begins. From any thread, and maybe not in order: the largest counts."""

    def stats(self) -> DownloadStats: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


class Flow:
    """Runs `engine` and hands out what comes of it, in order.

    Parameters
    ----------
    name
        Of the content, for messages.
    engine, feed
        What fills, and what is filled.
    control
        Cancels it, from any thread.
    begin
        Called before the first step, by whoever turns the loop.
    entered
        What `begin` has entered, and more; left after the last step, also where there was none.
    digest
        Algorithm and value to compare the content with.
    field
        Where the server said so; None: the caller did.
    background
        Whether the engine has a thread of its own.
    naps
        Whether the window has room for what comes while a quick reader naps.
    settles
        Whether the end is told only once the engine is over: its last commit may fail.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        feed: Feed,
        control: Control,
        begin: Callable[[], None],
        entered: contextlib.ExitStack,
        *,
        digest: tuple[str, str] | None = None,
        field: str | None = None,
        background: bool = True,
        naps: bool = False,
        settles: bool = False,
    ) -> None:
        self._name = name
        self._engine = engine
        self._step = engine.step if background else partial(engine.step, GLANCE)
        self._feed = feed
        self._control = control
        self._begin: Callable[[], None] | None = begin
        self._entered = entered
        self._wanted, self._field = digest, field
        # A block that was hashed leaves its place, maybe after the reader has asked for more.
        self._hasher: Hasher | None = None
        if digest is not None:
            from largefile.engine.digester import Hasher  # with hashlib, which loads OpenSSL

            self._hasher = Hasher(digest[0], self.consumed)
        self.digest: str | None = None  #: what was computed, once all is taken
        self.complete = False  #: every block was taken, and the digest agreed
        self.error: BaseException | None = None  #: what ended the engine, or failed at the end
        self._over = False  # the engine
        self._closed = False
        self._started = time.monotonic()
        self._naps = naps
        self._settles = settles
        self._took = 0.0  # when the last block was taken
        self._ended: float | None = None
        self._turning = threading.Lock()  # without a background
        self._turner: int | None = None  # the thread that holds it
        self._then: Callable[[], object] | None = None  # what is left of a close that came inside of a step
        control.on_cancel(feed.wake)
        self._job = Job(self._run, control, engine.stats) if background else None

    # --- the reader's side -----------------------------------------------------------------------

    def next_block(self, number: int) -> Block | memoryview | None:
        """Block `number`, as soon as it is there; None at the end, when the digest agreed.

        It is the next one, or the last one once more, for a reader that was interrupted in the middle.

        Raises
        ------
        LargeFileError
            What keeps the next block from coming.
        ValueError
            If it was closed.
        """
        if number < self._feed.next:
            return self._again(number)
        self._feed.forget()
        while True:
            # Asked first: what came before the end is there by now.
            over = self._over or (self._job is not None and self._job.done)
            self._check_open()
            self.consumed()
            if self._feed.ready:
                return self._take(number)
            at_end = self._feed.at_end
            if at_end and (over or not self._settles):
                self._finish()
                return None
            if over:
                raise self._failure()
            if self._job is None:
                self._turn()  # also where it was cancelled: then the engine has to end
            else:
                self._control.check()
                self._rest(at_end)

    def _again(self, number: int) -> Block | memoryview:
        """A block that was taken before, and not let go of."""
        self._check_open()
        block = self._feed.taken(number)
        if block is None:
            raise InternalError(f"block {number} of {self._name} was let go of before it was read")
        self._hash(number, block)
        return block

    def _rest(self, at_end: bool) -> None:
        """Until there may be a block, or the engine's end."""
        if at_end and self._job is not None:
            with contextlib.suppress(TimeoutError, LargeFileError):
                self._job.result(LOOK)
        elif self._naps and time.monotonic() - self._took < NAP:
            time.sleep(NAP)
        else:
            self._feed.wait(LOOK)

    def let_go(self) -> None:
        """The reader is done with what it took last."""
        self._feed.forget()
        self.consumed()

    def consumed(self) -> None:
        """Blocks were let go of, by whomever: the window follows."""
        self._engine.consumed(self._feed.freed)

    @property
    def held(self) -> int:
        """Blocks that were taken, and whose places are not free again."""
        return self._feed.held

    def _take(self, number: int) -> Block | memoryview:
        if number != self._feed.next:
            raise InternalError(f"block {number} of {self._name} was asked for, next is {self._feed.next}")
        block = self._feed.take()
        self._took = time.monotonic()
        self._hash(number, block)
        return block

    def _hash(self, number: int, block: Block | memoryview) -> None:
        if self._hasher is not None:
            self._hasher.feed(number, block)

    def _finish(self) -> None:
        """All is taken: the digest decides, whatever has become of the engine since."""
        if self.complete:
            return
        if self._hasher is not None and self._wanted is not None and self.digest is None:
            self._engine.phase = "verifying"
            self.digest = f"{self._wanted[0]}:{self._hasher.result(self._check)}"
            wanted = ":".join(self._wanted)
            if self.digest != wanted:
                self.error = DigestMismatchError(self._name, self.digest, wanted, self._field)
        if isinstance(self.error, DigestMismatchError | CacheError):
            raise self.error.with_traceback(None)
        self.complete = True
        self._ended = time.monotonic()
        self._engine.phase = "done"

    def _check(self) -> None:
        self._check_open()
        self._control.check()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the stream of {self._name} is closed")

    def _failure(self) -> BaseException:
        if self.error is not None:
            return self.error.with_traceback(None)  # raised again and again, it would get longer and longer
        if self._job is not None and self._job.done:
            try:
                self._job.result()
            except BaseException as error:  # noqa: BLE001 - given to who asks
                return error
        return InternalError(f"the transfer of {self._name} ended, and not all has come")

    # --- the engine's side -----------------------------------------------------------------------

    def _run(self) -> None:
        """The engine's thread: from the first step to the last."""
        while self._advance():
            pass

    def _turn(self) -> None:
        """One step on the reader's own thread."""
        with self._turning:
            self._turner = threading.get_ident()
            try:
                self._advance()
            finally:
                self._turner = None
        if self._then is not None:
            self._end(self._then)

    def _advance(self) -> bool:
        """One step; False when it was the last, however it ended."""
        if self._over:
            return False
        try:
            if (begin := self._begin) is not None:
                self._begin = None
                begin()
            self.consumed()  # a reader that let go of blocks need not have told
            if self._step():
                return True
        except BaseException as error:  # noqa: BLE001 - raised to the reader
            if error is self._control.reason:
                error.__traceback__ = None  # it tells of our frames only, which would live as long as it does
            self.error = error
        self._wind_up()
        return False

    def _wind_up(self) -> None:
        """Let go of all that the engine has used, and say so."""
        try:
            self._engine.end()
            self._entered.close()
        except BaseException as error:  # noqa: BLE001 - the last commit failed, maybe
            self.error = self.error or error
        self._control.finish()
        if self.error is not None:
            self._engine.phase, self._ended = "stopped", time.monotonic()
        self._over = True
        self._feed.wake()

    # --- the end ---------------------------------------------------------------------------------

    def close(self, then: Callable[[], object] = lambda: None) -> None:
        """End everything within a second, and call `then`; may be called twice, from any thread.

        Called inside of a step, by a signal's handler, it is the step that ends everything on its way out.
        """
        self._closed = True
        self._control.cancel()
        self._feed.wake()
        if self._turner == threading.get_ident():
            self._then = then
        else:
            self._end(then)

    def _end(self, then: Callable[[], object]) -> None:
        self._then = None
        if self._job is not None:
            with contextlib.suppress(LargeFileError, TimeoutError):
                self._job.result(timeout=5.0)
        elif not self._over:
            with self._turning:
                self._wind_up()
        if self._hasher is not None:
            self._hasher.stop()
        self._ended = self._ended or time.monotonic()
        self._engine.phase = "done" if self.complete else "stopped"
        self._feed.close()
        then()

    def stats(self) -> DownloadStats:
        """How far it is, from any thread."""
        stats = self._engine.stats()
        stopping = self._control.cancelled() and not self.complete  # the engine may not know it yet
        return replace(stats, phase="stopped") if stopping else stats

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the status."""
        return self._engine.notes

    @property
    def duration(self) -> float:
        """Seconds, from the start to the end, or until now."""
        return (self._ended or time.monotonic()) - self._started
