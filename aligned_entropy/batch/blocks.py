"""Predictions for many rows: blocks of Parquet files in, one Parquet file for each block out, locally or on Ray.

The file of a block appears when it is complete and is not computed again, so a worker that dies loses and repeats no
row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.files.reading import IN_PIECES
from ..data.files.rows import InputRow, InputTable
from ..display.progress import Progress, no_report
from ..errors import DataError
from ..execution import Engine, map_items
from .accuracy import read_bases, write_bases
from .counts import RowCounts
from .folders import as_metadata, claim_folder, open_folder, stored_counts
from .job import PredictionJob, with_text_columns
from .predict import predict_rows
from .writing import write_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from ..classifier import UncertainClassifier

ROWS_PER_BLOCK = 10_000


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a Parquet file.

    Attributes:
        number: number of the block among all blocks of the input.
        path: path of the Parquet file.
        row_group: number of the row group in the file.
        start: first row in the row group.
        rows: number of rows.
    """

    number: int
    path: str
    row_group: int
    start: int
    rows: int

    @property
    def part(self) -> str:
        """Name of the file with the predictions for the block."""
        return f"part-{self.number:06}.parquet"


@dataclass(frozen=True)
class BlockResult:
    """Result of a block.

    Attributes:
        counts: counts of the rows that were written.
        problem: reason why the block could not be written; None if it was.
    """

    counts: RowCounts
    problem: str | None = None


def blocks_of(source: str | Path) -> list[Block]:
    """Blocks of a Parquet file, or of all Parquet files in a folder, in order.

    Raises:
        DataError: there is no file, a file cannot be read, or two files have different columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = Path(source)
    paths = sorted(source.rglob("*.parquet")) if source.is_dir() else [source]
    if not paths or not paths[0].is_file():
        raise DataError(f"input {source}: there is no Parquet file; check the path, which is relative to {Path.cwd()}.")
    blocks: list[Block] = []
    first = None
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                schema, metadata = file.schema_arrow.remove_metadata(), file.metadata
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"input {path} cannot be read: {error}") from error
        first = schema if first is None else first
        if schema != first:
            raise DataError(
                f"input {path} has the columns {_column_types(schema)}, but {paths[0]} has {_column_types(first)}: "
                "all files need the same columns."
            )
        for row_group in range(metadata.num_row_groups):
            rows = metadata.row_group(row_group).num_rows
            for start in range(0, rows, ROWS_PER_BLOCK):
                blocks.append(Block(len(blocks), str(path), row_group, start, min(ROWS_PER_BLOCK, rows - start)))
    return blocks


def _column_types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name!r}: {field.type}" for field in schema)


def predict_blocks(
    job: PredictionJob,
    load: Callable[[], UncertainClassifier],
    made_of: Mapping[str, Any],
    *,
    engine: Engine = "local",
    workers: int = 1,
    progress: Progress = no_report,
) -> RowCounts:
    """Predict the rows of Parquet files into a folder, one file for each block; finished blocks are skipped.

    Args:
        job: job with a Parquet file or a folder of them as input, and a folder as output.
        load: function that loads the classifier; every worker calls it, and it is pickled.
        made_of: settings that decide the predictions in addition to the job (names of model and head, options), for
            the record. Files and folders among them are recorded with size and time.
        engine: ``local`` or ``ray``, see :func:`~aligned_entropy.execution.map_items`.
        workers: number of Ray actors.
        progress: function that is called with the number of rows of every finished block.

    Returns:
        Counts of all rows in the folder, those of earlier runs included.

    Raises:
        DataError: a file cannot be read, another run is writing the folder, it holds predictions of another job or
            version, or some blocks failed; finished blocks stay.
    """
    folder, source = job.output_path, Path(job.source).resolve()
    if source in (folder, *folder.parents):
        raise DataError(f"output {folder} is inside the input folder {job.source}: name a folder outside it.")
    if source.parent == folder and not source.is_dir():
        raise DataError(f"output {folder} holds the input {job.source}, which could be replaced: name another folder.")
    blocks = blocks_of(job.source)
    if not blocks:
        raise DataError(f"{job.source} is empty: it has no rows.")
    with open_folder(folder):
        facts = {
            "job": job.facts | {"output": ""},
            "made of": {name: _state(value) for name, value in made_of.items()},
            "source": {path: _state(path) for path in dict.fromkeys(block.path for block in blocks)},
            "rows of a block": ROWS_PER_BLOCK,
        }
        claim_folder(folder, facts)
        finished = {block.part: stored_counts(folder / block.part) for block in blocks}
        missing = [block for block in blocks if finished[block.part] is None]
        counts = sum((part for part in finished.values() if part is not None), RowCounts())
        progress(counts.rows)
        problems: list[str] = []
        for result in map_items(engine, workers, partial(BlockWorker, load, job), missing) if missing else ():
            counts += result.counts
            progress(result.counts.rows)
            problems += [result.problem] if result.problem else []
    if problems:
        raise DataError(
            f"{len(problems)} of {len(blocks)} blocks failed; the others are in {folder}. Remove the cause and run the "
            f"same command again. The first error: {problems[0]}"
        )
    return replace(counts, bases=read_bases(folder))


def _state(value: Any) -> Any:
    """Value of a setting; for a file or a folder also size and time of all files, which show a change."""
    if not isinstance(value, str | Path) or not Path(value).exists():
        return value
    files = sorted(Path(value).rglob("*")) if Path(value).is_dir() else [Path(value)]
    stats = [(str(path), path.stat()) for path in files if path.is_file()]
    return [str(value), *([name, stat.st_size, stat.st_mtime_ns] for name, stat in stats)]


class BlockWorker:
    """Classifier that predicts blocks.

    Args:
        load: function that loads the classifier.
        job: job that the blocks belong to.

    Raises:
        DataError: the task of the classifier does not support an option of the job.
    """

    def __init__(self, load: Callable[[], UncertainClassifier], job: PredictionJob) -> None:
        self.classifier, self.job = load(), job
        self.columns = job.added_columns(self.classifier)
        self._reader: _RowGroupReader | None = None  # reader of the row group that was read last

    def __call__(self, block: Block) -> BlockResult:
        """Predict a block; its file appears when it is complete."""
        import pyarrow as pa

        try:
            read = self._read(block)
            input_columns = dict(zip(read.schema.names, read.schema.types, strict=True))
            rows = [InputRow(columns) for columns in read.to_pylist()]
            job = with_text_columns(self.job, self.classifier, InputTable(input_columns, iter(rows)))
            predicted = list(predict_rows(self.classifier, job, rows))
            counts = RowCounts.of_rows(predicted, self.columns)
            path = job.output_path / f"{block.part}.{os.getpid()}"
            write_rows(
                lambda: map(self.columns.joined, rows, predicted),
                input_columns,
                self.columns.types,
                str(path),
                "parquet",
                metadata=as_metadata(counts),
            )
            write_bases(job.output_path, self.classifier)
            path.replace(job.output_path / block.part)
        except (DataError, OSError, pa.ArrowException) as error:
            problem = f"{block.path}, row group {block.row_group}, from row {block.start}: {error}"
            return BlockResult(RowCounts(), problem)
        return BlockResult(counts)

    def _read(self, block: Block) -> pa.RecordBatch:
        """Read the rows of a block; blocks come in order, so an open row group is usually read on from its position."""
        reader, self._reader = self._reader, None  # a reader is not used again after an error
        if reader is None or not reader.can_reach(block):
            reader = _RowGroupReader(block)
        rows = reader.read(block)
        self._reader = reader
        return rows


class _RowGroupReader:
    """Reader of a row group from its start on; the rows of one block are in memory at a time."""

    def __init__(self, block: Block) -> None:
        import pyarrow.parquet as pq

        self.path, self.row_group, self.position = block.path, block.row_group, 0
        file = pq.ParquetFile(block.path, **IN_PIECES)
        self.batches = file.iter_batches(ROWS_PER_BLOCK, row_groups=[block.row_group])

    def can_reach(self, block: Block) -> bool:
        same_row_group = (self.path, self.row_group) == (block.path, block.row_group)
        return same_row_group and self.position <= block.start

    def read(self, block: Block) -> pa.RecordBatch:
        for _ in range(self.position, block.start, ROWS_PER_BLOCK):
            next(self.batches, None)
        rows, self.position = next(self.batches, None), block.start + ROWS_PER_BLOCK
        if rows is None or rows.num_rows != block.rows:
            raise DataError("the file has other rows than at the start of the run; run again into another folder.")
        return rows
