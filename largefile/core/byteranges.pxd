# The names here are for other compiled modules; c_set_block does not check its argument.
cimport cython
from libc.stdint cimport int64_t

from largefile.core.bitmap cimport Bitmap
from largefile.core.ranges cimport ByteRange


cdef class _Blocks:
    cdef readonly Bitmap bitmap  # one bit a block; of num_blocks bits, never replaced
    cdef readonly int64_t content_length  # bytes
    cdef readonly int64_t block_size  # bytes, >= 1
    cdef readonly int64_t num_blocks

    cdef int64_t _block_of(self, object pos) except? -1  # -1 where there is no such byte
    cdef int64_t _from_block(self, object block) except? -1  # -1 where there is no such block
    cdef ByteRange _span(self, int64_t start, int64_t stop)  # of blocks, start < stop
    cdef void _loaded(self) noexcept  # called once, after bits were put in and before others see them


@cython.final
cdef class ByteRangesTracker(_Blocks):
    pass


@cython.final
cdef class ByteRanges(_Blocks):
    cdef cython.pymutex _lock  # guards what follows, and every change of a bit; nothing is allocated under it
    cdef int64_t _head  # blocks 0 to _head - 1 are set, and block _head is clear or past the end
    cdef int64_t _waiters  # threads inside of wait_tail
    cdef int64_t _seekers  # threads inside of wait_set
    cdef object _growth  # the Future that all callers of notify share, or None
    cdef tuple _callbacks  # replaced, never changed
    cdef dict _sought  # for each block that somebody waits for, his bell; guarded by _gate
    cdef readonly int64_t wakes  # calls of wake so far; changed under _gate
    cdef object _gate  # an RLock; taken before _lock or without it, never under it
    cdef object _grown  # a Condition over it

    cdef bint c_set_block(self, int64_t block) except -1
    cdef bint _advance(self) noexcept
    cdef _settle(self, bint grown, int64_t block)
    cdef _ring(self, int64_t block)
    cdef _leave(self, int64_t block, seeker)
    cdef int64_t _read_head(self) noexcept
    cdef ByteRange _tail_at(self, int64_t head)
