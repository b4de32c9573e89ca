"""No address that is not of the public internet passes, whatever it is dressed up as."""

import ipaddress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from largefile.rules.addresses import is_public

PUBLIC = ["1.1.1.1", "93.184.216.34", "9.255.255.255", "11.0.0.0", "126.255.255.255", "128.0.0.0"]
PUBLIC += [
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "223.255.255.255",
]
PUBLIC += ["100.63.255.255", "100.128.0.0", "198.17.255.255", "198.20.0.0"]
PUBLIC += ["2606:4700::1", "2a00:1450::", "2000::", "3ffe:ffff::1", "2001:200::1", "2003::1"]
LOCAL = ["127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "172.16.0.0"]
LOCAL += [
    "172.31.255.255",
    "192.168.0.1",
    "169.254.169.254",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
]
LOCAL += ["192.0.0.9", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"]
LOCAL += ["224.0.0.1", "224.0.1.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"]
LOCAL += [
    "::",
    "::1",
    "::127.0.0.1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
]
LOCAL += ["ff02::1", "ff0e::1", "100::1", "2001::1", "2001:db8::1", "2001:20::1", "2002:7f00:1::", "3fff::1"]
LOCAL += ["64:ff9b:1::1", "4000::1", "5f00::1", "64:ff9c::808:808"]
NO_ADDRESS = [
    "",
    "localhost",
    "127.1",
    "0x7f.0.0.1",
    "017700000001",
    "2130706433",
    "127.0.0.1 ",
    "[::1]",
    "1.2.3.4:80",
]


def v4_inside(prefix, address):
    return str(
        ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(ipaddress.IPv4Address(address)))
    )


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", LOCAL + NO_ADDRESS)
def test_not_public(address):
    assert not is_public(address)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::"]))
@example(ipaddress.IPv4Address("127.0.0.1"), "::ffff:0:0")
@example(ipaddress.IPv4Address("169.254.169.254"), "64:ff9b::")
@example(ipaddress.IPv4Address("8.8.8.8"), "64:ff9b::")
def test_an_address_within_an_address_is_judged_for_itself(address, prefix):
    assert is_public(v4_inside(prefix, address)) == is_public(str(address))


@given(st.ip_addresses())
def test_what_the_standard_library_calls_local_never_passes(address):
    """Its tables are older or newer than ours: they may refuse more, and then so do we."""
    if not address.is_global or address.is_multicast or address.is_loopback or address.is_link_local:
        inner = v4_of(address)
        assert not is_public(str(address)) or (inner is not None and is_public(str(inner)))


def v4_of(address):
    if address.version == 6 and address in ipaddress.IPv6Network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped if address.version == 6 else None


@given(st.ip_addresses(v=4))
def test_6to4_never_passes_whatever_it_carries(address):
    assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | int(address) << 80 | 1)))


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text):
    assert is_public(text) in (True, False)
