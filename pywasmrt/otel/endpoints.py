"""Where OTLP goes over HTTP: the URLs of endpoints."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit

from ..errors import InvalidConfigurationError
from ..values import shown
from .connection import Connection, SecureConnection

__all__ = ["Url", "url_of_signal"]

_PLACE = re.compile(r"(?P<host>\[[^\[\]@]+\]|[^\[\]:@]+)(:(?P<port>[0-9]*))?")
_NAME = re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")  # RFC 1035, section 2.3.4
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_USER = re.compile(r"(?:\w*://)?(.+)@", re.DOTALL)  # or what was meant to be one


def url_of_signal(base: object, signal: str) -> str:
    """The URL that one signal has below the base URL of an endpoint. Raises `InvalidConfigurationError`."""
    Url(base)
    if "?" in str(base):
        raise InvalidConfigurationError(
            f"the base URL of an OTLP endpoint gets /v1/{signal} added, so it has no query, not as in {_shown(base)};"
            " give the whole URL of each signal, which may have one"
        )
    return f"{str(base).rstrip('/')}/v1/{signal}"


class Url:
    """Where to post to. Nothing of the URL is left out: what cannot be sent is refused."""

    def __init__(self, url: object) -> None:
        if not isinstance(url, str):
            raise InvalidConfigurationError(f"an OTLP endpoint is a URL with http or https, a str, not {shown(url)}")
        if not url.isprintable() or " " in url:  # of which urlsplit leaves some out in silence
            raise InvalidConfigurationError(
                f"an OTLP endpoint has no spaces and no control characters, not as in {_shown(url)}; in a path they are"
                " written as %XX"
            )
        if "#" in url:
            raise InvalidConfigurationError(
                f"an OTLP endpoint has no fragment, which is never sent, not as in {_shown(url)}; a # in a path is"
                " written as %23"
            )
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidConfigurationError(
                f"an OTLP endpoint is a URL with http or https, not {_shown(url)}: {_hidden(str(error), url)}"
            ) from None
        user, _, place = parts.netloc.rpartition("@")
        if parts.scheme not in ("http", "https") or not place:
            raise InvalidConfigurationError(f"an OTLP endpoint is a URL with http or https, not {_shown(url)}")
        self.secure = parts.scheme == "https"
        self._host, self._port = _host_and_port(place, url)
        self.headers = _authorization(user)
        self.path = (parts.path or "/") + (f"?{parts.query}" if "?" in url else "")
        if not self.path.isascii():
            raise InvalidConfigurationError(
                f"an OTLP endpoint has a path in ASCII, other characters as %XX, not as in {_shown(url)}"
            )
        self.shown = f"{parts.scheme}://{self._host}{f':{self._port}' if self._port else ''}{parts.path}"

    def connect(self, tls: ssl.SSLContext | None) -> Connection:
        if self.secure and tls is not None:
            return SecureConnection(self._host, self._port, tls)
        return Connection(self._host, self._port)


def _host_and_port(place: str, url: str) -> tuple[str, int | None]:
    found = _PLACE.fullmatch(place)
    if found is None:
        if _PLACE.fullmatch(place.rpartition(":")[0]):
            raise InvalidConfigurationError(f"an OTLP endpoint has a port of 0 to 65535, not as in {_shown(url)}")
        raise _no_host(url)
    host = found["host"]
    try:
        if host.startswith("["):
            host = host[1:-1]  # which may end with a zone, whose name keeps its case
            IPv6Address(host)
        elif not _NAME.fullmatch(host.encode("idna").decode()):
            raise ValueError
        else:
            host = host.lower()
    except ValueError:  # as UnicodeError is
        raise _no_host(url) from None
    digits = found["port"]
    if digits and (len(digits) > 5 or int(digits) > 65535):
        raise InvalidConfigurationError(f"an OTLP endpoint has a port of 0 to 65535, not as in {_shown(url)}")
    return host, int(digits) if digits else None


def _no_host(url: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(
        f"an OTLP endpoint names a host, by its name or by an IP address (IPv6 as in [::1]), not as in {_shown(url)}"
    )


def _hidden(text: str, url: object) -> str:
    """The text of an error about a URL without the user and the password in it, since errors are logged."""
    found = _USER.match(str(url))
    return text if found is None else text.replace(found[1], "***")


def _shown(url: object) -> str:
    return shown(_hidden(str(url), url))


def _authorization(user: str) -> dict[str, str]:
    """The header for the user and the password in a URL (RFC 7617), if there are any."""
    name, _, password = user.partition(":")
    name, password = unquote(name), unquote(password)
    if not name and not password:
        return {}
    if "@" in user or ":" in name or _CONTROL.search(name + password):
        raise InvalidConfigurationError(
            "the user in the URL of an OTLP endpoint has an @ that is not written as %40, a colon in its name, or"
            " control characters"
        )
    pair = f"{name}:{password}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"}
