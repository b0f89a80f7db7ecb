"""Many rows: Parquet in, Parquet out, in blocks, each of which is answered as a whole, wherever, and is there or not.

A block that is there is not answered again; a worker that dies leaves nothing half done, and loses or doubles no row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..execution import Engine, map_items
from ..features.files import write_atomic
from .answers import Job, answer_rows, settled
from .rows import Row, Table, write_rows

if TYPE_CHECKING:
    from ..classifier import UncertainClassifier

ROWS = 10_000  # of a block
JOB = "_job.json"  # in the output folder: what its parts are of; readers of Parquet folders pass it over


@dataclass(frozen=True)
class Block:
    """Rows of a Parquet file.

    Attributes:
        number: of all blocks.
        path: the file.
        group: its row group.
        start: first row in there.
        rows: their number.
    """

    number: int
    path: str
    group: int
    start: int
    rows: int

    @property
    def part(self) -> str:
        """Name of the file with its answers."""
        return f"part-{self.number:06}.parquet"


@dataclass(frozen=True)
class Done:
    """What became of a block: rows that were answered, those that have an error, and why it could not be done."""

    rows: int
    failed: int
    problem: str | None = None


def blocks_of(source: str | Path) -> list[Block]:
    """Blocks of a Parquet file, or of those in a folder, in order.

    Raises:
        DataError: there are none, one cannot be read, or one has other columns than the first.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = Path(source)
    paths = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not paths or not paths[0].is_file():
        raise DataError(f"input {source}: there is no Parquet file.")
    found: list[Block] = []
    first = None
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                schema, facts = file.schema_arrow.remove_metadata(), file.metadata
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"input {path} cannot be read: {error}") from error
        first = schema if first is None else first
        if schema != first:
            raise DataError(f"input {path} has the columns {_columns(schema)}, {paths[0]} has {_columns(first)}.")
        for group in range(facts.num_row_groups):
            rows = facts.row_group(group).num_rows
            for start in range(0, rows, ROWS):
                found.append(Block(len(found), str(path), group, start, min(ROWS, rows - start)))
    return found


def _columns(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def answer_blocks(
    job: Job,
    load: Callable[[], UncertainClassifier],
    made_of: Mapping[str, Any],
    *,
    engine: Engine = "local",
    workers: int = 1,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[int, int]:
    """Answer the rows of Parquet files into a folder, a part a block; what is there is not done again.

    Args:
        job: its source is a Parquet file or a folder of them, its output a folder.
        load: loads the classifier, in every worker; pickled.
        made_of: what decides the answers beside the job, for the record: names of model and head, options. Files and
            folders among them are looked at.
        engine: where.
        workers: with Ray, that many actors.
        progress: called with the number of rows of every part that is there.

    Returns:
        Rows that are answered now, and how many have an error of those answered in this run.

    Raises:
        DataError: a file cannot be read, the folder holds answers of another job, or blocks could not be done; what is
            finished stays.
    """
    folder = Path(job.output)
    if Path(job.source).resolve() in (folder.resolve(), *folder.resolve().parents):
        raise DataError(f"output {folder} is inside of the input {job.source}: take a folder beside it.")
    blocks = blocks_of(job.source)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, job, made_of, blocks)
    for left in folder.glob("part-*.parquet.*"):
        left.unlink()  # of a worker that died
    missing = [block for block in blocks if not (folder / block.part).exists()]
    rows = sum(block.rows for block in blocks) - sum(block.rows for block in missing)
    progress(rows)
    failed, problems = 0, list[str]()
    for done in map_items(engine, workers, partial(BlockWorker, load, job), missing) if missing else ():
        rows, failed = rows + done.rows, failed + done.failed
        progress(done.rows)
        problems += [done.problem] if done.problem else []
    if problems:
        raise DataError(
            f"{len(problems)} of {len(blocks)} blocks could not be done, the others are in {folder}; run again when "
            f"the reason is gone. The first: {problems[0]}"
        )
    return rows, failed


def _claim(folder: Path, job: Job, made_of: Mapping[str, Any], blocks: list[Block]) -> None:
    """Note what the folder's parts are of; another job must not mix with them."""
    seen = {name: _state(value) for name, value in made_of.items()}
    sources = {path: _state(path) for path in dict.fromkeys(block.path for block in blocks)}
    facts = {"job": asdict(replace(job, output="")), "made of": seen, "source": sources, "rows of a block": ROWS}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    path = folder / JOB
    if not path.exists():
        write_atomic(path, (json.dumps({"key": key} | facts, indent=2, default=str) + "\n").encode())
    elif json.loads(path.read_text())["key"] != key:
        raise DataError(f"output {folder} holds answers of another job, see {path}: take another folder, or remove it.")


def _state(value: Any) -> Any:
    """A setting; of a file or a folder what says that it has changed."""
    if not isinstance(value, str | Path) or not Path(value).exists():
        return value
    files = sorted(Path(value).rglob("*")) if Path(value).is_dir() else [Path(value)]
    stats = [(str(path), path.stat()) for path in files if path.is_file()]
    return [str(value), *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]


class BlockWorker:
    """A classifier that answers blocks.

    Args:
        load: loads the classifier.
        job: what is asked.
    """

    def __init__(self, load: Callable[[], UncertainClassifier], job: Job) -> None:
        self.classifier, self.job = load(), job
        job.check_task(self.classifier)
        self.group: _RowGroup | None = None  # the last one read

    def __call__(self, block: Block) -> Done:
        """Answer a block; its part appears when it is complete."""
        import pyarrow as pa

        try:
            read = self._read(block)
            known = dict(zip(read.schema.names, read.schema.types, strict=True))
            rows, added = [Row(columns) for columns in read.to_pylist()], self.job.added(self.classifier)
            job = settled(self.job, self.classifier, Table(known, iter(rows)))
            answers = list(answer_rows(self.classifier, job, rows))
            path = Path(job.output) / f"{block.part}.{os.getpid()}"
            write_rows(lambda: _joined(rows, answers), known, added, str(path), "parquet", job.accepted)
            path.replace(Path(job.output) / block.part)
        except (DataError, OSError, pa.ArrowException) as error:
            return Done(0, 0, f"{block.path}, row group {block.group}, from row {block.start}: {error}")
        return Done(len(rows), sum(answer[added[-1]] is not None for answer in answers))

    def _read(self, block: Block) -> Any:
        """Rows of a block. Blocks come in order, and a row group, however long, is read on where the last one ended."""
        group, self.group = self.group, None  # not to be read on after a failure
        if group is None or not group.leads_to(block):
            group = _RowGroup(block)
        rows = group.read(block)
        self.group = group
        return rows


class _RowGroup:
    """A row group that is read from its start on, with the rows of one block in memory."""

    def __init__(self, block: Block) -> None:
        import pyarrow.parquet as pq

        self.place, self.next = (block.path, block.group), 0
        self.batches = pq.ParquetFile(block.path).iter_batches(ROWS, row_groups=[block.group])

    def leads_to(self, block: Block) -> bool:
        return self.place == (block.path, block.group) and self.next <= block.start

    def read(self, block: Block) -> Any:
        for _ in range(self.next, block.start, ROWS):
            next(self.batches, None)
        rows, self.next = next(self.batches, None), block.start + ROWS
        if rows is None or rows.num_rows != block.rows:
            raise DataError("the file has other rows than when the run began; run again into another folder.")
        return rows


def _joined(rows: list[Row], answers: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from (row.columns | answer for row, answer in zip(rows, answers, strict=True))
