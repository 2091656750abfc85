"""The contract ring runs each suite over everything that claims to satisfy it."""

from __future__ import annotations

from .backends import backend, clock, handles, other, wakes

__all__ = ["backend", "clock", "handles", "other", "wakes"]
