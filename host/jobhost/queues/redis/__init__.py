"""Queues on Redis, in BullMQ's format."""

from .backend import RedisBackend

__all__ = ["RedisBackend"]
