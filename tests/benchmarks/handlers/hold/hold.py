# mypy: allow-untyped-defs

import signal


def handler(job, ctx):
    """Never ends: waits, or spins, whatever it is told."""
    if job.data["spin"]:
        while True:
            pass
    while True:
        signal.pause()
