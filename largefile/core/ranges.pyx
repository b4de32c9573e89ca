"""All arithmetic on ranges of bytes: 64-bit, checked, inclusive at both ends as in HTTP."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef int64_t LARGEST = 0x7FFFFFFFFFFFFFFF

MAX_SIZE = LARGEST


@cython.final
@cython.auto_pickle(False)
cdef class ByteRange:
    """The bytes from `first` to `last`, both included; never empty, never changed.

    Ordered by `first`, then `last`; hashable; ``first, last = byte_range`` unpacks it; pickles.

    Parameters
    ----------
    first, last : int
        Positions in bytes, ``0 <= first <= last <= 2**63 - 2``.

    Raises
    ------
    ValueError
        If there can be no such range.

    Examples
    --------
    >>> block = ByteRange(250, 499)
    >>> str(block), block.size, block.slice
    ('[250:499]', 250, slice(250, 500, None))

    Notes
    -----
    Go: ``largefile.ByteRange``, whose From and To are RFC 9110 section 14.1.2's first-pos and last-pos.
    """

    def __cinit__(self, first, last):
        cdef int64_t first_pos, last_pos
        cdef int too_far = 0, too_far_last = 0
        first_pos = PyLong_AsLongLongAndOverflow(first, &too_far)
        last_pos = PyLong_AsLongLongAndOverflow(last, &too_far_last)
        # One less than what fits, so that `stop` and `size` fit too.
        if too_far or too_far_last or not 0 <= first_pos <= last_pos < LARGEST:
            raise ValueError(f"no range from byte {first} to {last}, needed 0 <= first <= last <= 2**63 - 2")
        self.first = first_pos
        self.last = last_pos

    @property
    def size(self):
        """How many bytes: at least 1."""
        return self.last - self.first + 1

    @property
    def stop(self):
        """The position after `last`."""
        return self.last + 1

    @property
    def slice(self):
        """The same bytes of a buffer that holds the whole content."""
        return slice(self.first, self.last + 1)

    def __iter__(self):
        return iter((self.first, self.last))

    def __str__(self):
        return f"[{self.first}:{self.last}]"

    def __repr__(self):
        return f"ByteRange(first={self.first}, last={self.last})"

    def __hash__(self):
        # Multiplied by odd numbers with no pattern in their bits: neighbours do not meet in a small table.
        cdef uint64_t mixed = <uint64_t>self.first * 0x9E3779B97F4A7C15ULL
        mixed += <uint64_t>self.last * 0xD6E8FEB86659FD93ULL
        return <Py_hash_t>(mixed ^ (mixed >> 32))

    def __reduce__(self):
        return ByteRange, (self.first, self.last)

    def __eq__(self, other):
        if type(other) is not ByteRange:
            return NotImplemented
        return compare(self, <ByteRange>other) == 0

    def __lt__(self, other):
        if type(other) is not ByteRange:
            return NotImplemented
        return compare(self, <ByteRange>other) < 0

    def __le__(self, other):
        if type(other) is not ByteRange:
            return NotImplemented
        return compare(self, <ByteRange>other) <= 0

    def __gt__(self, other):
        if type(other) is not ByteRange:
            return NotImplemented
        return compare(self, <ByteRange>other) > 0

    def __ge__(self, other):
        if type(other) is not ByteRange:
            return NotImplemented
        return compare(self, <ByteRange>other) >= 0


def num_blocks(content_size, block_size):
    """Count the blocks that cover `content_size` bytes; the last may be shorter than the others.

    Parameters
    ----------
    content_size : int
        Bytes, from 0 to `MAX_SIZE`. No bytes are no blocks.
    block_size : int
        Bytes in a block; at least 1.

    Returns
    -------
    int
        The number of blocks.

    Raises
    ------
    ValueError
        If a size is negative or beyond `MAX_SIZE`, or `block_size` is 0.

    Examples
    --------
    >>> num_blocks(1010, 250)
    5

    Notes
    -----
    Go: ``largefile.NumBlocks``.
    """
    return count_blocks(check_size(content_size), check_block_size(block_size))


def range_for_index(index, content_size, block_size):
    """Give the bytes of one block.

    Parameters
    ----------
    index : int
        The block, from 0.
    content_size : int
        Bytes in all, from 0 to `MAX_SIZE`.
    block_size : int
        Bytes in a block; at least 1.

    Returns
    -------
    ByteRange
        `block_size` bytes, or what is left for the last block.

    Raises
    ------
    IndexError
        If there is no such block.
    ValueError
        If a size is negative or beyond `MAX_SIZE`, or `block_size` is 0.

    Examples
    --------
    >>> str(range_for_index(4, 1010, 250))
    '[1000:1009]'

    Notes
    -----
    Go: ``largefile.RangeForIndex``, which past the end gives an inverted range.
    """
    cdef int64_t size = check_size(content_size), block = check_block_size(block_size), at
    cdef int too_far = 0
    at = PyLong_AsLongLongAndOverflow(index, &too_far)
    if too_far or not 0 <= at < count_blocks(size, block):
        raise IndexError(f"block {index} of {count_blocks(size, block)}")
    return new_range(at * block, end_of_block(at, size, block) - 1)


def ranges(first, last, block_size):
    """Cut the bytes `first` to `last` into consecutive blocks of `block_size` bytes.

    Parameters
    ----------
    first, last : int
        First and last byte, both included (RFC 9110 section 14.1.2, first-pos and last-pos).
        ``last == first - 1`` means no bytes.
    block_size : int
        Largest block, in bytes; at least 1.

    Yields
    ------
    ByteRange
        Ascending, touching, non-empty. Only the last may be shorter.

    Raises
    ------
    ValueError
        If `block_size` is less than 1, or `last` less than ``first - 1``, or either beyond 64 bits.

    Examples
    --------
    >>> [str(block) for block in ranges(10, 34, block_size=10)]
    ['[10:19]', '[20:29]', '[30:34]']

    Notes
    -----
    Go: ``largefile.Ranges``.
    """
    cdef int64_t first_pos, last_pos
    cdef int too_far = 0, too_far_last = 0
    cdef _Ranges made = _Ranges.__new__(_Ranges)
    first_pos = PyLong_AsLongLongAndOverflow(first, &too_far)
    last_pos = PyLong_AsLongLongAndOverflow(last, &too_far_last)
    if too_far or too_far_last or first_pos < 0 or last_pos < first_pos - 1 or last_pos == LARGEST:
        raise ValueError(f"no bytes {first} to {last}, needed 0 <= first <= last + 1 <= 2**63 - 1")
    made.at, made.stop, made.block_size = first_pos, last_pos + 1, check_block_size(block_size)
    return made


@cython.final
@cython.auto_pickle(False)
cdef class _Ranges:
    """The blocks of [at, stop), still to be given."""

    cdef int64_t at, stop, block_size

    def __iter__(self):
        return self

    def __next__(self):
        cdef int64_t first = self.at
        if first >= self.stop:
            raise StopIteration
        self.at = first + min(self.block_size, self.stop - first)
        return new_range(first, self.at - 1)


cdef int compare(ByteRange one, ByteRange other) noexcept:
    """Less than, equal to or more than 0, as `one` is before, the same as or after `other`."""
    if one.first != other.first:
        return -1 if one.first < other.first else 1
    return (one.last > other.last) - (one.last < other.last)
