"""Exports rows of a CSV file as CSV or JSON, and goes on where an earlier attempt stopped."""

import csv
import hashlib
import io
import json
import os
from itertools import islice
from pathlib import Path

from jobhost_sdk import RetryLater, UnrecoverableError, handler

ROWS_AT_ONCE = 500
"""Rows between two checkpoints: what a run that is cut off writes anew at most."""


@handler(
    "dataExport",
    timeout="10m",
    input={
        "type": "object",
        "required": ["source", "target"],
        "properties": {
            "source": {"type": "string"},
            "target": {"type": "string"},
            "format": {"enum": ["csv", "json"]},
            "columns": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
    },
)
def data_export(job, ctx):
    """Export `columns` (by default all) of the file `source` to the file `target`, which is there only when it is whole.

    Gives `{"file", "rows", "bytes", "sha256", "resumed_at"}`.
    """
    target = Path(job.data["target"])
    form = FORMS[job.data.get("format", "csv")]
    begun = ctx.state.get("written", {"rows": 0, "bytes": 0})
    rows = begun["rows"]
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(job.data["source"], newline="", encoding="utf-8") as source, open(part, "r+b" if rows else "wb") as file:
        reader = csv.DictReader(source)
        columns = chosen(job.data.get("columns"), reader.fieldnames)
        file.truncate(begun["bytes"])  # what a run wrote after its last checkpoint is written again
        file.seek(begun["bytes"])
        total = count(job.data["source"])
        if not rows:
            file.write(form.begin(columns))
        left = islice(reader, rows, None)
        while some := list(islice(left, ROWS_AT_ONCE)):
            file.write(form.rows([{name: row[name] for name in columns} for row in some], first=not rows))
            rows += len(some)
            checkpoint(file, ctx, rows, total)
        file.write(form.end(rows))
    os.replace(part, target)
    return {
        "file": str(target),
        "rows": rows,
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "resumed_at": begun["rows"],
    }


def checkpoint(file, ctx, rows, total):
    """What is on the disk first, then the state: after a power cut the file may be longer than the state says, never shorter."""
    file.flush()
    os.fsync(file.fileno())
    ctx.state.set("written", {"rows": rows, "bytes": file.tell()})
    ctx.progress({"rows": rows, "percent": round(100 * rows / total)})
    if ctx.cancelled:
        raise RetryLater("1s", f"told to stop ({ctx.cancel_reason}) at row {rows}")


def count(source):
    """Rows of a CSV file, the header aside; a field may hold line ends."""
    with open(source, newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def chosen(asked, known):
    missing = [name for name in asked or () if name not in known]
    if missing:
        raise UnrecoverableError(f"the source has no column {missing[0]!r}; it has {', '.join(known)}")
    return asked or known


class Csv:
    """RFC 4180."""

    def begin(self, columns):
        return self._lines([columns])

    def rows(self, rows, first):
        return self._lines(row.values() for row in rows)

    def end(self, rows):
        return b""

    @staticmethod
    def _lines(rows):
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


class Json:
    """A list with one object a line."""

    def begin(self, columns):
        return b"["

    def rows(self, rows, first):
        lines = (json.dumps({key: number(text) for key, text in row.items()}, ensure_ascii=False) for row in rows)
        return (("\n" if first else ",\n") + ",\n".join(lines)).encode()

    def end(self, rows):
        return b"\n]\n" if rows else b"]\n"


FORMS = {"csv": Csv(), "json": Json()}


def number(text):
    """A number where it is written as one, so that nothing is lost: "007" and "1e3" stay texts."""
    for kind in (int, float):
        try:
            if str(kind(text)) == text and text not in ("inf", "-inf", "nan"):
                return kind(text)
        except ValueError:
            pass
    return text
