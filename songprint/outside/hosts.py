"""Which hosts the URL of a stranger may reach: parsing of URLs, public addresses, lists of hosts.

A server that fetches URLs could be made to connect to machines that only it can reach (server-side request forgery).
So URLs are parsed strictly, and every address of a host must be public or on the list of the operator. The networks
are those of the IANA registries of special-purpose addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST_URL = 8192  # characters; a signed URL of an object store has up to 2,000

_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")  # a last label that some resolvers parse as a number

_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",  # Teredo and others, examples, 6to4, examples
    )
)
_GLOBAL = ipaddress.ip_network("2000::/3")  # all allocated IPv6 addresses
_HOLDS_IPV4 = tuple(ipaddress.ip_network(network) for network in ("::ffff:0:0/96", "64:ff9b::/96"))  # mapped, NAT64
_ISATAP = (0x00005EFE, 0x02005EFE)  # before an IPv4 address in the last 64 bits

# Metadata services of clouds, which return secrets. A list of hosts must name such an address itself to allow it.
_METADATA = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",
        "fd20:ce::254/128",
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure, a public address
    )
)


class RefusedURL(ValueError):
    """The URL is not allowed; the text is the reason, for its author."""


@dataclass(frozen=True)
class Place:
    """A parsed URL."""

    scheme: str  # "http" or "https"
    host: str  # a name in lower case, or an address without brackets
    port: int
    path: str  # with the query, as it is sent; "//callback" is not changed
    address: Address | None  # if the host is one

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host_header}{self.path}"


def read(url: str) -> Place:
    """Parse a URL. RefusedURL for all but plain http and https URLs with one well-formed host.

    >>> read("https://example.org:8443/a b?c").path
    '/a%20b?c'
    >>> read("http://0x7f.1/")
    Traceback (most recent call last):
    songprint.outside.hosts.RefusedURL: an address must be written as four decimal numbers, as 192.0.2.1
    """
    if not isinstance(url, str) or not url:
        raise RefusedURL("it is empty")
    if len(url) > LONGEST_URL:
        raise RefusedURL(f"it is longer than {LONGEST_URL} characters")
    if url != url.strip() or "\\" in url or any(ord(character) < 32 or character == "\x7f" for character in url):
        raise RefusedURL("it holds a backslash, a control character or space around it")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedURL("its host or port cannot be read") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise RefusedURL("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise RefusedURL("it must not hold a user name or password")
    if port == 0:
        raise RefusedURL("port 0 does not exist")
    host, address = _host(parts.hostname or "", bracketed=parts.netloc.startswith("["))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], encoded(path), address)


def is_public(address: Address) -> bool:
    """Whether an address is the same machine for everyone, and not one in a local network.

    >>> is_public(ipaddress.ip_address("::ffff:10.0.0.1"))
    False
    """
    plain = unwrapped(address)
    if is_metadata(plain) or any(plain in network for network in _SPECIAL):
        return False
    if plain.version == 4:
        return True
    low = int(plain) & (1 << 64) - 1
    hides_private = low >> 32 in _ISATAP and not is_public(ipaddress.IPv4Address(low & 0xFFFFFFFF))
    return plain in _GLOBAL and not hides_private


def is_metadata(address: Address) -> bool:
    return any(unwrapped(address) in network for network in _METADATA)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address contains, else the address itself."""
    if any(address in network for network in _HOLDS_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@dataclass(frozen=True)
class HostList:
    """Hosts that the operator allows: names with *, addresses, networks, each with an optional port.

    >>> HostList(("*.lan", "10.0.0.0/8:8000")).names("nas.lan", 80, None)
    True
    """

    entries: tuple[str, ...]

    def names(self, host: str, port: int, address: Address | None) -> bool:
        """Whether an entry contains the host or its address."""
        return any(self._fits(entry, host, address) for entry in self._at(port))

    def may_name(self, host: str, port: int) -> bool:
        """Whether `names` may be true for a host whose address is not known yet."""
        return any(_network(entry) is not None or fnmatchcase(host, entry) for entry in self._at(port))

    def names_exactly(self, port: int, address: Address) -> bool:
        """Whether an entry is exactly this address, not a network that contains it."""
        return any(
            network is not None and network.num_addresses == 1 and unwrapped(address) in network
            for network in map(_network, self._at(port))
        )

    def _at(self, port: int) -> Iterable[str]:
        for entry in self.entries:
            host, colon, only = entry.rpartition(":")
            if colon and only.isdigit() and (":" not in host or host.endswith("]")):
                if int(only) == port:
                    yield host.strip("[]").lower()
            else:
                yield entry.strip("[]").lower()

    def _fits(self, entry: str, host: str, address: Address | None) -> bool:
        network = _network(entry)
        if network is None:
            return fnmatchcase(host, entry)
        return address is not None and (address in network or unwrapped(address) in network)


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _host(host: str, *, bracketed: bool) -> tuple[str, Address | None]:
    address: Address
    if bracketed:
        try:
            address = six = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise RefusedURL("its IPv6 address cannot be read") from error
        if six.scope_id:
            raise RefusedURL("an IPv6 address must not name a network card")
        return str(address), address
    if not host.isascii():
        raise RefusedURL("write the host's name in ASCII (xn--...)")
    host = host.lower().removesuffix(".")
    if _NUMERIC.fullmatch(host.rpartition(".")[2]):
        try:
            address = ipaddress.IPv4Address(host)  # which takes no octal numbers
        except ValueError as error:
            raise RefusedURL("an address must be written as four decimal numbers, as 192.0.2.1") from error
        return host, address
    if not _NAME.fullmatch(host):
        raise RefusedURL("it names no host" if not host else "its host is no name that can exist")
    if host in _LOCAL_NAMES or host.endswith(".localhost"):
        return host, ipaddress.IPv4Address("127.0.0.1")
    return host, None


def encoded(path: str) -> str:
    """A path as it is sent: percent-encoded where it is not printable ASCII, and otherwise unchanged."""
    return "".join(character if " " < character < "\x7f" else quote(character, errors="replace") for character in path)
