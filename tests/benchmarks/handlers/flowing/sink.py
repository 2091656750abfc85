# mypy: allow-untyped-defs
"""Gets what `flowing` emits, in a queue that nobody serves."""

config = {"queue": "sink", "flow": {"subscribes": ["done"]}}


def handler(job, ctx):
    return None
