"""One run in a child; it is also the port through which its handler reaches the host."""

from __future__ import annotations

from time import monotonic

from ..logger import log_params
from .channel import MAX_UNSENT_LOGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..discovery import LoadedHandler
    from .session import Session

LOG = "ctx.logger.log"


class Throttle:
    """Lets `burst` lines through at once and `rate` a second after; `dropped` counts the rest until it is told."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens", "dropped")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = monotonic()
        self.dropped = 0

    def allows(self) -> bool:
        if self._tokens < 1:
            now = monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                return False
        self._tokens -= 1
        return True


class Run:
    """What is known of one run from its `execute` to its response. `reason`: why it was cancelled, or None."""

    __slots__ = (
        "context",
        "handler",
        "id",
        "job",
        "live",
        "partial",
        "reason",
        "session",
        "started",
        "throttle",
        "token",
    )

    def __init__(
        self,
        session: Session,
        id: int = -1,
        token: str | None = None,
        handler: LoadedHandler | None = None,
        job: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        """Without a token it stands for no run: the owner of lines that belong to none."""
        self.session = session
        self.id = id
        self.token = token
        self.handler = handler
        self.job = job
        self.context = context
        self.live = True
        self.started = False
        self.reason: str | None = None
        self.partial: dict[str, str] | None = None  # printed text that has no line end yet, by stream
        self.throttle: Throttle | None = None

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """As `Port.notify`. A line of a run that has ended belongs to none; its progress is nobody's."""
        if method == LOG:
            self.line(params)
        elif self.live and self.session.channel.unsent <= MAX_UNSENT_LOGS:
            params["run"] = self.token
            self.session.tell(method, params)

    def line(self, params: dict[str, Any]) -> None:
        """Send a log line, or drop and count it."""
        owner = self.speaker()
        if owner.allows_line():
            owner.send_line(params)

    def speaker(self) -> Run:
        """Who owns what this run prints now: itself while it is live, else nobody, even if another run is live."""
        return self if self.live else self.session.nobody

    def allows_line(self) -> bool:
        """Whether a line may be sent now; if not it is counted."""
        throttle = self.throttle
        if throttle is None:
            options = self.session.options
            throttle = self.throttle = Throttle(options.log_rate, options.log_burst)
        if not throttle.allows() or self.session.channel.unsent > MAX_UNSENT_LOGS:
            throttle.dropped += 1
            return False
        return True

    def send_line(self, params: dict[str, Any]) -> None:
        """Send a line that `allows_line` let through."""
        if self.throttle is not None and self.throttle.dropped:
            self.tell_dropped()
        params["run"] = self.token
        self.session.tell(LOG, params)

    def tell_dropped(self) -> None:
        """Say how many lines were dropped since this was last said."""
        throttle = self.throttle
        if throttle is not None and throttle.dropped:
            params = log_params("warning", f"{throttle.dropped} log lines dropped", None, "handler")
            throttle.dropped = 0
            params["run"] = self.token
            self.session.tell(LOG, params)
