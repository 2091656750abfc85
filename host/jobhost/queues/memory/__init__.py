"""Queues in the memory of one process: for `memory://`, for tests, and for measuring what the rest of a host costs."""

from .backend import MemoryBackend

__all__ = ["MemoryBackend"]
