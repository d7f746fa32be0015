"""Keep measured figures in files that are committed: `docs/results/*.json`; `robot.reports.page` makes a page of them.

A file holds `{"meta": {…}, "records": [{"method", "iteration", "task", "seed", "successes", "rollouts"}, …]}`, where
`meta["runs"]` lists the commands its records come from and a record's `run` is its place in that list. The records of
a benchmark have fields of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot.core.errors import SailError
from robot.core.files import write_whole

FIELDS = ("method", "iteration", "task", "seed", "successes", "rollouts")
ORIGIN = ("command", "revision", "hardware", "wall_time_s")
"""Where figures come from: fields of `meta` and of each of its runs."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """Hold one file of results: its name without `.json`, where it comes from, and its records."""

    name: str
    meta: Mapping[str, object]
    records: Sequence[Mapping[str, object]]

    @property
    def runs(self) -> Sequence[Mapping[str, object]]:
        """Return where the records come from, one mapping of `ORIGIN` a command; empty where the file does not say."""
        runs = self.meta.get("runs")
        if isinstance(runs, list) and runs:
            return [run for run in runs if isinstance(run, dict)]
        return [{name: self.meta[name] for name in ORIGIN if name in self.meta}] if "command" in self.meta else []

    @property
    def counts_successes(self) -> bool:
        """Return whether the records are success counts, with every one of `FIELDS`."""
        return bool(self.records) and all(set(FIELDS) <= set(record) for record in self.records)


def read_results(path: Path) -> ResultFile:
    """Read one file of results; raise SailError, naming the file and the record, when it is not of the form stated."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SailError(f"{path} is not JSON ({error}): make it again with the command in its `meta`.") from error
    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        raise SailError(f"{path} must hold an object with `meta` and a list of `records`.")
    result = ResultFile(path.stem, content.get("meta", {}), content["records"])
    if not all(isinstance(record, dict) and record for record in result.records):
        raise SailError(f"{path} must hold records that are objects with fields.")
    if any("method" in record for record in result.records):  # a benchmark may count successes, but of no method
        for number, record in enumerate(result.records):
            missing = [field for field in FIELDS if field not in record]
            if missing:
                raise SailError(f"Record {number} of {path} lacks {missing[0]!r}.")
            if not 0 <= count(record, "successes") <= count(record, "rollouts"):
                raise SailError(f"Record {number} of {path} has more successes than rollouts.")
    return result


def add_results(path: Path, records: Sequence[Mapping[str, object]], what: str, run: Mapping[str, object]) -> None:
    """Add success records to a file of results, each in place of the one with the same method, task, iteration, seed.

    `run` says where they come from, in the fields of `ORIGIN`; it becomes the file's `meta`, which also lists all runs
    that records in the file come from. The same command at the same revision on the same machine is one run, and a run
    whose records have all been replaced is forgotten. Raises SailError when the file there is of another form.
    """
    old = read_results(path) if path.exists() else ResultFile(path.stem, {"what": what}, [])
    if old.records and not old.counts_successes:
        raise SailError(f"{path} holds figures of another kind: give `save` another name.")
    # Of an old record it is not known which run it comes from; the same command given again is taken to replace it.
    told = all("run" in record for record in old.records)
    other = [one for one in old.runs if _same_run(one) != _same_run(run)]
    runs = [dict(one) for one in other if told or one.get("command") != run.get("command")] + [dict(run)]
    places = {_same_run(one): number for number, one in enumerate(runs)}
    kept = {_key(record): _placed(record, old.runs, places) for record in old.records}
    kept |= {_key(record): {field: record[field] for field in FIELDS} | {"run": len(runs) - 1} for record in records}
    if all("run" in record for record in kept.values()):  # else nobody knows which run an old record came from
        used = sorted({int(record["run"]) for record in kept.values()})
        runs = [runs[number] for number in used]
        for record in kept.values():
            record["run"] = used.index(int(record["run"]))
    ordered = sorted(kept.values(), key=lambda record: tuple(str(part).zfill(6) for part in _key(record)))
    lines = ",\n".join(f"  {json.dumps(record)}" for record in ordered)
    meta = {**old.meta, **run, "runs": runs}
    text = f'{{"meta": {json.dumps(meta, indent=1, ensure_ascii=False)},\n"records": [\n{lines}\n]}}\n'
    write_whole(path, text)


def _same_run(run: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(run.get(name) for name in ("command", "revision", "hardware"))


def _placed(
    record: Mapping[str, object], runs: Sequence[Mapping[str, object]], places: Mapping[tuple[object, ...], int]
) -> dict[str, Any]:
    """Return a record that is kept, its run's place as it is now; a file with one run needs not say which it was."""
    placed = dict(record)
    number = placed.pop("run", 0 if len(runs) == 1 else None)
    if isinstance(number, int) and 0 <= number < len(runs) and _same_run(runs[number]) in places:
        placed["run"] = places[_same_run(runs[number])]
    return placed


def _key(record: Mapping[str, object]) -> tuple[object, ...]:
    return (record["method"], record["task"], record["iteration"], record["seed"])


def count(record: Mapping[str, object], field: str) -> int:
    """Return a whole number that a record holds; raise SailError where it is something else."""
    value = record[field]
    if not isinstance(value, int) or isinstance(value, bool):
        raise SailError(f"The field {field!r} of a record must be a whole number, got {value!r}.")
    return value
