"""The section of docs/performance.md that `streams.py` has the data for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tables import MIB, by_contender, cpu, head, median, of, ratio, row, size_text

__all__ = ["streams_section"]

Data = dict[str, Any]


def streams_section(data: Data) -> list[str]:
    """The tables of one `streams.py` run, those parts that were run."""
    lines: list[str] = []
    for name, (title, part) in PARTS.items():
        if name in data:
            lines += ["", f"### {title}", "", *part(data[name])]
    return lines[1:]


def _speed(data: Data) -> Iterator[str]:
    runs = by_contender(data["runs"])
    yield (
        f"{size_text(data['size'])} from nginx on loopback, to nothing. Medians of interleaved rounds; "
        "seconds of the process from start to end, in ours Python's start and imports included; *stream* is "
        "from the call of `stream` to the end."
    )
    yield ""
    yield from head("", "wall s", "stream s", "user s", "system s", "CPU s")
    for name, of_one in runs.items():
        inside = f"{median(of_one, of('seconds')):.2f}" if "seconds" in of_one[0] else ""
        seconds = (f"{median(of_one, key):.2f}" for key in (of("user"), of("system"), cpu))
        yield row(name, f"{median(of_one, of('wall')):.2f}", inside, *seconds)
    yield ""
    yield from head("ours / curl", "wall", "stream / wall", "CPU")
    for name, of_one in runs.items():
        if name != "curl":
            beside = [{**run, "seconds": run["wall"]} for run in runs["curl"]]
            found = (ratio(of_one, beside, key) for key in (of("wall"), of("seconds"), cpu))
            yield row(name, *found)


def _memory(data: Data) -> Iterator[str]:
    yield f"Peak memory of the process, {size_text(data['size'])} from nginx with 16 connections."
    yield ""
    yield from head(
        "window",
        "blocks",
        "read by",
        "after import, MiB",
        "peak, MiB",
        "above import, MiB",
        "above window, MiB",
    )
    for run in data["runs"]:
        more = run["peak"] - run["after_import"]
        cells = (
            f"{value / MIB:.1f}" for value in (run["after_import"], run["peak"], more, more - run["window"])
        )
        how = "blocks" if run["how"] == "blocks" else f"readinto {size_text(run['how'])}"
        yield row(size_text(run["window"]), size_text(run["block_size"]), how, *cells)


def _connections(data: Data) -> Iterator[str]:
    runs = by_contender(data["runs"])
    one, many = runs["1 connections"], runs["8 connections"]
    yield (
        f"{size_text(data['size'])} from a source that gives {data['rate'] / 1e6:.0f} MB/s to each "
        "connection, over all of its requests together."
    )
    yield ""
    yield from head("", "stream s", "MB/s")
    for count, of_one in ((1, one), (8, many)):
        seconds = median(of_one, of("seconds"))
        yield row(
            f"{count} connection{'s'[: count > 1]}", f"{seconds:.2f}", f"{data['size'] / seconds / 1e6:.1f}"
        )
    yield ""
    yield f"Eight are {median(one, of('seconds')) / median(many, of('seconds')):.2f} times as fast as one."


def _digest(data: Data) -> Iterator[str]:
    runs = by_contender(data["runs"])
    yield f"{size_text(data['size'])} from a source of {data['total'] / 1e6:.0f} MB/s over all connections."
    yield ""
    yield from head("", "stream s", "MB/s", "CPU s")
    for name, of_one in runs.items():
        seconds = median(of_one, of("seconds"))
        yield row(name, f"{seconds:.2f}", f"{data['size'] / seconds / 1e6:.0f}", f"{median(of_one, cpu):.2f}")
    yield ""
    yield f"With / without: {ratio(runs['with sha256'], runs['without'], of('seconds'))}."


def _held(data: Data) -> Iterator[str]:
    run, window = data["runs"][0], data["window"]
    more = run["peak"] - run["after_import"]
    yield (
        f"The first block of {size_text(data['size'])} comes {data['held']:.0f} s late; window "
        f"{size_text(window)}, blocks of {size_text(data['block_size'])}, {data['concurrency']} "
        "connections. SHA-256 is compared."
    )
    yield ""
    yield from head("", "")
    yield row("first block after", f"{run['first']:.2f} s")
    yield row("bytes received by then", f"{run['landed'] / MIB:.1f} MiB")
    yield row("end after", f"{run['seconds']:.2f} s")
    yield row("peak above import", f"{more / MIB:.1f} MiB")
    yield row("… and above the window", f"{(more - window) / MIB:.1f} MiB")


def _first_byte(data: Data) -> Iterator[str]:
    trip = data["round_trip"]
    yield (
        f"`open(url)`, `seek(x)`, `read({size_text(data['read'])})` beside a bare ranged GET for the same "
        f"bytes, over a way of {trip * 1000:.0f} ms there and back. Medians, in round trips."
    )
    yield ""
    yield from head("a new connection", "bare GET", "open, seek, read", "more")
    for handshake in (False, True):
        runs = by_contender([run for run in data["runs"] if run["handshake"] is handshake])
        bare, opened = (median(runs[name], of("seconds")) / trip for name in ("bare", "open"))
        name = "costs a round trip" if handshake else "is free"
        yield row(name, f"{bare:.2f}", f"{opened:.2f}", f"{opened - bare:.2f}")


def _random(data: Data) -> Iterator[str]:
    yield (
        f"{data['count']:,} random reads of {size_text(data['read'])} in a file of "
        f"{size_text(data['size'])}, blocks of {size_text(data['block_size'])}; each byte is compared. "
        "*Again* is the same once more."
    )
    yield ""
    yield from head(
        "", "requests", "distinct blocks", "connections", "fetched, MiB", "seconds", "again, seconds"
    )
    for run in data["runs"]:
        yield row(
            run["way"],
            f"{run['requests']:,}",
            f"{run['blocks']:,}",
            f"{run['connections']:,}",
            f"{run['sent'] / MIB:.1f}",
            f"{run['seconds']:.2f}",
            f"{run['again']:.2f}",
        )


PARTS: dict[str, tuple[str, Callable[[Data], Iterator[str]]]] = {
    "speed": ("Speed", _speed),
    "memory": ("Memory of a stream", _memory),
    "connections": ("Slow connections", _connections),
    "digest": ("The digest's price", _digest),
    "held": ("A first block that is late", _held),
    "first_byte": ("The first byte of a seekable file", _first_byte),
    "random": ("Random reads", _random),
}
