"""Tallies a chunk of the days, by kind of weather. `tally_node.js` does the same in JavaScript."""

import csv
from itertools import islice

from jobhost_sdk import handler

ROWS_AT_ONCE = 500
"""Rows between two checkpoints: what a run that is cut off loses at most."""


@handler("tally.python", timeout="1m")
def tally(job, ctx):
    """Tally `rows` rows of the file `path` from the byte `offset` on; go on where an earlier attempt stopped.

    Gives `{"kinds": {kind: [days, rain, high, hottest]}, "rows", "resumed_at"}` with rain and temperatures in tenths.
    """
    begun = ctx.state.get("tally", {"rows": 0, "kinds": {}})
    kinds, done, resumed_at = begun["kinds"], begun["rows"], begun["rows"]
    with open(job.data["path"], "rb") as file:
        file.seek(job.data["offset"])
        lines = (line.decode() for line in islice(file, done, job.data["rows"]))
        rows = csv.reader(lines)
        while part := list(islice(rows, ROWS_AT_ONCE)):
            ctx.progress(round(100 * done / job.data["rows"]))
            for row in part:
                add(kinds, row)
            done += len(part)
            ctx.state.set("tally", {"rows": done, "kinds": kinds})
    ctx.progress(100)  # here, since a run that follows the last checkpoint has no part left to do
    return {"kinds": kinds, "rows": done, "resumed_at": resumed_at}


def add(kinds, row):
    """Add one day."""
    _date, rain, high, _low, _wind, kind = row
    tenths = round(float(high) * 10)
    tally = kinds.setdefault(kind, [0, 0, 0, tenths])
    tally[0] += 1
    tally[1] += round(float(rain) * 10)
    tally[2] += tenths
    tally[3] = max(tally[3], tenths)
