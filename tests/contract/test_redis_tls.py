"""`rediss://`: the server is checked against a CA, and asks for the client's own certificate if it likes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from jobhost.errors import BackendUnavailableError
from jobhost.queues.redis import RedisBackend

from tests.redis_server import fresh_prefix, server_url

from .functions import echo, serving
from .hosting import result_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def ca(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@contextlib.asynccontextmanager
async def tls_before_the_server(ca: trustme.CA, ask_for_client: bool = False) -> AsyncIterator[int]:
    """TLS in front of the tests' server, which has none: gives the port. Stands for a server built with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    if ask_for_client:
        context.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(context)
    place = urlsplit(server_url())
    passing: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(place.hostname, place.port)
        writers.extend((writer, inner_writer))
        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing.add(asyncio.get_running_loop().create_task(pass_on(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*passing, return_exceptions=True)
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def test_a_host_over_tls(ca: trustme.CA, tmp_path: Path) -> None:
    """B4: `rediss://` with a CA: jobs run as they do without."""
    async with tls_before_the_server(ca) as port:
        backend = RedisBackend(f"rediss://localhost:{port}?cafile={tmp_path}/ca.pem", fresh_prefix())
        async with serving(backend, {"echo": echo}, queue_url="redis://localhost") as host:
            for n in range(20):
                assert result_of(await host.run("echo", {"n": n, "text": "x" * 10_000})) == {
                    "n": n,
                    "text": "x" * 10_000,
                }


async def test_a_server_of_an_unknown_ca_is_refused(ca: trustme.CA) -> None:
    """B4: what the system's CAs do not vouch for is not spoken to."""
    async with tls_before_the_server(ca) as port:
        backend = RedisBackend(f"rediss://:secret@localhost:{port}", fresh_prefix())
        with pytest.raises(BackendUnavailableError, match=r"can't be reached: .*certificate") as caught:
            await backend.open()
        assert "secret" not in str(caught.value)
        await backend.close()


async def test_a_client_certificate(ca: trustme.CA, tmp_path: Path) -> None:
    """B4: given by `certfile` and `keyfile`; without it the server says no."""
    mine = ca.issue_cert("host-1")
    mine.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "mine.pem"))
    async with tls_before_the_server(ca, ask_for_client=True) as port:
        known = f"rediss://localhost:{port}?cafile={tmp_path}/ca.pem"
        without = RedisBackend(known, fresh_prefix())
        with pytest.raises(BackendUnavailableError):
            await without.open()
        await without.close()
        backend = RedisBackend(f"{known}&certfile={tmp_path}/mine.pem", fresh_prefix())
        async with serving(backend, {"echo": echo}, queue_url="redis://localhost") as host:
            assert result_of(await host.run("echo", 1)) == 1
