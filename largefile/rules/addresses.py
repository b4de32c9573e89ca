"""Which resolved addresses are of the public internet: the rule behind ``allow_private=False``.

The name in a URL says nothing about where it leads: whoever owns a name can have it resolve to the machine
itself, to its neighbours, or to a cloud's metadata service. So the address is judged, right before it is
connected to. The rule is a list of what passes, and does not lean on the tables of the running Python alone,
which differ between versions.
"""

from __future__ import annotations

import ipaddress

__all__ = ["is_public"]

#: What IANA has given to unicast (RFC 4291 section 2.4); all other IPv6 is local, multicast or nobody's.
_UNICAST = ipaddress.IPv6Network("2000::/3")
#: An IPv4 address in its last 32 bits, which a gateway connects to (RFC 6052 section 2.1).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Not public, though some versions of `ipaddress` call parts of it global.
_SPECIAL_4 = (
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments (RFC 6890)
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4, given up (RFC 7526)
)
_SPECIAL_6 = (
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments, Teredo with its embedded address
    ipaddress.IPv6Network("2002::/16"),  # 6to4, given up: relays took the embedded address, whatever it was
    ipaddress.IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_public(address: str) -> bool:
    """Whether an IP address, as a resolver gives it, is one of the public internet.

    Loopback, private, link-local, shared, reserved, documentation and multicast addresses are not, nor is
    what is no address at all. An address that has an IPv4 address in it (IPv4-mapped, NAT64) is what that
    one is. A NAT64 prefix of a network's own can not be told from any other address.

    Examples
    --------
    >>> is_public("93.184.216.34"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1")
    (True, False, False)

    Notes
    -----
    RFC 6890, with the registries of special-purpose addresses that it set up.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = _embedded(found)
        return _is_public_6(found) if inner is None else _is_public_4(inner)
    return _is_public_4(found)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a connection to `address` goes to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _is_public_4(address: ipaddress.IPv4Address) -> bool:
    special = any(address in network for network in _SPECIAL_4)
    return address.is_global and not address.is_multicast and not special


def _is_public_6(address: ipaddress.IPv6Address) -> bool:
    special = any(address in network for network in _SPECIAL_6)
    return address in _UNICAST and address.is_global and not special
