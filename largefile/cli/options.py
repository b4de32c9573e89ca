"""The options of the commands that fetch. What two of them have is said once, and means the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import click

from largefile.cli.inputs import (
    count_or_auto,
    credentials,
    headers,
    is_number,
    offset,
    proxy,
    rate,
    size_or_auto,
    size_or_none,
)

__all__ = ["CAT", "GET", "Waiting", "renamed", "with_options"]

Option: TypeAlias = Callable[[Any], Any]


def with_options(options: Sequence[Option]) -> Callable[[Any], Any]:
    """A decorator that gives a command all of `options`, in their order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class Waiting(click.Command):
    """A command whose ``--wait`` may stand without its seconds, wherever it stands.

    click would take the URL that follows for them.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        spelled = [
            "--wait=inf" if word == "--wait" and not is_number(after) else word
            for word, after in itertools.zip_longest(args[:end], args[1:end], fillvalue="")
        ]
        return super().parse_args(ctx, spelled + args[end:])


def renamed(options: dict[str, Any]) -> dict[str, Any]:
    """What every fetch is told, by its names in the library instead of those of the command line."""
    found = dict(options)
    found["concurrency"] = found.pop("connections")
    found["rate"] = found.pop("limit_rate")
    found["headers"] = headers(found.pop("lines"))
    found["auth"] = credentials(found.pop("user"))
    return found


CONNECTIONS = click.option(
    "-x",
    "--connections",
    callback=count_or_auto,
    metavar="N|auto",
    default="auto",
    show_default=True,
    help="Transfers at once, 1 to 256.",
)
BLOCK_SIZE = click.option(
    "--block-size",
    callback=size_or_auto,
    default="auto",
    show_default=True,
    metavar="SIZE",
    help="Bytes in a block, 4K to 1G. A partial file keeps the one it began with.",
)
DIGEST = click.option(
    "--digest",
    "--checksum",
    "digest",
    metavar="ALG:HEX",
    help="Verify the content from end to end, e.g. sha256:1f8a...",
)
LIMIT_RATE = click.option(
    "--limit-rate", callback=rate, metavar="RATE", help="Bytes a second over all, e.g. 500K or 10M."
)
HEADER = click.option(
    "-H", "--header", "lines", multiple=True, metavar="'K: V'", help="Send this too; may be repeated."
)
USER = click.option("--user", metavar="NAME:PASSWORD", help="Sign in; asks for a password that is left out.")
TIMEOUT = click.option(
    "--timeout",
    type=float,
    default=20.0,
    show_default=True,
    metavar="S",
    help="Seconds without a byte before a transfer is made again.",
)
CONNECT_TIMEOUT = click.option(
    "--connect-timeout",
    type=float,
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds for a connection.",
)
DEADLINE = click.option("--deadline", type=float, metavar="S", help="Seconds for the whole download.")
CA_FILE = click.option("--ca-file", metavar="FILE", help="Certificate authorities to trust, as PEM.")
PROXY = click.option(
    "--proxy",
    callback=proxy,
    metavar="URL",
    help="Use this proxy, of http, https or socks; '' for none. [default: by the environment]",
)
NO_PRIVATE = click.option(
    "--no-private",
    "allow_private",
    flag_value=False,
    default=True,
    type=bool,
    help="Connect to public addresses only, for a URL of a stranger; not through a proxy.",
)
HTTP2 = click.option(
    "--http2", is_flag=True, help="Speak HTTP/2; each transfer has its own connection all the same."
)
MAX_SIZE = click.option(
    "--max-size", callback=size_or_none, metavar="SIZE", help="Refuse what is larger, e.g. 10G."
)
MIRROR = click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL",
    help="Use this URL of the same content too; may be repeated.",
)
NO_SERVER_DIGEST = click.option(
    "--no-server-digest",
    "server_digest",
    flag_value=False,
    default=True,
    type=bool,
    help="Do not compare with the digest that the server names, if it does.",
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
VERBOSE = click.option("-v", "--verbose", is_flag=True, help="Log what happens, and show tracebacks.")

GET: list[Option] = [
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where to; a folder takes the URL's own name. With - it is `largefile cat -o -`.",
    ),
    CONNECTIONS,
    BLOCK_SIZE,
    DIGEST,
    LIMIT_RATE,
    HEADER,
    USER,
    click.option("--no-resume", is_flag=True, help="Throw away what an earlier run has left."),
    click.option(
        "--no-repair", is_flag=True, help="Do not fetch again to find what is wrong where the digest is."
    ),
    NO_SERVER_DIGEST,
    TIMEOUT,
    CONNECT_TIMEOUT,
    DEADLINE,
    click.option("--no-durable", is_flag=True, help="Do not sync to disk before the end."),
    click.option("--overwrite", is_flag=True, help="Replace FILE if it is there."),
    click.option(
        "--on-change",
        type=click.Choice(["restart", "fail"]),
        default="restart",
        show_default=True,
        help="When the source has changed since the partial file was begun.",
    ),
    click.option(
        "--wait",
        type=float,
        default=0.0,
        metavar="[S]",
        help="While another process fetches FILE, wait for its end, or so many seconds at most.",
    ),
    CA_FILE,
    PROXY,
    NO_PRIVATE,
    MAX_SIZE,
    HTTP2,
    MIRROR,
    QUIET,
    click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout at the end."),
    VERBOSE,
]

CAT: list[Option] = [
    click.option("-o", "--output", metavar="-", help="With -, write to a terminal whatever it is."),
    CONNECTIONS,
    BLOCK_SIZE,
    click.option(
        "--window",
        callback=size_or_auto,
        default="auto",
        show_default=True,
        metavar="SIZE",
        help="Bytes of memory: how far the transfers may be ahead of the reader.",
    ),
    click.option(
        "--offset",
        callback=offset,
        default="0",
        show_default=True,
        metavar="N",
        help="Skip so many bytes, as curl -C does; they are not fetched. Not with --digest.",
    ),
    DIGEST,
    NO_SERVER_DIGEST,
    LIMIT_RATE,
    HEADER,
    USER,
    TIMEOUT,
    CONNECT_TIMEOUT,
    DEADLINE,
    CA_FILE,
    PROXY,
    NO_PRIVATE,
    MAX_SIZE,
    HTTP2,
    MIRROR,
    QUIET,
    VERBOSE,
]
