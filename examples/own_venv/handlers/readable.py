"""Makes numbers readable with humanize, which only this folder's virtual environment has."""

import importlib.util
import sys
from datetime import timedelta

import humanize

config = {"description": "Bytes and seconds in words", "timeout": "10s"}


def handler(job, ctx):
    """Give `data.bytes` and `data.seconds` in words, and where that was done."""
    return {
        "size": humanize.naturalsize(job.data["bytes"], binary=True),
        "time": humanize.precisedelta(timedelta(seconds=job.data["seconds"])),
        "environment": sys.prefix,
        "has_jobhost": importlib.util.find_spec("jobhost") is not None,
    }
