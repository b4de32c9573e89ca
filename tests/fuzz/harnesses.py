"""All harnesses, by name."""

from __future__ import annotations

import fuzz_fields
import fuzz_heads
import fuzz_indexes
import fuzz_urls

__all__ = ["HARNESSES"]

HARNESSES = {
    harness.name: harness
    for module in (fuzz_fields, fuzz_urls, fuzz_heads, fuzz_indexes)
    for harness in module.HARNESSES
}
