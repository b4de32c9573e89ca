"""Blocks that come in any order and leave in theirs, in memory of a fixed size and with no copy.

A *place* is room for one block. A block gets one when its first byte is about to come (`place`), is filled
there, is `offer`ed, and is handed to the reader there by `take`, as a `Block`. The place is free again when
the reader let go of the block and of every view of it.

Places are given from the free ones, not by ``block % window``: a reader that keeps one view for ever then
costs one place, where it would stop the stream for good as soon as that place's turn came again. The last
place given back is the first one given out, as it is still in the processor's cache.

- `freed` blocks were given back, so blocks before ``limit = freed + window`` can have a place. At most
  `window` blocks are then between `head` and `limit`, and their notes are kept at ``block % window``. None
  of them that asks for a place finds no free one: a place that is neither free nor theirs is held, and each
  block that is held takes one away from them.
- Every change is made under one lock, which is held for a few instructions. Nothing is allocated and no
  Python code runs under it, so that neither a garbage collection, which may drop a Block, nor a signal
  handler can come back for it on the same thread.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from largefile.core.ranges cimport PyLong_AsLongLongAndOverflow, check_block_size

cdef extern from *:
    """
    #include <sys/mman.h>
    /* Its own map: memory comes as it is used, and goes back at once. Filling one the first time took 0.6 ms
       a MiB page by page and 0.12 ms in huge pages; where the system has none, the advice is refused. */
    static char *lf_map(size_t size) {
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (at == MAP_FAILED) return NULL;
    #ifdef MADV_HUGEPAGE
        (void)madvise(at, size, MADV_HUGEPAGE);
    #endif
        return (char *)at;
    }
    """
    char *lf_map(size_t size) noexcept nogil
    int munmap(void *address, size_t size) noexcept nogil

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX

cdef char *BYTE_FORMAT = b"B"
cdef int64_t MAX_FIRST = <int64_t>1 << 62  # far from where first_block + window leaves 64 bits


cdef struct Slot:
    int64_t place  # which one the block has, counted in blocks; -1: none
    int64_t size   # bytes that were offered; 0: not yet


cdef enum Refusal:
    BEYOND = -1
    OFFERED = -2
    HOMELESS = -3


@cython.final
@cython.auto_pickle(False)
cdef class ReorderBuffer:
    """Keep up to `window` blocks in places of `block_size` bytes until their turn comes.

    The places are ``window * block_size`` bytes in one piece, exactly; the system provides a page of them
    when it is first written to. Beside them there are 24 bytes of notes a place. All of it is given back as
    soon as neither the ReorderBuffer nor a Block nor a view is left.

    The whole is a writable buffer: who fills a place writes at the offset that `place` gave. All methods may
    be called from several threads.

    Parameters
    ----------
    window : int
        How many places; at least 1.
    block_size : int
        Bytes in a place, at least 1.
    first_block : int, optional
        The block that `take` gives first; from 0 to 2**62.

    Attributes
    ----------
    window : int
        How many places.
    block_size : int
        Bytes in a place.
    nbytes : int
        Bytes of all places, ``window * block_size``.

    Raises
    ------
    ValueError
        If an argument is too small or too large.
    MemoryError
        If there is no memory for so many places.

    Examples
    --------
    >>> buffer = ReorderBuffer(window=2, block_size=4)
    >>> memory = memoryview(buffer)
    >>> for number, text in [(1, b"two!"), (0, b"one ")]:
    ...     place = buffer.place(number)
    ...     memory[place:place + 4] = text
    ...     print(buffer.offer(number, size=4))
    False
    True
    >>> with buffer.take() as block:
    ...     block.number, bytes(block), buffer.limit
    (0, b'one ', 2)
    >>> buffer.limit
    3

    Notes
    -----
    Go: the heap of blocks in ``StreamingDownloader``, which has no bound.
    """

    cdef cython.pymutex _lock      # guards all that follows but the sizes, and the fields of every Block
    cdef char *_memory             # owned; nbytes
    cdef Slot *_slots              # owned; of block b in [head, limit) at b % window, the others are empty
    cdef int64_t *_free            # owned; the free places, a stack
    cdef int64_t _num_free
    cdef int64_t _first, _head, _held
    cdef int64_t _gap              # the first block from head on that was not offered
    cdef int64_t _behind           # offered blocks behind the gap
    cdef int64_t _out_of_order, _max_out_of_order
    cdef readonly int64_t window, block_size, nbytes

    def __cinit__(self, window, block_size, first_block=0):
        cdef int64_t at
        self.window = number_of(window, 1, PY_SSIZE_T_MAX, "window")
        self.block_size = check_block_size(block_size)
        self._first = self._head = self._gap = number_of(first_block, 0, MAX_FIRST, "first block")
        # Divided, as the product may be beyond 64 bits.
        if self.window <= PY_SSIZE_T_MAX // max(self.block_size, <int64_t>sizeof(Slot)):
            self.nbytes = self.window * self.block_size
            self._slots = <Slot *>calloc(self.window, sizeof(Slot))
            self._free = <int64_t *>calloc(self.window, sizeof(int64_t))
            self._memory = lf_map(self.nbytes)
        # __dealloc__ runs even when __cinit__ raises: nothing is given back here.
        if self._slots is NULL or self._free is NULL or self._memory is NULL:
            raise MemoryError(f"no memory for {window} blocks of {block_size} bytes")
        for at in range(self.window):
            self._slots[at].place = -1
            self._free[at] = self.window - 1 - at  # place 0 is the first one given out
        self._num_free = self.window

    def __dealloc__(self):
        if self._memory is not NULL:
            with nogil:  # the system needs milliseconds to take back a large window
                munmap(self._memory, self.nbytes)
        free(self._slots)
        free(self._free)

    def __getbuffer__(self, Py_buffer *view, int flags):
        fill_view(view, self, self._memory, self.nbytes, False, flags)

    def __len__(self):
        return self.nbytes

    def __repr__(self):
        return f"<ReorderBuffer: block {self.head} is next, {self.held} of {self.window} places held>"

    @property
    def head(self):
        """The number of the block that `take` gives next."""
        return self._read(&self._head)

    @property
    def limit(self):
        """The blocks before this one can have a place; never goes back."""
        return self.freed + self.window

    @property
    def freed(self):
        """The first block, and as many blocks further as were taken and given back, in whatever order."""
        cdef int64_t freed
        self._lock.acquire()
        freed = self._head - self._held
        self._lock.release()
        return freed

    @property
    def held(self):
        """How many blocks were taken and not given back yet."""
        return self._read(&self._held)

    @property
    def out_of_order(self):
        """How many blocks were offered while an earlier one was missing.

        Notes
        -----
        Go: ``StreamingStatus.OutOfOrder``, which counts a block again each time that another one comes.
        """
        return self._read(&self._out_of_order)

    @property
    def max_out_of_order(self):
        """How many offered blocks there were at most behind a missing one, at one moment.

        Notes
        -----
        Go: ``StreamingStatus.MaxOutOfOrder``.
        """
        return self._read(&self._max_out_of_order)

    def place(self, block):
        """Give the place of a block, a free one when it is asked for first.

        Parameters
        ----------
        block : int
            Its number; from `head`, before `limit`.

        Returns
        -------
        int
            Offset in bytes into this buffer, the same one until the block is taken.

        Raises
        ------
        ValueError
            If the block is outside of [head, limit), or was offered already.
        """
        cdef int64_t place = self._place(number_or_none(block))
        if place < 0:
            raise ValueError(self._reason(place, block))
        return place * self.block_size

    def offer(self, block, size):
        """Say that the bytes of a block are in its place; nobody may write there from now on.

        Parameters
        ----------
        block : int
            Its number.
        size : int
            How many bytes there are, from 1 to `block_size`.

        Returns
        -------
        bool
            True if it is the block that `take` gives next.

        Raises
        ------
        ValueError
            If the block has no place, or was offered already, or `size` is out of range.
        """
        cdef int found = self._offer(number_or_none(block), number_of(size, 1, self.block_size, "size"))
        if found < 0:
            raise ValueError(self._reason(found, block))
        return found > 0

    def take(self, list slot=None):
        """Hand over the next block in order, without a copy.

        Parameters
        ----------
        slot : list of one, optional
            The block is put there, too. A signal's handler that raises may strike before the caller has
            stored what this gives; then the block is still there.

        Returns
        -------
        Block or None
            None as long as that block was not offered.

        Raises
        ------
        ValueError
            If `slot` is empty.
        """
        cdef Block block
        if slot is not None and not slot:
            raise ValueError("the slot is an empty list")
        if not self._is_ready():
            return None
        block = Block.__new__(Block)
        block._buffer = self
        if not self._hand_over(block):
            return None
        if slot is not None:
            slot[0] = block
        return block

    def is_offered(self, block):
        """Say whether a block was offered, also if it was taken since."""
        cdef int64_t at = number_or_none(block)
        cdef bint offered
        self._lock.acquire()
        offered = self._first <= at < self._gap or self._gap < at < self._limit() and self._slot(at).size > 0
        self._lock.release()
        return offered

    cdef bint _is_ready(self) noexcept:
        cdef bint ready
        self._lock.acquire()
        ready = self._head < self._gap
        self._lock.release()
        return ready

    cdef int64_t _place(self, int64_t block) noexcept:
        """The block's place, or a Refusal."""
        cdef int64_t place = BEYOND
        cdef Slot *slot = self._slot(block)
        self._lock.acquire()
        if self._first <= block < self._gap or self._gap < block < self._limit() and slot.size:
            place = OFFERED
        elif self._gap <= block < self._limit():
            if slot.place < 0:
                self._num_free -= 1
                slot.place = self._free[self._num_free]
            place = slot.place
        self._lock.release()
        return place

    cdef int _offer(self, int64_t block, int64_t size) noexcept:
        """Whether it is the one that `take` waits for, or a Refusal."""
        cdef int found = BEYOND
        cdef Slot *slot = self._slot(block)
        self._lock.acquire()
        if self._first <= block < self._gap or self._gap < block < self._limit() and slot.size:
            found = OFFERED
        elif self._gap <= block < self._limit():
            found = HOMELESS
            if slot.place >= 0:
                found = block == self._head
                slot.size = size
                self._count(block)
        self._lock.release()
        return found

    cdef void _count(self, int64_t block) noexcept:
        """Move the gap over what was offered, or count a block behind it; under the lock."""
        if block != self._gap:
            self._behind += 1
            self._out_of_order += 1
            self._max_out_of_order = max(self._max_out_of_order, self._behind)
            return
        self._gap += 1
        while self._behind and self._slot(self._gap).size:
            self._gap += 1
            self._behind -= 1

    cdef bint _hand_over(self, Block block) noexcept:
        """Make `block` the next one; False if another thread took it."""
        cdef Slot *slot
        cdef bint offered
        self._lock.acquire()
        offered = self._head < self._gap  # again: this is where it counts
        if offered:
            slot = self._slot(self._head)
            block.number, block.nbytes, block._place = self._head, slot.size, slot.place
            block._open = block._holds = True
            slot.place, slot.size = -1, 0
            self._head += 1
            self._held += 1
        self._lock.release()
        return offered

    cdef void _give_back(self, Block block) noexcept:
        """Free the place of a block that nobody looks at any more; under the lock."""
        if block._holds and not block._open and not block._exports:
            block._holds = False
            self._free[self._num_free] = block._place
            self._num_free += 1
            self._held -= 1

    cdef inline Slot *_slot(self, int64_t block) noexcept:
        return &self._slots[block % self.window if block >= 0 else 0]

    cdef inline int64_t _limit(self) noexcept:
        return self._head - self._held + self.window

    cdef int64_t _read(self, int64_t *field) noexcept:
        cdef int64_t value
        self._lock.acquire()
        value = field[0]
        self._lock.release()
        return value

    cdef _reason(self, int64_t refusal, block):
        if refusal == OFFERED:
            return f"block {block} was offered already"
        if refusal == HOMELESS:
            return f"block {block} was given no place"
        return f"block {block} is not within [{self.head}, {self.limit})"


@cython.final
@cython.auto_pickle(False)
@cython.no_gc  # it refers to its ReorderBuffer, which refers to no object: there are no cycles
cdef class Block:
    """A block that was taken: a read-only buffer, and the right to its place.

    Its place is free again once the block was released, or collected, and no view of it is left. Made by
    `ReorderBuffer.take`. As a context manager it is released at the end.

    Attributes
    ----------
    number : int
        Which block, counted from the content's first one.
    nbytes : int
        Its size in bytes, also its len().

    Examples
    --------
    >>> buffer = ReorderBuffer(1, block_size=8)
    >>> _ = buffer.place(0), buffer.offer(0, size=8)
    >>> block = buffer.take()
    >>> view = memoryview(block)
    >>> block.release()
    >>> buffer.held
    1
    >>> view.release()
    >>> buffer.held
    0
    """

    cdef ReorderBuffer _buffer  # whose lock guards the fields; never replaced
    cdef int64_t _place         # counted in blocks
    cdef int64_t _exports       # views that are not released
    cdef bint _open             # not released: a view can be had
    cdef bint _holds            # the place is not given back
    cdef readonly int64_t number, nbytes

    def __init__(self):
        raise TypeError("blocks are made by ReorderBuffer.take")

    def __dealloc__(self):
        self._let_go()  # a view would keep the block alive: there is none

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("a block is read-only")
        if self._buffer is None or not self._export():
            raise ValueError("the block was released")
        # Cannot fail, and so the count is right.
        fill_view(
            view, self, self._buffer._memory + self._place * self._buffer.block_size, self.nbytes, True, flags
        )

    def __releasebuffer__(self, Py_buffer *view):
        self._buffer._lock.acquire()
        self._exports -= 1
        self._buffer._give_back(self)
        self._buffer._lock.release()

    def __len__(self):
        return self.nbytes

    def __repr__(self):
        return f"<Block {self.number}: {self.nbytes} bytes{'' if self._open else ', released'}>"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._let_go()

    def release(self):
        """Give the place back, as soon as no view of the block is left; a second time does nothing.

        From now on a new view is a ValueError. Those there are stay good.
        """
        self._let_go()

    cdef bint _export(self) noexcept:
        """Count a view; False if the block was released."""
        cdef bint open
        self._buffer._lock.acquire()
        open = self._open
        self._exports += open
        self._buffer._lock.release()
        return open

    cdef void _let_go(self) noexcept:
        if self._buffer is None:
            return
        self._buffer._lock.acquire()
        self._open = False
        self._buffer._give_back(self)
        self._buffer._lock.release()


cdef void fill_view(Py_buffer *view, owner, char *at, int64_t size, bint readonly, int flags) noexcept:
    """Fill a view of bytes.

    Not by PyBuffer_FillInfo: it stores over the None that Cython has put into `obj`, and that reference is
    lost.
    """
    view.obj = owner
    view.buf, view.len, view.itemsize, view.ndim = at, size, 1, 1
    view.readonly = readonly
    view.format = BYTE_FORMAT if flags & PyBUF_FORMAT else NULL
    view.shape = &view.len if flags & PyBUF_ND else NULL
    view.strides = &view.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
    view.suboffsets = NULL
    view.internal = NULL


cdef int64_t number_of(object value, int64_t lowest, int64_t highest, str name) except -1:
    cdef int too_far = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(value, &too_far)
    if too_far or not lowest <= number <= highest:
        raise ValueError(f"{name} is {value}, needed {lowest} to {highest}")
    return number


cdef int64_t number_or_none(object block) except? -1:
    """A block's number, -1 where there can be no such block."""
    cdef int too_far = 0
    cdef int64_t number = PyLong_AsLongLongAndOverflow(block, &too_far)
    return -1 if too_far or number < 0 else number
