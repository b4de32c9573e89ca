"""Items 1 to 13: ranges that are ignored, shifted, cut, stretched, encoded, refused, or quietly wrong."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from largefile.testing.hostile.case import BLOCK, ONCE, SIZE, Stage, Trick, how, length
from largefile.testing.script import Behaviour, Content, Request, pattern

__all__ = ["TRICKS"]


def shifted(by: int) -> Trick:
    def act(stage: Stage, request: Request) -> Behaviour:
        first, last = length(request, stage.size)
        start = max(0, first + by)
        return Behaviour(serve=(start, max(start, last + by)))

    return Trick(3, f"206 for a range that begins {by:+} bytes away", act)


def another_piece(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(serve=((first + 10 * BLOCK) % stage.size, min(last + 10 * BLOCK, stage.size - 1)))


def crowded_whole(stage: Stage, request: Request) -> Behaviour | None:
    """Ranges are for those who come alone."""
    busy = sum(not other.done for other in list(stage.server.requests))
    return Behaviour(ranges=busy <= 2)


def whole_in_disguise(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(status=200, ranges=False, content_range=f"bytes {first}-{last}/{stage.size}")


def slice_as_200(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(status=200, serve=(first, last))


def longer(by: int, honest: bool) -> Trick:
    def act(stage: Stage, request: Request) -> Behaviour:
        first, last = length(request, stage.size)
        end = min(last + by, stage.size - 1)
        said = f"bytes {first}-{end if honest else last}/{stage.size}"
        return Behaviour(serve=(first, end), content_range=said)

    words = "and says so" if honest else "and does not say so"
    return Trick(6, f"a body of {by} bytes more than asked, {words}", act)


def overlong_without_length(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    end = min(last + 5000, stage.size - 1)
    return Behaviour(serve=(first, end), content_range=f"bytes {first}-{last}/{stage.size}", chunked=True)


def another_total(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(content_range=f"bytes {first}-{last}/{stage.size + 12_345}")


def alternating_total(stage: Stage, request: Request) -> Behaviour | None:
    return another_total(stage, request) if request.number % 2 else None


def no_total(stage: Stage, request: Request) -> Behaviour:
    first, last = length(request, stage.size)
    return Behaviour(content_range=f"bytes {first}-{last}/*")


def flipped(stage: Stage, request: Request) -> Behaviour:
    """One bit of one byte."""

    def read(first: int, last: int) -> bytes:
        data = bytearray(pattern(first, last))
        data[len(data) // 2] ^= 1
        return bytes(data)

    same = stage.server.content
    return Behaviour(content=Content(stage.size, read, same.etag, same.last_modified))


def denied(stage: Stage, request: Request) -> Behaviour:
    """One bit of a byte in the first MiB, under a digest of what is right."""

    def read(first: int, last: int) -> bytes:
        data = bytearray(pattern(first, last))
        if first <= 7 * BLOCK <= last:
            data[7 * BLOCK - first] ^= 1
        return bytes(data)

    same = stage.server.content
    right = b64encode(sha256(pattern(0, stage.size - 1)).digest()).decode()
    return Behaviour(
        headers={"Repr-Digest": f"sha-256=:{right}:"},
        content=Content(stage.size, read, same.etag, same.last_modified),
    )


TRICKS = (
    Trick(1, "Range is ignored: 200 and everything", how(ranges=False)),
    Trick(1, "Range is ignored while others are served", crowded_whole, ("always",)),
    Trick(2, "200 with an honest Content-Range and the slice", slice_as_200),
    Trick(2, "200 with a Content-Range, and the whole body", whole_in_disguise),
    *(shifted(by) for by in (-4096, -1, 1, 7)),
    Trick(3, "206 for another piece", another_piece),
    Trick(4, "206 without Content-Range", how(headers={"Content-Range": None})),
    Trick(4, "206 with a malformed Content-Range", how(content_range="bytes 0-")),
    Trick(4, "206 with two Content-Ranges", how(content_range="bytes 0-9/10, bytes 0-9/10")),
    Trick(4, "206 in another unit", how(content_range="items 0-9/10")),
    Trick(5, "a short 206: half a block", how(at_most=BLOCK // 2)),
    Trick(5, "a short 206: some blocks", how(at_most=3 * BLOCK + 5)),
    Trick(5, "a short 206: one byte", how(at_most=1)),
    Trick(5, "a 206 of nothing", how(body=b"", content_range="bytes 5-4/10")),
    longer(5000, honest=True),
    longer(5000, honest=False),
    longer(1, honest=False),
    Trick(6, "chunks beyond the range", overlong_without_length),
    Trick(6, "Content-Length beyond the range", how(headers={"Content-Length": str(SIZE * 2)})),
    Trick(7, "another total in Content-Range", another_total),
    Trick(7, "totals that alternate", alternating_total, ("always",)),
    Trick(7, "an unknown total in Content-Range", no_total),
    Trick(
        8,
        "multipart/byteranges for one range",
        how(headers={"Content-Type": "multipart/byteranges; boundary=x", "Content-Range": None}),
    ),
    Trick(9, "a gzip-encoded 206", how(headers={"Content-Encoding": "gzip"})),
    Trick(9, "a gzip-encoded 200", how(ranges=False, headers={"Content-Encoding": "gzip"})),
    Trick(9, "an unknown encoding", how(headers={"Content-Encoding": "br, aws-chunked"})),
    Trick(9, "Content-Encoding: identity", how(headers={"Content-Encoding": "identity"})),
    Trick(10, "416 with the right size", how(status=416, content_range=f"bytes */{SIZE}")),
    Trick(10, "416 without a size", how(status=416)),
    Trick(10, "416 with another size", how(status=416, content_range=f"bytes */{SIZE // 2}")),
    Trick(11, "416 within the file, as if it ended there", how(status=416, content_range="bytes */1048576")),
    Trick(12, "an empty object: 416 */0", how(), ("always",), size=0),
    Trick(12, "an empty object: 416 and no size", how(status=416, body=b""), ("first",), size=0),
    Trick(12, "an empty object: 200", how(ranges=False), ("always",), size=0),
    Trick(12, "an object of one byte", how(), ("always",), size=1),
    Trick(13, "one bit is wrong", flipped, (*ONCE, "later"), undecidable=True, digests=(False, True)),
    Trick(13, "one bit is always wrong", flipped, ("always",), undecidable=True, digests=(False, True)),
    Trick(13, "one bit is wrong, and Repr-Digest right", denied, ("first", "always")),
)
