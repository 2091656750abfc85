"""Tests of the handler, as a project of yours would have them: `pytest` in this folder."""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import pytest
from jobhost.testing import TestHost
from jobhost_sdk import UnrecoverableError
from jobhost_sdk.testing import Ran, run

EXPORT = Path(__file__).parent / "handlers" / "data_export.py"
AIRPORTS = str(files("vega_datasets") / "_data" / "airports.csv")
WEATHER = str(files("vega_datasets") / "_data" / "seattle-weather.csv")
ROWS = 3_376


def source_rows() -> list[dict[str, str]]:
    with open(AIRPORTS, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stopped_at(checkpoints: int, target: Path, **data: object) -> Ran:
    """A run that is told to stop after so many checkpoints."""
    return run(
        EXPORT,
        {"source": WEATHER, "target": str(target), **data},
        cancel_when=lambda ran: len(ran.progress) == checkpoints,
    )


def test_csv_holds_all_rows(tmp_path: Path) -> None:
    target = tmp_path / "out" / "airports.csv"
    ran = run(EXPORT, {"source": AIRPORTS, "target": str(target)})
    assert (ran.result["rows"], ran.result["resumed_at"]) == (ROWS, 0)
    with target.open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == source_rows()
    assert [step["rows"] for step in ran.progress] == [500, 1000, 1500, 2000, 2500, 3000, ROWS]
    assert ran.progress[-1]["percent"] == 100
    assert not target.with_name("airports.csv.part").exists()


def test_json_has_numbers_and_only_the_columns_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "airports.json"
    data = {"source": AIRPORTS, "target": str(target), "format": "json", "columns": ["iata", "latitude"]}
    assert run(EXPORT, data).result["rows"] == ROWS
    rows = json.loads(target.read_text("utf-8"))
    assert len(rows) == ROWS
    assert rows[0] == {"iata": "00M", "latitude": 31.95376472}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_second_attempt_goes_on_where_the_first_stopped(tmp_path: Path, form: str) -> None:
    whole, target = tmp_path / f"whole.{form}", tmp_path / f"cut.{form}"
    run(EXPORT, {"source": WEATHER, "target": str(whole), "format": form})
    first = stopped_at(2, target, format=form)
    assert first.state["written"]["rows"] == 1000
    assert "told to stop" in str(first.error)
    assert not target.exists()
    with target.with_name(target.name + ".part").open("ab") as file:
        file.write(b"half a row, of a run that was killed after its last checkp")
    data = {"source": WEATHER, "target": str(target), "format": form}
    second = run(EXPORT, data, state=first.store, attempt=2)
    assert second.result["resumed_at"] == 1000
    assert [step["rows"] for step in second.progress] == [1461]
    assert target.read_bytes() == whole.read_bytes()


def test_an_empty_table_is_one(tmp_path: Path) -> None:
    source = tmp_path / "empty.csv"
    source.write_text("a,b\n")
    for form, text in (("csv", "a,b\r\n"), ("json", "[]\n")):
        run(EXPORT, {"source": str(source), "target": str(tmp_path / form), "format": form})
        assert (tmp_path / form).read_bytes().decode() == text


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    ran = run(EXPORT, {"source": AIRPORTS, "target": str(tmp_path / "x"), "columns": ["icao"]})
    assert isinstance(ran.error, UnrecoverableError)
    assert "no column 'icao'; it has iata, name" in str(ran.error)


def test_a_host_tries_again_until_the_source_is_there(jobhost: TestHost, tmp_path: Path) -> None:
    late = tmp_path / "late.csv"
    jobhost.bundle(EXPORT)
    job = jobhost.enqueue("dataExport", {"source": str(late), "target": str(tmp_path / "out.csv")}, backoff="1h")
    jobhost.advance("1s")
    assert job.state == "delayed"
    assert job.error["type"] == "FileNotFoundError"
    late.write_text("a\n1\n")
    jobhost.run_until_idle()
    assert job.result["rows"] == 1
    assert job.progress == {"rows": 1, "percent": 100}
