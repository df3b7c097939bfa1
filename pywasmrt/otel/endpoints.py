"""Where OTLP goes over HTTP: the URLs of endpoints."""

from __future__ import annotations

import ssl
from base64 import b64encode
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit

from ..errors import InvalidConfigurationError
from ..values import shown
from .connection import Connection, SecureConnection

__all__ = ["Url"]


class Url:
    """Where to post to."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            if parts.netloc.rpartition("@")[2].startswith("["):
                IPv6Address(parts.hostname or "")  # which urlsplit itself looks at since Python 3.11.4
        except (ValueError, AttributeError, TypeError) as error:
            raise InvalidConfigurationError(
                f"an OTLP endpoint is a URL with http or https, not {shown(url)}: {error}"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidConfigurationError(f"an OTLP endpoint is a URL with http or https, not {shown(url)}")
        try:
            self._port = parts.port
        except ValueError:
            raise InvalidConfigurationError(
                f"an OTLP endpoint has a port of 0 to 65535, not as in {shown(url)}"
            ) from None
        self._host = parts.hostname
        self.secure = parts.scheme == "https"
        self.headers: dict[str, str] = {}
        if parts.username or parts.password:
            try:
                user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
            except UnicodeEncodeError:
                raise InvalidConfigurationError("the user in the URL of an OTLP endpoint has no UTF-8") from None
            self.headers["Authorization"] = f"Basic {b64encode(user).decode()}"  # RFC 7617
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            self._host.encode("idna")
            if any(each.isspace() or not each.isprintable() for each in self._host):
                raise UnicodeError
        except UnicodeError:
            raise InvalidConfigurationError(f"an OTLP endpoint names a host, not as in {shown(url)}") from None
        if not self.path.isascii() or not self.path.isprintable() or " " in self.path:
            raise InvalidConfigurationError(
                f"an OTLP endpoint has a path in ASCII, other characters as %XX, not as in {shown(url)}"
            )
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{self._port}' if self._port else ''}{parts.path}"

    def connect(self, tls: ssl.SSLContext | None) -> Connection:
        if self.secure and tls is not None:
            return SecureConnection(self._host, self._port, tls)
        return Connection(self._host, self._port)
