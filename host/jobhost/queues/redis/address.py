"""Where a server is and how to enter, as `queue_url` says it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, unquote, urlsplit

from jobhost.errors import ConfigurationError


@dataclass(slots=True, frozen=True)
class Address:
    """`others`: more places to ask, of one cluster or of the same sentinels. `sentinel`: what the sentinels at these places call the
    server; None if these places are servers. `shown` has no password."""

    host: str
    port: int
    path: str | None
    db: int
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    shown: str
    others: tuple[tuple[str, int], ...] = ()
    sentinel: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    @property
    def places(self) -> list[Address]:
        """Each place alone."""
        return [self.at(host, port) for host, port in ((self.host, self.port), *self.others)]

    def at(self, host: str, port: int) -> Address:
        """The same way in at another place."""
        alone = not self.others and self.sentinel is None
        shown = self.shown if alone else f"{self.shown.partition('://')[0]}://{host}:{port}"
        return replace(self, host=host, port=port, others=(), shown=shown)

    def of_sentinel(self) -> Address:
        """How to enter a sentinel, which has users and passwords of its own, and no databases."""
        return replace(self, db=0, username=self.sentinel_username, password=self.sentinel_password)


def parse_url(url: str) -> Address:
    """Read `redis://`, `rediss://` (with `?cafile=`, `certfile=`, `keyfile=`) or `unix://` URLs.

    Several places are divided by commas: `redis://a:26379,b:26379/0?sentinel=mymaster` asks sentinels (`sentinel_username=`,
    `sentinel_password=` are for them), and without `sentinel` they are nodes of one cluster. Raises ConfigurationError.
    """
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    user, _, at = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    path = parts.path if parts.scheme == "unix" else None
    port = 26379 if "sentinel" in query else 6379
    try:
        places = [_place(place, port) for place in at.split(",")]
        db = int((parts.path.strip("/") if path is None else "") or query.get("db", "0"))
    except ValueError:
        raise ConfigurationError(f"queue_url: {_shown(url)} has no number as its port or database") from None
    context = None
    if parts.scheme == "rediss":
        try:
            context = ssl.create_default_context(cafile=query.get("cafile"))
            if "certfile" in query:
                context.load_cert_chain(query["certfile"], query.get("keyfile"))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"queue_url: {_shown(url)}: a certificate can't be read: {error}") from error
    return Address(
        *places[0],
        path,
        db,
        unquote(username) if username else query.get("username"),
        unquote(password) if password else query.get("password"),
        context,
        _shown(url),
        tuple(places[1:]),
        query.get("sentinel"),
        query.get("sentinel_username"),
        query.get("sentinel_password"),
    )


def _place(text: str, port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[host]:port`. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    return parts.hostname or "localhost", parts.port or port


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
