"""What guests may reach over the network: a list of addresses to connect to, and one to listen on."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Union

from ..errors import InvalidConfigurationError
from ..values import is_list, shown

__all__ = ["Network"]

_Net = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


@dataclass(frozen=True)
class Network:
    """Which addresses guests may use. Nothing is allowed unless it is listed.

    `connect` and `listen` hold patterns:

    * `"127.0.0.1:8080"`, `"[::1]:8080"`, `"127.0.0.1:8000-8999"`, `"10.0.0.0/8:*"`: an address or a network, and a
      port, a range of ports, or any
    * `"*:443"`: any IP address; `"*"`: whatever there is, unix sockets included
    * `"unix:/run/app.sock"`, `"unix:/run/app/*"`: a unix socket, or those in a directory

    Sending a datagram counts as connecting, and binding as listening. `resolve` lets guests look names up with the
    host's resolver; what they find is still only reachable if it is listed. Names can not be listed.
    """

    connect: Sequence[str] = ()
    listen: Sequence[str] = ()
    resolve: bool = False

    def may_connect(self, address: tuple[str, int] | str) -> bool:
        """Whether a guest may connect or send to (host, port), or to the unix socket of a path."""
        return any(rule.matches(address) for rule in self._rules[0])

    def may_listen(self, address: tuple[str, int] | str) -> bool:
        """Whether a guest may bind to (host, port), or to the unix socket of a path."""
        return any(rule.matches(address) for rule in self._rules[1])

    def validate(self) -> None:
        """Raise `InvalidConfigurationError` for an invalid pattern."""
        for name, patterns in (("connect", self.connect), ("listen", self.listen)):
            if not is_list(patterns):
                raise InvalidConfigurationError(f"Network.{name} is a list of address patterns, not {shown(patterns)}")
        self._rules  # noqa: B018 - reading them is the check

    @cached_property
    def _rules(self) -> tuple[list[_Rule], list[_Rule]]:
        return [_rule(each) for each in self.connect], [_rule(each) for each in self.listen]


class _Rule(NamedTuple):
    net: _Net | None  # None: any address
    ports: range
    path: str | None = None  # of unix sockets; "*" for any

    def matches(self, address: tuple[str, int] | str) -> bool:
        if isinstance(address, str):
            if self.path is None:
                return False
            if self.path == "*" or self.path == address:
                return True
            return (
                self.path.endswith("/*")
                and address.startswith(self.path[:-1])
                and "/" not in address[len(self.path) - 1 :]
            )
        host, port = address
        if port not in self.ports:
            return False
        if self.net is None:
            return True
        found = ipaddress.ip_address(host.partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped  # the same host, written otherwise
        return found in self.net


_ANY_PORT = range(1 << 16)


def _rule(pattern: str) -> _Rule:
    if pattern == "*":
        return _Rule(None, _ANY_PORT, "*")
    if isinstance(pattern, str):
        if pattern.startswith("unix:/") and "/../" not in pattern:
            return _Rule(None, range(0), pattern[5:])
        host, colon, port = pattern.rpartition(":")
        try:
            if colon:
                net = None if host == "*" else ipaddress.ip_network(host.strip("[]"))
                first, _, last = port.partition("-")
                ports = _ANY_PORT if port == "*" else range(int(first), int(last or first) + 1)
                if ports and ports[0] >= 0 and ports[-1] < 1 << 16:
                    return _Rule(net, ports)
        except ValueError:
            pass
    told = repr(pattern) if type(pattern) is str else shown(pattern)
    raise InvalidConfigurationError(
        f"{told} is no address pattern; write '127.0.0.1:8080', '[::1]:8080', '10.0.0.0/8:*', '*:443', "
        "'unix:/run/app.sock' or '*'"
    )
