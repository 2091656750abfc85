"""What the runs of one child are charged, and what is put into the error of one that ends badly."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .blame import Death, limit_hit
from .dossier import dossier
from .receipts import Account, Usage
from .run import Ending, Outcome, Run

if TYPE_CHECKING:
    from .connection import Connection
    from .stderr import StderrReader


class Ledger:
    """One child's. Its figures come from the kernel, its wire and its stderr."""

    def __init__(self, stderr: StderrReader, answers_signal: bool) -> None:
        """`answers_signal`: the child tells its stacks when it is asked; else by itself, at a deadline that it knows."""
        self._stderr = stderr
        self._answers_signal = answers_signal
        self._asked_at = 0
        """Lines of stderr before stacks were asked for."""
        self._usage = Usage(0)
        self._frame = b""
        self._wire: Connection | None = None

    def open(self, pid: int, frame: bytes, wire: Connection) -> None:
        """The child is ready. `pid`: of its interpreter; `frame`: of its receipts, see `receipts.frame_of`."""
        self._usage = Usage(pid)
        self._frame = frame
        self._wire = wire

    def begin(self, run: Run, shared: bool, alone: bool) -> None:
        """A run starts. `shared`: others run beside it; `alone`: the child did nothing just before."""
        assert self._wire is not None
        run.account = Account(self._usage, self._wire.bytes_in, self._wire.bytes_out, shared, alone)
        run.account.lines = self._stderr.lines

    def receipt(self, run: Run, shared: bool) -> bytes | None:
        """What a run cost that ends now; None if it never began. `shared`: others run on beside it."""
        account, wire = run.account, self._wire
        if account is None or wire is None:
            return None
        account.shared = account.shared or shared
        return account.closed(self._usage, wire.bytes_in, wire.bytes_out, self._frame)

    def asked_for_stacks(self) -> None:
        self._asked_at = self._stderr.lines

    def document(self, run: Run, outcome: Outcome, death: Death) -> None:
        """Put what is known of an end into its error."""
        if outcome.error is None or run.account is None:
            return
        timed_out = outcome.ending is Ending.TIMED_OUT
        asked = self._stderr.since(self._asked_at if self._answers_signal else run.account.lines) if timed_out else ()
        limit = limit_hit(death, run.timeout_ms if timed_out else 0)
        found = dossier(self._stderr.since(0), asked, death.returncode, run.account.last_call, limit)
        outcome.error = {**outcome.error, "data": {"dossier": found}}

    def processor_time(self, runs: Iterable[Run]) -> float:
        """Seconds of processor time that the one run which is under way has taken; 0 if it is not alone."""
        started = [run for run in runs if run.started]
        account = started[0].account if len(started) == 1 else None
        self._usage.peak(time.monotonic())  # once it has died nobody can tell
        return 0.0 if account is None or account.shared else account.spent(self._usage)
