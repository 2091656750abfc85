"""Queues: one seam, and a file for each backend behind it."""
