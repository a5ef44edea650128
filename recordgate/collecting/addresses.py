"""Decides which addresses a source may be at. A contract is written by people, a redirect by a
stranger: neither may make recordgate ask what only this machine or its network can reach, unless
the setting `collect_allow` names it.

A name is resolved once, every address of it is looked at, and that address is connected to: a name
that changes its mind between the look and the connection gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import httpcore

from stores.errors import SourceError

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"


@dataclass(frozen=True, slots=True)
class Allowed:
    """The networks and host names that `collect_allow` permits beside the public addresses."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, names: Iterable[str]) -> Allowed:
        networks, hosts = [], set()
        for name in names:
            try:
                networks.append(ipaddress.ip_network(name.strip("[]"), strict=False))
            except ValueError:
                hosts.add(name.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def takes(self, host: str, address: Address) -> bool:
        """Return whether `host`, which is at `address`, may be connected to."""
        plain = _plain(address)
        if plain.is_global and not plain.is_multicast:
            return True
        return host.lower().rstrip(".") in self.hosts or any(
            plain.version == n.version and plain in n for n in self.networks
        )


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, in any of the usual ways."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address.sixtofour:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to no other than allowed addresses."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed, self._inner = allowed, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        error: Exception | None = None
        for address in checked_addresses(host, port, self._allowed):
            try:
                return self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise httpcore.ConnectError("a source is not at a socket of this machine")

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def checked_addresses(host: str, port: int, allowed: Allowed) -> Sequence[str]:
    """The addresses of `host`, all of them allowed; raises SourceError where one is not,
    ConnectError where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"{host} has no address: {error}") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if not allowed.takes(host, ipaddress.ip_address(text.partition("%")[0])):
            raise SourceError(
                f"{host} is at an address of this machine or its network, which is not asked",
                hint=f"where that is meant, add {host} to the setting `collect_allow`",
                code="ADDRESS_REFUSED",
            )
    return addresses
