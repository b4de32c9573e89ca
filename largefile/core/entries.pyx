"""Sealed entries: eight bytes a block that vouch for the block's bytes.

An entry is ``content32 | tag32 << 32``, little-endian. content32 is the low half of xxh3_64 of the
block's bytes; tag32 is the high half of a 64-bit mix of the file's random id, the block's number and
content32. So an entry copied from another file, moved to another block, torn or made of garbage is
taken for a true one with probability 2^-32. Zero means absent; a computed zero is stored as
``1 << 32`` and checked by the same rule.

Entries are stored with release and read with acquire order: on every processor, a reader that sees the
entry sees the bytes that were placed before it.
"""

cimport cython
from cpython.buffer cimport (
    Py_buffer, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from largefile.core.bitmap cimport Bitmap

import sys

if sys.byteorder != "little":
    raise ImportError("the index is little-endian and shared by mapping: this processor is not supported")

cdef extern from *:
    """
    #include <stdint.h>
    #define lf_load64(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define lf_store64(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    static inline uint64_t lf_mix(uint64_t x) {
        x ^= x >> 32; x *= 0xd6e8feb86659fd93u;
        x ^= x >> 29; x *= 0xa0761d6478bd642fu;
        x ^= x >> 32;
        return x;
    }
    static inline uint64_t lf_seal(uint64_t key0, uint64_t key1, uint64_t block, uint64_t content) {
        uint64_t low = content & 0xffffffffu;
        uint64_t entry = low | (lf_mix(lf_mix(key0 ^ block) + key1 + low) & 0xffffffff00000000u);
        return entry ? entry : (uint64_t)1 << 32;
    }
    """
    uint64_t lf_load64(const uint64_t *p) noexcept nogil
    void lf_store64(uint64_t *p, uint64_t value) noexcept nogil
    uint64_t lf_seal(uint64_t key0, uint64_t key1, uint64_t block, uint64_t content) noexcept nogil

ENTRY_SIZE = 8


cdef int _keys(bytes file_id, uint64_t *key0, uint64_t *key1) except -1:
    if len(file_id) != 16:
        raise ValueError(f"a file id has 16 bytes, not {len(file_id)}")
    memcpy(key0, <const char *>file_id, 8)
    memcpy(key1, <const char *>file_id + 8, 8)
    return 0


def seal_of(bytes file_id, uint64_t block, uint64_t content):
    """The entry for `block` with content hash `content` (xxh3_64), as a number.

    Examples
    --------
    >>> hex(seal_of(bytes(range(16)), 7, 0x1122334455667788))
    '0xfe0dd03155667788'
    """
    cdef uint64_t key0, key1
    _keys(file_id, &key0, &key1)
    return lf_seal(key0, key1, block, content)


@cython.final
@cython.auto_pickle(False)
@cython.no_gc_clear  # a collected cycle must not drop the view's owner before the view
cdef class EntryTable:
    """EntryTable(buffer, offset, num_blocks, file_id): `num_blocks` entries at byte `offset` of `buffer`.

    A read-only buffer can be read; storing into it raises TypeError. The buffer is held until `release`.

    Examples
    --------
    >>> table = EntryTable(bytearray(32), 0, 4, bytes(16))
    >>> table.seal(2, 0xfeedface)
    >>> table.is_sealed(2), table.is_sealed(1), table.check(2, 0xfeedface), table.check(2, 1)
    (True, False, True, False)
    """

    cdef Py_buffer _view
    cdef object _owner  # of the view; with it the collector looks into the view, for cycles
    cdef bint _held
    cdef uint64_t *_table
    cdef int64_t _num_blocks
    cdef uint64_t _key0, _key1

    def __cinit__(self, buffer, int64_t offset, int64_t num_blocks, bytes file_id):
        _keys(file_id, &self._key0, &self._key1)
        try:
            PyObject_GetBuffer(buffer, &self._view, PyBUF_WRITABLE)
        except (BufferError, TypeError):
            PyObject_GetBuffer(buffer, &self._view, PyBUF_SIMPLE)
        self._held = True
        self._owner = buffer
        if num_blocks < 0 or offset < 0 or offset > self._view.len or num_blocks > (self._view.len - offset) // 8:
            raise ValueError(f"{num_blocks} entries at {offset} do not fit into {self._view.len} bytes")
        self._table = <uint64_t *>(<char *>self._view.buf + offset)
        if <size_t>self._table % 8:
            raise ValueError(f"offset {offset} of the buffer is not 8-byte aligned")
        self._num_blocks = num_blocks

    def __dealloc__(self):
        self.release()

    def release(self):
        """Let go of the buffer. Any later use raises ValueError."""
        if self._held:
            self._held = False
            self._table = NULL
            PyBuffer_Release(&self._view)
            self._owner = None

    def __len__(self):
        return self._num_blocks

    cdef int _check_block(self, int64_t block) except -1:
        if self._table == NULL:
            raise ValueError("this table was released: its cache is closed")
        if not 0 <= block < self._num_blocks:
            raise IndexError(f"block {block} of {self._num_blocks}")
        return 0

    cdef int _check_store(self) except -1:
        if self._table == NULL:
            raise ValueError("this table was released: its cache is closed")
        if self._view.readonly:
            raise TypeError("this table is read-only")
        return 0

    cdef int _check_bits(self, Bitmap bitmap) except -1:
        if self._table == NULL:
            raise ValueError("this table was released: its cache is closed")
        if len(bitmap) != self._num_blocks:
            raise ValueError(f"a bitmap of {len(bitmap)} bits for {self._num_blocks} entries")
        return 0

    cdef inline bint _right(self, int64_t block, uint64_t entry) noexcept nogil:
        """Whether `entry` is one that a seal of `block` could have stored."""
        return entry != 0 and entry == lf_seal(self._key0, self._key1, block, entry)

    def __getitem__(self, int64_t block):
        self._check_block(block)
        return lf_load64(self._table + block)

    def seal(self, int64_t block, uint64_t content):
        """Vouch for `block`, whose bytes are in place and have the hash `content` (xxh3_64)."""
        self._check_block(block)
        self._check_store()
        lf_store64(self._table + block, lf_seal(self._key0, self._key1, block, content))

    def is_sealed(self, int64_t block):
        """Whether the entry of `block` was sealed for this block of this file."""
        self._check_block(block)
        return self._right(block, lf_load64(self._table + block))

    def check(self, int64_t block, uint64_t content):
        """Whether the entry of `block` vouches for bytes with the hash `content`."""
        self._check_block(block)
        return lf_load64(self._table + block) == lf_seal(self._key0, self._key1, block, content)

    def clear(self, int64_t block):
        """Vouch for `block` no more."""
        self._check_block(block)
        self._check_store()
        lf_store64(self._table + block, 0)

    def scan(self, Bitmap sealed not None):
        """Set the bit of each block whose entry has a right tag; answer how many there are."""
        cdef int64_t block, found = 0
        self._check_bits(sealed)
        with nogil:
            for block in range(self._num_blocks):
                if self._right(block, lf_load64(self._table + block)):
                    sealed.c_set(block)
                    found += 1
        return found

    def scan_pair(self, EntryTable durable not None, Bitmap sealed not None, Bitmap doubtful not None):
        """Sort the blocks of a live table (this one) by what its `durable` twin says of them.

        Sets a bit of `sealed` where both are right and vouch for the same content, a bit of `doubtful` where
        either is anything else but zero: such a block's bytes must be hashed before they are believed.
        """
        cdef int64_t block
        cdef uint64_t mine, twin
        self._check_bits(sealed)
        self._check_bits(doubtful)
        durable._check_bits(sealed)
        with nogil:
            for block in range(self._num_blocks):
                mine = lf_load64(self._table + block)
                twin = lf_load64(durable._table + block)
                if (
                    <uint32_t>mine == <uint32_t>twin
                    and self._right(block, mine) and durable._right(block, twin)
                ):
                    sealed.c_set(block)
                elif mine or twin:
                    doubtful.c_set(block)

    def copy_from(self, EntryTable other not None, int64_t start, int64_t stop):
        """Vouch for the blocks `start` to `stop` - 1 as `other` does, with this table's own tags.

        For those that `other` does not vouch for, this table does not from now on.
        """
        cdef int64_t block
        cdef uint64_t entry
        if not 0 <= start <= stop <= min(self._num_blocks, other._num_blocks):
            raise IndexError(f"blocks [{start}, {stop}) of {self._num_blocks}")
        self._check_store()
        if other._table == NULL:
            raise ValueError("this table was released: its cache is closed")
        with nogil:
            for block in range(start, stop):
                entry = lf_load64(other._table + block)
                if other._right(block, entry):
                    entry = lf_seal(self._key0, self._key1, block, entry)
                else:
                    entry = 0
                lf_store64(self._table + block, entry)

    def keep_only(self, Bitmap believed not None):
        """Zero every entry whose bit is clear; answer how many of them were not zero."""
        cdef int64_t block, gone = 0
        self._check_bits(believed)
        self._check_store()
        with nogil:
            for block in range(self._num_blocks):
                if lf_load64(self._table + block) and not believed.c_is_set(block):
                    lf_store64(self._table + block, 0)
                    gone += 1
        return gone
