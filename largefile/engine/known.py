"""What is known of a download by now: what went before it and what it does both write it down here."""

from __future__ import annotations

from largefile.rules.digests import ServerDigest, parse_digest
from largefile.rules.identity import Identity

__all__ = ["Known"]


class Known:
    """The status is made of it."""

    def __init__(self) -> None:
        self.phase = "probing"
        self.size = 0
        self.identity: Identity | None = None
        #: The digest that is expected, and its algorithm; if it is the server's, as that has said it.
        self.digest: str | None = None
        self.algorithm: str | None = None
        self.said: ServerDigest | None = None
        #: The digest that the content has.
        self.computed: str | None = None
        self.notes: list[str] = []

    def expect(self, digest: str | None) -> None:
        """Compare the finished content with `digest`; None: with nothing."""
        self.algorithm = self.digest = self.said = None
        if digest is not None:
            self.algorithm, value = parse_digest(digest)
            self.digest = f"{self.algorithm}:{value}"

    def heed(self, said: ServerDigest | None) -> None:
        """Compare with what the server says, if the caller says nothing. It is never stored."""
        if self.digest is None and said is not None:
            self.algorithm, self.digest, self.said = said.algorithm, said.digest, said

    @property
    def right(self) -> bool:
        """Whether the content has the digest that is expected, if any is."""
        return self.computed == self.digest
