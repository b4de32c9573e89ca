"""When to try again, and when to stop trying."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from largefile.rules.identity import http_date

__all__ = ["Backoff", "RetryResponse", "asked_pause", "retry_after"]


class _Random(Protocol):
    def random(self) -> float: ...


@dataclass(frozen=True, slots=True)
class RetryResponse:
    """What a source says about a failure of its own.

    Parameters
    ----------
    retryable : bool
        Whether the same request may succeed later.
    backoff : float or None
        Seconds to wait before it, if the source asks for a time.

    Raises
    ------
    ValueError
        If `backoff` is negative or not finite.

    Examples
    --------
    >>> RetryResponse(True, backoff=2.5).backoff
    2.5

    Notes
    -----
    Go: ``largefile.RetryResponse``, there an interface.
    """

    retryable: bool
    backoff: float | None = None

    def __post_init__(self) -> None:
        if self.backoff is not None and not 0 <= self.backoff < float("inf"):
            raise ValueError(f"backoff {self.backoff!r} must be a number of seconds, 0 or more")


class Backoff:
    """Delays that double with each retry, `steps` of them, unless the source asks for a time of its own.

    Parameters
    ----------
    initial : float
        Seconds before the first retry; more than 0.
    steps : int
        How many retries there are; 0 for none.
    jitter : float
        From 0 to 1: up to this part of a doubling delay is taken off at random, so that clients that
        failed together do not return together. What the source asked for is never shortened: up to
        ``jitter * initial`` seconds come on top.
    rng : object with ``random()``, optional
        Where chance comes from; a generator of its own by default.
    maximum : float
        Seconds that no doubling delay exceeds.

    Raises
    ------
    ValueError
        If a number is outside of what is said above.

    Examples
    --------
    >>> backoff = Backoff(0.5, 3)
    >>> backoff.next_delay(), backoff.next_delay(RetryResponse(True, 7.0)), backoff.next_delay()
    (0.5, 7.0, 1.0)
    >>> backoff.next_delay() is None, backoff.done, backoff.retries
    (True, True, 3)

    Notes
    -----
    Go: ``largefile.NewBackoff``. Not carried over: a source that asks for 0 seconds gets the doubling
    delay, where the Go package would retry at once for as long as there are steps.
    """

    def __init__(
        self,
        initial: float,
        steps: int,
        *,
        jitter: float = 0.0,
        rng: _Random | None = None,
        maximum: float = 60.0,
    ) -> None:
        if not 0 < initial < float("inf") or not 0 < maximum < float("inf"):
            raise ValueError(f"initial {initial!r} and maximum {maximum!r} must be more than 0 seconds")
        if steps < 0:
            raise ValueError(f"steps {steps!r} must be 0 or more")
        if not 0 <= jitter <= 1:
            raise ValueError(f"jitter {jitter!r} must be from 0 to 1")
        self._steps = steps
        self._jitter = jitter
        self._initial = initial
        self._step = min(initial, maximum)
        self._maximum = maximum
        self._random = (rng or random.Random()).random if jitter else lambda: 0.0
        self._retries = 0
        self._done = False

    @property
    def retries(self) -> int:
        """Delays given out so far."""
        return self._retries

    @property
    def done(self) -> bool:
        """Whether a delay was asked for and there was none left."""
        return self._done

    def next_delay(self, retry_response: RetryResponse | None = None) -> float | None:
        """Seconds to wait before the next retry, or None when no retry is left or none makes sense.

        Raises
        ------
        TypeError
            If `retry_response` is neither a RetryResponse nor None; nothing is counted then.
        """
        if retry_response is not None and not isinstance(retry_response, RetryResponse):
            raise TypeError(f"retry_response must be a RetryResponse, not {type(retry_response).__name__}")
        if self._retries >= self._steps or (retry_response is not None and not retry_response.retryable):
            self._done = True
            return None
        self._retries += 1
        if retry_response is not None and retry_response.backoff:
            return retry_response.backoff + self._jitter * self._initial * self._random()
        return self._next_step()

    def wait(
        self, retry_response: RetryResponse | None = None, sleep: Callable[[float], object] = time.sleep
    ) -> bool:
        """Sleep for the next delay; True if there was none left, so that the caller should stop."""
        delay = self.next_delay(retry_response)
        if delay is None:
            return True
        sleep(delay)
        return False

    def _next_step(self) -> float:
        step = self._step
        self._step = min(2 * step, self._maximum)
        return step * (1 - self._jitter * self._random())


def retry_after(value: str | None, wall_now: float, cap: float = 300.0) -> float | None:
    """Seconds that a Retry-After field asks to wait, counted from `wall_now`.

    Parameters
    ----------
    value : str or None
        The field: a number of seconds or a date in any of HTTP's formats. Of several numbers (repeated
        fields are joined), the largest counts.
    wall_now : float
        Seconds since the epoch at the moment the field came in.
    cap : float
        Seconds. A longer wait is cut to this: the host is then asked early, once, and may say again
        how long, so that a slip of the server's clock does not stop a job for days.

    Returns
    -------
    float or None
        From 0 (at once, or a date in the past) to `cap`; None if there is no field or it is neither form
        (negative numbers among them).

    Examples
    --------
    >>> retry_after("120", 0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 15.0)
    (120.0, 45.0)

    Notes
    -----
    RFC 9110 section 10.2.3.
    """
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?(\s*,\s*[0-9]+(\.[0-9]+)?)*", value):
        return min(max(map(float, value.split(","))), cap)
    moment = http_date(value)
    return None if moment is None else min(max(moment - wall_now, 0.0), cap)


def asked_pause(
    headers: Mapping[str, str], wall_now: float, cap: float = 300.0, *, quotas: bool = True
) -> float | None:
    """Seconds that a refusal asks to wait: by Retry-After, or else by a quota that it says is used up.

    Parameters
    ----------
    headers : mapping of str to str
        The answer's fields, names in lower case.
    wall_now, cap : float
        As for `retry_after`.
    quotas : bool
        Whether the refusal can be for a quota.

    Returns
    -------
    float or None
        From 0 to `cap`; None if it does not say.

    Examples
    --------
    >>> asked_pause({"ratelimit": '"burst";r=0;t=7, "day";r=800;t=5000'}, 0.0)
    7.0
    >>> asked_pause({"ratelimit-remaining": "0", "ratelimit-reset": "30", "retry-after": "2"}, 0.0)
    2.0

    Notes
    -----
    The RateLimit fields are those of draft-ietf-httpapi-ratelimit-headers, in its newest form and in the one
    with a field for each number. The ``X-`` fields are not read: some count seconds and some give a date.
    """
    wait = retry_after(headers.get("retry-after"), wall_now, cap)
    if wait is not None or not quotas:
        return wait
    resets = [int(reset) for left, reset in _quotas(headers) if int(left) == 0]
    return min(float(max(resets)), cap) if resets else None


_NUMBER = r"[0-9]{1,18}"


def _quotas(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is left of each quota, and the seconds until it is filled again."""
    found = re.findall(rf";\s*r=({_NUMBER})\s*;\s*t=({_NUMBER})\s*(?=[,;]|$)", headers.get("ratelimit", ""))
    old = headers.get("ratelimit-remaining", "").strip(), headers.get("ratelimit-reset", "").strip()
    return [*found, old] if all(re.fullmatch(_NUMBER, number) for number in old) else found
