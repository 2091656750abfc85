"""Errors of the runtimes."""

from __future__ import annotations

from jobhost_sdk.errors import JobhostError


class ChildError(JobhostError):
    """A child did not do its part."""


class ChildStartError(ChildError):
    """A child could not be started. The message ends with its last lines of stderr, if there are any."""
