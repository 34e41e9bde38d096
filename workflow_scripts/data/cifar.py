"""The binary version of CIFAR-10 and CIFAR-100: records of bytes in a .tar.gz archive.

A record is the label (CIFAR-100: the coarse one, then the fine one, which is used) and 3,072
pixels, channel by channel. The archive also names the classes, which are compared with the
declared ones. The Python version holds pickles, which are never opened.
"""

import gzip
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages, check_names

PIXELS = 3 * 32 * 32
CHUNK = 1 << 20


@dataclass(frozen=True)
class Variant:
    """The files of a variant's archive, and the number of label bytes in a record."""

    files: Mapping[str, Sequence[str]]
    names: str
    label_bytes: int


VARIANTS = {
    10: Variant(
        files={
            "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
            "test": ["test_batch.bin"],
        },
        names="batches.meta.txt",
        label_bytes=1,
    ),
    100: Variant(
        files={"train": ["train.bin"], "test": ["test.bin"]},
        names="fine_label_names.txt",
        label_bytes=2,
    ),
}


def read_cifar(
    archive: str | Path, variant: int, split: str, classes: Sequence[str], form: Form
) -> LabelledImages:
    """Read the `train` or `test` split of CIFAR-10 or CIFAR-100."""
    described = VARIANTS[variant]
    wanted = described.files[split]
    found = _members(archive, [*wanted, described.names])
    names = found[described.names].decode(errors="replace").split()
    check_names(names, classes, f"{archive}, {described.names}")
    record = described.label_bytes + PIXELS
    records = []
    for name in wanted:
        content = np.frombuffer(found[name], dtype=np.uint8)
        if content.size == 0 or content.size % record:
            raise DatasetProblem(
                f"{archive}, {name}: found {content.size} bytes; allowed: a multiple of {record}"
            )
        records.append(content.reshape(-1, record))
    images = np.empty((sum(map(len, records)), 32, 32, 3), dtype=np.uint8)
    labels = np.concatenate([rows[:, described.label_bytes - 1] for rows in records])
    start = 0
    for rows in records:
        planes = rows[:, described.label_bytes :].reshape(-1, 3, 32, 32)
        images[start : start + len(rows)] = planes.transpose(0, 2, 3, 1)
        start += len(rows)
    return LabelledImages(form.fit(images, str(archive)), labels.astype(np.int64))


def _members(archive: str | Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of the named files, wherever they lie in the archive; nothing is unpacked."""
    found = {}
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    name = Path(member.name).name
                    if name in names and member.isfile():
                        found[name] = members.extractfile(member).read()
                    elif "-py" in member.name:
                        raise DatasetProblem(
                            f"{archive}: this is the Python version, which holds pickles; "
                            "needs the binary version"
                        )
            while stream.read(CHUNK):  # to the end, where the checksum is
                pass
    except FileNotFoundError:
        raise DatasetProblem(f"{archive}: no such file") from None
    except DatasetProblem:
        raise
    except Exception as error:  # which one depends on where the archive is damaged
        raise DatasetProblem(f"{archive}: not a readable .tar.gz archive ({error})") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise DatasetProblem(f"{archive}: has no file {', '.join(missing)}")
    return found
