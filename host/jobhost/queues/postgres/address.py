"""`postgresql://USER@HOST:PORT/DATABASE?schema=NAME`: libpq's own URL, and one parameter more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from jobhost.errors import ConfigurationError

SCHEMA = "jobhost"
"""The schema of the tables, where the URL names no other."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,49}")
"""Letters that need no quotes, and room for what the names of channels begin with."""

PATIENT = {
    "connect_timeout": "5",
    # A server that is cut off, not closed, is noticed within half of a lease and not after TCP's quarter of an hour.
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""What a URL says itself wins."""


class Where(NamedTuple):
    """A server as errors name it: without a password."""

    host: str
    port: str
    database: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(slots=True, frozen=True)
class Address:
    """What is needed to connect. `conninfo` holds the password."""

    conninfo: str
    schema: str

    @property
    def where(self) -> Where:
        told = conninfo_to_dict(self.conninfo)
        host, port = told.get("host") or told.get("hostaddr") or "localhost", told.get("port") or "5432"
        return Where(str(host), str(port), str(told.get("dbname") or told.get("user") or "postgres"))

    @property
    def channel(self) -> str:
        """Of LISTEN and NOTIFY."""
        return f"jobhost_{self.schema}"

    def key(self, *parts: str) -> int:
        """The number of an advisory lock: of 64 bits, so that two names as good as never share one."""
        name = "\0".join((self.schema, *parts)).encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


def address_of(url: str) -> Address:
    """Read a URL. Raises ConfigurationError, which never quotes it: it may hold a password."""
    parts = urlsplit(url)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(asked).get("schema", SCHEMA)
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        text = "the schema in it has up to 50 small letters, digits and _, and does not begin with pg_"
        raise ConfigurationError(f"queue_url: {text}: ?schema=jobs")
    rest = urlencode([(name, value) for name, value in asked if name != "schema"])
    try:
        told = conninfo_to_dict(urlunsplit(parts._replace(query=rest)))
    except psycopg.ProgrammingError:
        text = "is not a URL of Postgres: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        raise ConfigurationError(f"queue_url: {text}") from None
    return Address(make_conninfo("", **{**PATIENT, "application_name": "jobhost", **told}), schema)
