"""Which blocks of a content are there: a bit a block, and how far the content reaches without a gap.

Two classes with one face: `ByteRangesTracker` is for one thread, `ByteRanges` for many. What the second adds:

- A bit is changed, and the head moved, under one lock that is held for a few instructions: nothing is
  allocated and no Python code runs under it, so that neither a garbage collection nor a signal handler can
  come back for it on the same thread.
- Who waits for a block is woken by that block alone, by a lock of his own that he waits to get.
- Who waits is woken, and who asked is called, after the lock was released and on the thread that set the
  bit. Two threads may therefore tell of two growths in either order; each tells what was true when it set.
- Questions about bits take no lock. Iterators walk a copy, so that they never hold up a writer.
"""

import threading

from largefile.core.index_text import parse_index_text, write_index_text

cimport cython
from libc.stdint cimport int64_t

from largefile.core.bitmap cimport Bitmap
from largefile.core.ranges cimport (
    ByteRange,
    PyLong_AsLongLongAndOverflow,
    check_block_size,
    check_size,
    count_blocks,
    end_of_block,
    new_range,
)


@cython.auto_pickle(False)
cdef class _Blocks:
    """What both classes share: the geometry, the bits, and questions about them."""

    def __cinit__(self, content_size, block_size):
        self.content_length = check_size(content_size)
        self.block_size = check_block_size(block_size)
        self.num_blocks = count_blocks(self.content_length, self.block_size)
        self.bitmap = Bitmap(self.num_blocks)

    def __repr__(self):
        name = type(self).__name__
        return f"<{name}: {self.count} of {self.num_blocks} blocks of {self.block_size} bytes set>"

    @property
    def count(self):
        """How many blocks are set."""
        return self.bitmap.c_count(0, self.num_blocks)

    def block(self, pos):
        """Give the number of the block that holds the byte at `pos`, or -1 where there is no such byte.

        Examples
        --------
        >>> ByteRangesTracker(1010, 250).block(1000)
        4
        """
        return self._block_of(pos)

    def is_set(self, pos):
        """Say whether the block of the byte at `pos` is set; False where there is no such byte."""
        cdef int64_t block = self._block_of(pos)
        return block >= 0 and self.bitmap.c_is_set(block)

    def is_clear(self, pos):
        """Say whether the block of the byte at `pos` is clear; False where there is no such byte."""
        cdef int64_t block = self._block_of(pos)
        return block >= 0 and not self.bitmap.c_is_set(block)

    def next_set(self, start_block):
        """Find the first set block from block `start_block` on.

        Parameters
        ----------
        start_block : int
            A block's number, not a position; there is nothing to find from one that does not exist.

        Returns
        -------
        (int, ByteRange) or None
            The number to go on from, and the block's bytes; None where there are no more.

        Examples
        --------
        >>> tracker = ByteRangesTracker(1010, 250)
        >>> tracker.set(1001)
        >>> tracker.next_set(0)
        (5, ByteRange(first=1000, last=1009))

        Notes
        -----
        Go: ``NextSet``, whose -1 is our None.
        """
        cdef int64_t block = self._from_block(start_block)
        if block >= 0:
            block = self.bitmap.c_find_set(block, self.num_blocks)
        return None if block < 0 else (block + 1, self._span(block, block + 1))

    def next_clear(self, start_block):
        """Find the first clear block from block `start_block` on; otherwise as `next_set`.

        Examples
        --------
        >>> ByteRangesTracker(1010, 250).next_clear(3)
        (4, ByteRange(first=750, last=999))
        """
        cdef int64_t block = self._from_block(start_block)
        if block >= 0:
            block = self.bitmap.c_find_clear(block, self.num_blocks)
        return None if block < 0 else (block + 1, self._span(block, block + 1))

    def all_set(self, start_block=0):
        """Iterate over the blocks that are set now, each a ByteRange, from block `start_block` on.

        Examples
        --------
        >>> [str(block) for block in ByteRangesTracker(1010, 250).all_clear(3)]
        ['[750:999]', '[1000:1009]']
        """
        return new_walk(self, self._from_block(start_block), True, False)

    def all_clear(self, start_block=0):
        """Iterate over the blocks that are clear now, each a ByteRange, from block `start_block` on."""
        return new_walk(self, self._from_block(start_block), False, False)

    def runs_set(self):
        """Iterate over the bytes that are set now, adjacent blocks merged into one ByteRange.

        Examples
        --------
        >>> tracker = ByteRangesTracker(1010, 250)
        >>> tracker.set(250)
        >>> [str(run) for run in tracker.runs_clear()]
        ['[0:249]', '[500:1009]']
        """
        return new_walk(self, 0, True, True)

    def runs_clear(self):
        """Iterate over the bytes that are clear now, adjacent blocks merged into one ByteRange."""
        return new_walk(self, 0, False, True)

    def to_json(self):
        """Write the index text of the Go package, byte for byte.

        Returns
        -------
        str
            An object of `content_size`, `block_size` and `ranges`, the bits as hexadecimal 64-bit words.

        Examples
        --------
        >>> ByteRangesTracker(1010, 250).to_json()
        '{"content_size":"1010","block_size":250,"ranges":["0"]}'

        Notes
        -----
        Go: ``MarshalJSON``.
        """
        cdef int64_t word
        words = [self.bitmap.c_word(word) for word in range(self.bitmap.num_words)]
        return write_index_text(self.content_length, self.block_size, words)

    @classmethod
    def from_json(cls, text):
        """Read the index text of the Go package.

        Parameters
        ----------
        text : str or bytes
            What `to_json` or Go's ``MarshalJSON`` wrote.

        Raises
        ------
        ValueError
            If it is not such a text: not JSON, a field missing, twice there or of another type, a size out
            of range, more or fewer words than the sizes need, or a bit past the last block.

        Examples
        --------
        >>> ByteRanges.from_json('{"content_size":"1010","block_size":250,"ranges":["b"]}').tail()
        ByteRange(first=0, last=499)

        Notes
        -----
        Go: ``UnmarshalJSON``, which takes short bitmaps, stray bits and negative sizes.
        """
        cdef _Blocks made
        cdef int64_t word
        content_size, block_size, words = parse_index_text(text)
        made = cls(content_size, block_size)
        for word in range(made.bitmap.num_words):
            made.bitmap.c_or_word(word, words[word])
        made._loaded()
        return made

    cdef int64_t _block_of(self, object pos) except? -1:
        cdef int too_far = 0
        cdef int64_t at = PyLong_AsLongLongAndOverflow(pos, &too_far)
        return -1 if too_far or not 0 <= at < self.content_length else at // self.block_size

    cdef int64_t _from_block(self, object block) except? -1:
        cdef int too_far = 0
        cdef int64_t at = PyLong_AsLongLongAndOverflow(block, &too_far)
        return -1 if too_far or not 0 <= at < self.num_blocks else at

    cdef ByteRange _span(self, int64_t start, int64_t stop):
        return new_range(
            start * self.block_size, end_of_block(stop - 1, self.content_length, self.block_size) - 1
        )

    cdef void _loaded(self) noexcept:
        pass


@cython.final
@cython.auto_pickle(False)
cdef class ByteRangesTracker(_Blocks):
    """Which blocks are set, for one thread.

    Parameters
    ----------
    content_size : int
        Bytes in all, from 0 to 2**63 - 1.
    block_size : int
        Bytes in a block, at least 1; the last block may be shorter.

    Raises
    ------
    ValueError
        If a size is negative or beyond 2**63 - 1, or `block_size` is 0.
    MemoryError
        If there is no memory for a bit a block.

    Examples
    --------
    >>> tracker = ByteRangesTracker(1010, 250)
    >>> tracker.set(1001)
    >>> tracker.is_set(1009), tracker.count, tracker.num_blocks
    (True, 1, 5)

    Notes
    -----
    Go: ``largefile.ByteRangesTracker``.
    """

    def set(self, pos):
        """Set the block of the byte at `pos`; without effect where there is no such byte."""
        cdef int64_t block = self._block_of(pos)
        if block >= 0:
            self.bitmap.c_set(block)

    def clear(self, pos):
        """Clear the block of the byte at `pos`; without effect where there is no such byte."""
        cdef int64_t block = self._block_of(pos)
        if block >= 0:
            self.bitmap.c_clear(block)


@cython.final
@cython.auto_pickle(False)
cdef class ByteRanges(_Blocks):
    """Which blocks are set, for many threads; and the tail, which can be waited for.

    Parameters
    ----------
    content_size : int
        Bytes in all, from 0 to 2**63 - 1. A content of no bytes is complete from the start.
    block_size : int
        Bytes in a block, at least 1; the last block may be shorter.

    Attributes
    ----------
    bitmap : Bitmap
        The bits themselves, to be searched; whoever changes one there leaves the tail wrong.
    wakes : int
        How often `wake` was called.

    Raises
    ------
    ValueError
        If a size is negative or beyond 2**63 - 1, or `block_size` is 0.
    MemoryError
        If there is no memory for a bit a block.

    Examples
    --------
    >>> blocks = ByteRanges(1010, 250)
    >>> blocks.on_extend(print)
    >>> blocks.set(250)
    >>> blocks.set(0)
    [0:499]

    Notes
    -----
    Go: ``largefile.ByteRanges``.
    """

    def __cinit__(self, content_size, block_size):
        self._callbacks = ()
        self._sought = {}
        # One whose methods are C: a signal handler that raises can not strike between its lock and the block.
        self._gate = threading.RLock()
        self._grown = threading.Condition(self._gate)

    @property
    def head_block(self):
        """How many blocks from block 0 on are set without a gap."""
        return self._read_head()

    @property
    def complete(self):
        """Whether every block is set."""
        return self._read_head() == self.num_blocks

    def set(self, pos):
        """Set the block of the byte at `pos`; without effect where there is no such byte."""
        cdef int64_t block = self._block_of(pos)
        if block >= 0:
            self.c_set_block(block)

    def clear(self, pos):
        """Clear the block of the byte at `pos`; without effect where there is no such byte.

        The tail may become shorter. Nobody is told.
        """
        cdef int64_t block = self._block_of(pos)
        if block < 0:
            return
        self._lock.acquire()
        self.bitmap.c_clear(block)
        self._head = min(self._head, block)
        self._lock.release()

    def set_block(self, block):
        """Set a block by its number.

        Parameters
        ----------
        block : int
            Which one, from 0.

        Returns
        -------
        bool
            True if this call changed it: of two threads that set one block, one is told True.

        Raises
        ------
        IndexError
            If there is no such block.

        Examples
        --------
        >>> blocks = ByteRanges(1010, 250)
        >>> blocks.set_block(0), blocks.set_block(0), blocks.head_block
        (True, False, 1)
        """
        cdef int64_t at = self._from_block(block)
        if at < 0:
            raise IndexError(f"block {block} of {self.num_blocks}")
        return self.c_set_block(at)

    def set_blocks_from(self, Bitmap bitmap not None):
        """Set every block whose bit is set in `bitmap`, all at once.

        Raises
        ------
        ValueError
            If it has not one bit a block.

        Examples
        --------
        >>> blocks, other = ByteRanges(1010, 250), ByteRanges(1010, 250)
        >>> blocks.set(0)
        >>> other.set_blocks_from(blocks.bitmap)
        >>> other.head_block
        1
        """
        cdef int64_t word
        if bitmap.num_bits != self.num_blocks:
            raise ValueError(f"a bitmap of {bitmap.num_bits} bits for {self.num_blocks} blocks")
        self._lock.acquire()
        for word in range(bitmap.num_words):
            self.bitmap.c_or_word(word, bitmap.c_word(word))
        self._settle(self._advance(), -1)

    def tail(self):
        """Give the bytes from the first one on that are all set, or None where the first block is clear.

        Notes
        -----
        Go: ``Tail``.
        """
        return self._tail_at(self._read_head())

    def wait_tail(self, beyond=-1, timeout=None):
        """Wait until the tail reaches past byte `beyond`, or the content is complete.

        Parameters
        ----------
        beyond : int
            The position of the last byte already known; -1 waits for any tail.
        timeout : float, optional
            Seconds to wait at most; for ever when left out.

        Returns
        -------
        ByteRange or None
            The tail; None after `timeout` seconds, and at once for a content of no bytes.

        Examples
        --------
        >>> blocks = ByteRanges(1010, 250)
        >>> blocks.set(0)
        >>> blocks.wait_tail(), blocks.wait_tail(beyond=249, timeout=0)
        (ByteRange(first=0, last=249), None)
        """
        if not self.num_blocks:
            return None
        # Counted before the first look: whoever makes the tail grow after that look sees the count.
        self._lock.acquire()
        self._waiters += 1
        self._lock.release()
        try:
            with self._gate:
                return self._grown.wait_for(lambda: self._tail_beyond(beyond), timeout)
        finally:
            self._lock.acquire()
            self._waiters -= 1
            self._lock.release()

    def wait_set(self, pos, timeout=None, wakes=None):
        """Wait until the block of the byte at `pos` is set.

        Parameters
        ----------
        pos : int
            A position within the content.
        timeout : float, optional
            Seconds to wait at most; for ever when left out.
        wakes : int, optional
            What the attribute of that name was before the caller looked whether there is still something to
            wait for; a `wake` since then ends the wait at once. Left out, only calls during the wait do.

        Returns
        -------
        bool
            True if the block is set; False after `timeout` seconds, and after `wake`.

        Raises
        ------
        IndexError
            If there is no such byte.

        Examples
        --------
        >>> blocks = ByteRanges(1010, 250)
        >>> blocks.set(1000)
        >>> blocks.wait_set(1009), blocks.wait_set(0, timeout=0.01)
        (True, False)
        """
        cdef int64_t block = self._block_of(pos)
        cdef _Seeker seeker
        if block < 0:
            raise IndexError(f"byte {pos} of {self.content_length}")
        if self.bitmap.c_is_set(block):
            return True
        patience = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        seeker = _Seeker(threading.Lock())
        seeker.bell.acquire()
        with self._gate:
            if wakes is not None and wakes != self.wakes:
                return self.is_set(pos)
            self._sought.setdefault(block, []).append(seeker)
        self._lock.acquire()
        self._seekers += 1
        self._lock.release()
        try:
            # Looked at after it was counted: whoever sets the bit after this look sees the count.
            if not self.bitmap.c_is_set(block):
                seeker.bell.acquire(timeout=patience)
            return seeker.found or self.bitmap.c_is_set(block)
        finally:
            self._lock.acquire()
            self._seekers -= 1
            self._lock.release()
            self._leave(block, seeker)

    def wake(self):
        """Have each present `wait_set` look again and give its answer; `wait_tail` goes on waiting."""
        with self._gate:
            self.wakes += 1
            sought = list(self._sought.values())
            self._sought.clear()
        for seekers in sought:
            ring_all(seekers, False)

    def notify(self):
        """Give a Future that is done when the tail next grows, and at once when the content is complete.

        Returns
        -------
        concurrent.futures.Future
            Its result is the tail (None for a content of no bytes). Callers that wait for the same growth
            share one Future; it cannot be cancelled.

        Examples
        --------
        >>> blocks = ByteRanges(1010, 250)
        >>> future = blocks.notify()
        >>> blocks.set(0)
        >>> future.result(timeout=0)
        ByteRange(first=0, last=249)

        Notes
        -----
        Go: ``Notify``.
        """
        cdef int64_t head
        future = pending()
        self._lock.acquire()
        head = self._head
        if head < self.num_blocks:
            if self._growth is None:
                self._growth = future
            shared = self._growth
            self._lock.release()
            return shared
        self._lock.release()
        future.set_result(self._tail_at(head))
        return future

    def on_extend(self, callback):
        """Have `callback` called with the new tail, a ByteRange, each time that the tail grows.

        It is called on the thread that set the bit, with no lock held. Two threads may call it at once, and
        with the longer tail first. An exception in it is logged.

        Raises
        ------
        TypeError
            If it cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"on_extend needs a callable, not {callback!r}")
        with self._gate:  # one thread at a time makes a longer tuple
            before = self._callbacks
            after = (*before, callback)
            self._lock.acquire()
            self._callbacks = after
            self._lock.release()

    def _tail_beyond(self, beyond):
        cdef ByteRange tail = self.tail()
        if tail is None or not (tail.last > beyond or tail.last + 1 == self.content_length):
            return None
        return tail

    cdef _leave(self, int64_t block, seeker):
        with self._gate:
            seekers = self._sought.get(block)
            if seekers is not None and seeker in seekers:
                seekers.remove(seeker)
                if not seekers:
                    del self._sought[block]

    cdef bint c_set_block(self, int64_t block) except -1:
        cdef bint changed
        self._lock.acquire()
        changed = self.bitmap.c_set(block)
        self._settle(self._advance(), block)
        return changed

    cdef bint _advance(self) noexcept:
        """Move the head over what is set; under the lock. Whether it moved."""
        cdef int64_t head = self._head
        if head == self.num_blocks or not self.bitmap.c_is_set(head):
            return False
        head = self.bitmap.c_find_clear(head, self.num_blocks)
        self._head = self.num_blocks if head < 0 else head
        return True

    cdef _settle(self, bint grown, int64_t block):
        """Release the lock, then wake and call whom it concerns; of `block` -1 any may have been set."""
        cdef int64_t head = self._head
        cdef bint waiters = self._waiters > 0
        cdef bint seekers = self._seekers > 0
        growth, callbacks = None, ()
        if grown:
            growth, callbacks = self._growth, self._callbacks
            self._growth = None
        self._lock.release()
        if seekers:
            self._ring(block)
        if not grown:
            return
        if waiters:
            with self._gate:
                self._grown.notify_all()
        tail = self._tail_at(head)
        if growth is not None:
            fulfil(growth, tail)
        for callback in callbacks:
            call(callback, tail)

    cdef _ring(self, int64_t block):
        """Wake those who wait for `block`, or -1: for any that is set."""
        with self._gate:
            if block >= 0:
                blocks = [block]
            else:
                blocks = [each for each in list(self._sought) if self.bitmap.c_is_set(each)]
            sought = [self._sought.pop(each, ()) for each in blocks]
        for seekers in sought:
            ring_all(seekers, True)

    cdef int64_t _read_head(self) noexcept:
        cdef int64_t head
        self._lock.acquire()
        head = self._head
        self._lock.release()
        return head

    cdef ByteRange _tail_at(self, int64_t head):
        return self._span(0, head) if head else None

    cdef void _loaded(self) noexcept:
        self._advance()


@cython.final
@cython.auto_pickle(False)
cdef class _Seeker:
    """One who waits for a block."""

    cdef object bell  # a lock, taken; released once, to wake him
    cdef bint found  # the block was set

    def __cinit__(self, bell):
        self.bell = bell


cdef ring_all(seekers, bint found):
    cdef _Seeker seeker
    for seeker in seekers:
        seeker.found = found
        seeker.bell.release()


@cython.final
@cython.auto_pickle(False)
cdef class _Walk:
    """The blocks, or runs of blocks, of a copy of the bits, still to be given."""

    cdef _Blocks blocks  # for its geometry only
    cdef Bitmap bits
    cdef int64_t at  # the next block to look at, num_blocks when done
    cdef bint wanted, merged

    def __init__(self):
        raise TypeError("walks are made by all_set, all_clear, runs_set and runs_clear")

    def __iter__(self):
        return self

    def __next__(self):
        cdef int64_t start = self._find(self.at, self.wanted)
        if start == self.bits.num_bits:
            self.at = start
            raise StopIteration
        self.at = self._find(start, not self.wanted) if self.merged else start + 1
        return self.blocks._span(start, self.at)

    cdef int64_t _find(self, int64_t start, bint wanted) noexcept:
        cdef int64_t size = self.bits.num_bits
        cdef int64_t found
        found = self.bits.c_find_set(start, size) if wanted else self.bits.c_find_clear(start, size)
        return size if found < 0 else found


cdef _Walk new_walk(_Blocks blocks, int64_t start, bint wanted, bint merged):
    cdef _Walk made = _Walk.__new__(_Walk)
    made.blocks, made.bits = blocks, blocks.bitmap.copy()
    made.at = blocks.num_blocks if start < 0 else start
    made.wanted, made.merged = wanted, merged
    return made


cdef object pending():
    """A Future that is running, so that one of those who share it cannot cancel it for the others."""
    from concurrent.futures import Future

    future = Future()
    future.set_running_or_notify_cancel()
    return future


cdef fulfil(object future, ByteRange tail):
    from concurrent.futures import InvalidStateError

    try:
        future.set_result(tail)
    except InvalidStateError:
        pass  # somebody else gave it a result: his business, and no reason to fail whoever set a bit


cdef call(object callback, ByteRange tail):
    try:
        callback(tail)
    except Exception:
        import logging

        logging.getLogger("largefile").exception("an on_extend callback failed")
