"""Addresses that belong to nobody on the public internet, and addresses that carry another one.

Responsible for telling private, test, documentation, local and multicast ranges from public ones, and
for finding the IPv4 address inside a translated IPv6 address. Must never guess: a range that is not in
the table is public. The table is written out here because Python's own answer (`is_global`) differs
between Python versions. Sources: IANA's special-purpose address registries (RFC 6890), RFC 5771,
RFC 4291; NAT64 RFC 6052, 6to4 RFC 3056.
"""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_RANGES = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private network (RFC 1918)",
    "100.64.0.0/10": "carrier-grade NAT (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link-local (RFC 3927)",
    "172.16.0.0/12": "private network (RFC 1918)",
    "192.0.0.0/24": "IETF protocol assignments (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.88.99.0/24": "6to4 relay anycast (RFC 7526)",
    "192.168.0.0/16": "private network (RFC 1918)",
    "198.18.0.0/15": "benchmarking and tests (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved, broadcast (RFC 1112)",
    "::/127": "unspecified, loopback (RFC 4291)",
    "64:ff9b:1::/48": "local-use translation (RFC 8215)",
    "100::/64": "discard-only (RFC 6666)",
    "2001::/32": "Teredo tunnel (RFC 4380)",
    "2001:2::/48": "benchmarking and tests (RFC 5180)",
    "2001:10::/28": "ORCHID (RFC 4843)",
    "2001:20::/28": "ORCHIDv2 (RFC 7343)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "3fff::/20": "documentation (RFC 9637)",
    "5f00::/16": "segment routing (RFC 9602)",
    "fc00::/7": "unique local (RFC 4193)",
    "fe80::/10": "link-local (RFC 4291)",
    "fec0::/10": "site-local (RFC 3879)",
    "ff00::/8": "multicast (RFC 4291)",
}
_NAT64 = int(IPv6Network("64:ff9b::/96").network_address) >> 32


def _sorted(version: int) -> tuple[list[int], list[tuple[int, int, str]]]:
    networks = ((ip_network(text), purpose) for text, purpose in _RANGES.items())
    ranges = sorted((int(of[0]), int(of[-1]), purpose) for of, purpose in networks if of.version == version)
    return [first for first, _, _ in ranges], ranges


# The first range of either version begins at address 0, so that a range is always found below an address.
_RESERVED = {version: _sorted(version) for version in (4, 6)}


def parse(text: str) -> Address | None:
    """The address that `text` writes, or None if it writes none. URL brackets and the zone of a scoped
    address (`fe80::1%eth0`) are dropped."""
    if len(text) > 80:  # the longest literal has 45 characters; the rest is room for a zone
        return None
    try:
        return ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def carried(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address that maps (RFC 4291), translates (NAT64) or tunnels (6to4)
    to it, since that is where the data goes; any other address itself."""
    if isinstance(address, IPv6Address):
        if int(address) >> 32 == _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def reserved_range(address: Address) -> str | None:
    """What the special-purpose range holding `address` is for, or None if the address is public."""
    firsts, ranges = _RESERVED[address.version]
    value = int(address)
    _, last, purpose = ranges[bisect_right(firsts, value) - 1]
    return purpose if value <= last else None
