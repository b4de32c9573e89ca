"""The user's hook that makes a new URL of an expired one: called once, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from largefile.errors import RefusedError
from largefile.rules.redirects import check_url, display_url

__all__ = ["Renew", "Renewal"]

#: Gets the URL that has expired, and returns another of the same content.
Renew: TypeAlias = Callable[[str], str]


class Renewal:
    """One call of `hook`. It may take its time: nobody waits for the thread, not even the interpreter.

    Examples
    --------
    >>> import time
    >>> renewal = Renewal(lambda url: url + "?again", "http://a.org/x")
    >>> while (url := renewal.take()) is None:
    ...     time.sleep(0.01)
    >>> url
    'http://a.org/x?again'
    """

    def __init__(self, hook: Renew, url: str) -> None:
        self._hook = hook
        self._url = url
        self._found: str | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name="largefile-renew", daemon=True).start()

    def take(self) -> str | None:
        """The new URL, checked; None while the hook is at it.

        Raises
        ------
        RefusedError
            If the hook raised, or gave something else; the cause says what.
        """
        if self._error is not None:
            text = f"{display_url(self._url)} has expired, and renew failed: {type(self._error).__name__}"
            raise RefusedError(text) from self._error
        return self._found

    def _run(self) -> None:
        try:
            found = self._hook(self._url)
            if not isinstance(found, str):
                raise TypeError(f"renew returned a {type(found).__name__}, needed is a URL")
            self._found = check_url(found)
        except BaseException as error:  # noqa: BLE001 - raised by `take`
            self._error = error
