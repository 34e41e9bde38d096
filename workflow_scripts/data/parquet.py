"""Parquet files in the Hugging Face layout: a column of encoded images and one of labels.

An image is a struct of `bytes` and `path`, of which the bytes are used, or plain bytes. A label is
an index into the class list, or a class name. Where the file's schema names the classes, they are
compared with the declared ones.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import (
    DatasetProblem,
    LabelledImages,
    check_names,
    indices_of,
)

BATCH = 256
SPLITS = {"train", "validation", "test"}


def read_parquet(
    path: str | Path,
    image_column: str,
    label_column: str,
    classes: Sequence[str],
    form: Form,
) -> LabelledImages:
    """Read a file, or all .parquet files of a folder in the order of their names."""
    files = _files(Path(path))
    columns = (image_column, label_column)
    count = sum(_rows(file, columns, classes) for file in files)
    labels = np.empty(count, dtype=np.int64)

    def pictures() -> Iterator[tuple[str, bytes]]:
        start = 0
        for file in files:
            first = start  # of this file
            for images, batch in _batches(file, columns, classes):
                labels[start : start + len(batch)] = batch
                for row, content in enumerate(images, start - first):
                    if not content:
                        raise DatasetProblem(f"{file}, row {row}: {image_column} has no bytes")
                    yield f"{file}, row {row}", content
                start += len(batch)

    return LabelledImages(form.read(pictures(), count), labels)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.parquet"))
    if not files:
        raise DatasetProblem(f"{path}: no .parquet files in this folder")
    splits = sorted({file.name.split("-")[0] for file in files} & SPLITS)
    if len(splits) > 1:
        raise DatasetProblem(
            f"{path}: found files of several splits ({', '.join(splits)}); put each in a folder"
        )
    return files


def _rows(file: Path, columns: tuple[str, str], classes: Sequence[str]) -> int:
    """The number of rows of a file whose schema is as it must be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema, rows = pq.read_schema(file), pq.read_metadata(file).num_rows
    except FileNotFoundError:
        raise DatasetProblem(f"{file}: no such file") from None
    except Exception as error:  # which one depends on where the file is damaged
        raise _unreadable(file, error) from None
    for column in columns:
        if column not in schema.names:
            raise DatasetProblem(
                f"{file}: found columns {', '.join(schema.names)}; declared: {column}"
            )
    image, label = (schema.field(column).type for column in columns)
    bytes_field = image.field("bytes").type if _is_struct_with_bytes(image) else image
    if not (pa.types.is_binary(bytes_field) or pa.types.is_large_binary(bytes_field)):
        raise DatasetProblem(
            f"{file}, {columns[0]}: found {image}; allowed: encoded images, as binary or as "
            "struct<bytes: binary, path: string>"
        )
    if pa.types.is_dictionary(label):
        label = label.value_type
    if not (
        pa.types.is_integer(label)
        or pa.types.is_boolean(label)
        or pa.types.is_string(label)
        or pa.types.is_large_string(label)
    ):
        raise DatasetProblem(
            f"{file}, {columns[1]}: found {label}; allowed: integers, class names, true and false"
        )
    names = _stated_names(schema.metadata, columns[1])
    if names is not None:
        check_names(names, classes, f"{file}, {columns[1]}")
    return rows


def _unreadable(file: Path, error: Exception) -> DatasetProblem:
    reason = " ".join(str(error).split())  # pyarrow's messages may have several lines
    return DatasetProblem(f"{file}: not a readable Parquet file ({reason})")


def _is_struct_with_bytes(image) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(image) and image.get_field_index("bytes") >= 0


def _stated_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """The class names that `datasets` wrote into the schema for a column, if it did."""
    try:
        content = json.loads((metadata or {})[b"huggingface"])
        return [str(name) for name in content["info"]["features"][column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def _batches(
    file: Path, columns: tuple[str, str], classes: Sequence[str]
) -> Iterator[tuple[list[bytes | None], np.ndarray]]:
    """(encoded images, labels as indices), in batches of rows."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(file, pre_buffer=False) as table:
            for batch in table.iter_batches(BATCH, columns=list(columns)):
                images, labels = batch.column(columns[0]), batch.column(columns[1])
                if pa.types.is_struct(images.type):
                    images = pc.struct_field(images, "bytes")
                values = labels.to_pylist()
                if None in values:
                    raise DatasetProblem(
                        f"{file}, row {row + values.index(None)}: {columns[1]} is missing"
                    )
                if isinstance(values[0], str):
                    indices = indices_of(values, classes, str(file))
                else:
                    indices = np.array(values, dtype=np.int64)
                yield images.to_pylist(), indices
                row += len(values)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from None
