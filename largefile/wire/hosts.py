"""The hosts that this process has talked to: what one download was told holds for all."""

from __future__ import annotations

import os

from largefile.rules.hosts import HostTable

__all__ = ["HOSTS"]

HOSTS = HostTable()

os.register_at_fork(after_in_child=HOSTS.renew_locks)
