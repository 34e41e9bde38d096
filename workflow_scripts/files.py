"""Files that are either whole or absent.

Every output is written under a temporary name in its own folder, flushed to disk and renamed, so
a reader never sees half a file, whatever kills the writer. Arrays are stored as safetensors: no
pickle, no code run on load, slices read without loading the rest.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from workflow_scripts.problems import Problem

METADATA = "metadata"
PART = ".part"  # how the names of temporary files and folders end
FULL = (errno.ENOSPC, errno.EDQUOT)
# Of libraries in other languages, which do not raise OSError.
NO_SPACE = "No space left on device|Disk quota exceeded"


class FileProblem(Problem):
    """A file that is missing, damaged or not what its reader expects; the message names it."""


class FullDisk(FileProblem):
    """A file that there is no space for; nothing of it is left."""


@contextmanager
def room_for(path: str | Path) -> Iterator[None]:
    """Turn the error of a full disk, whichever library noticed it, into a `FullDisk`.

    Parameters
    ----------
    path : path
        What is written, for the message.
    """
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) not in FULL and not re.search(NO_SPACE, str(error)):
            raise
        raise FullDisk(
            f"{path}: no space left on its disk, or of its quota; nothing of it stays. Make "
            "room and start Snakemake again: it goes on from here"
        ) from error


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there in one step.

    Raises
    ------
    FullDisk
    """
    with room_for(path):
        _write_atomically(Path(path), write)


def _write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    with temporary(path, _new_file) as part:
        write(part)
        flush(part)
        part.chmod(0o666 & ~umask())
        os.replace(part, path)
    flush(path.parent)


def _new_file(**where) -> str:
    descriptor, name = tempfile.mkstemp(**where)
    os.close(descriptor)
    return name


@contextmanager
def temporary(path: Path, new: Callable[..., str]) -> Iterator[Path]:
    """A temporary file or folder beside `path` for its next content; removed if it is not moved.

    It is locked, by which other writers of `path` know that it is not left over from a killed one.
    Before it is, they may remove it; then there is another.

    Parameters
    ----------
    path : Path
    new : callable
        Makes it, as `tempfile.mkdtemp` does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    descriptor = None
    while descriptor is None:
        part = Path(new(dir=path.parent, prefix=f".{path.name}.", suffix=PART))
        descriptor = _lock(part)
    try:
        yield part
    finally:
        remove(part)
        os.close(descriptor)


def _lock(part: Path) -> int | None:
    """The descriptor that holds a lock; None if another process has removed the file."""
    try:
        descriptor = os.open(part, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    if part.exists():
        return descriptor
    os.close(descriptor)
    return None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files and folders that killed writers of `path` have left."""
    for leftover in path.parent.glob(f".{escape(path.name)}.{'?' * 8}{PART}"):
        with suppress(OSError):
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(leftover)
            finally:
                os.close(descriptor)


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def umask() -> int:
    """The process's; temporary files are private, results have the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made for that; wait while another process holds it.

    Raises
    ------
    FullDisk
    """
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "w")  # noqa: SIM115 — the block below is no matter of room
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content) -> None:
    """Write `content` as JSON with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path):
    """Read a JSON file; a damaged one is a `FileProblem` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileProblem(f"{path}: no such file") from error
    except ValueError as error:
        raise FileProblem(f"{path}: not valid JSON ({error})") from error


def write_arrays(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping | None = None
) -> None:
    """Write named arrays as one safetensors file.

    `metadata`, of JSON's types, says what made the arrays. It must hold no time and no host name:
    equal settings give equal bytes.
    """
    layout = {name: (array.dtype, array.shape) for name, array in arrays.items()}

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            offsets = _write_header(file, layout, metadata)
            for name, array in arrays.items():
                file.seek(offsets[name])
                file.write(np.ascontiguousarray(array))

    write_atomically(path, write)


def write_rows(
    path: str | Path,
    blocks: Iterable[Mapping[str, np.ndarray]],
    rows: int,
    metadata: Mapping | None = None,
) -> None:
    """Write arrays that come in blocks of rows, without ever holding more than a block.

    Parameters
    ----------
    path : path
        Of the safetensors file.
    blocks : iterable of mappings
        The same names in each, arrays of one length within a block. At least one block, which may
        be empty: it says what there is.
    rows : int
        In all blocks together.
    metadata : mapping, optional
        As in `write_arrays`.
    """

    def write(temporary: Path) -> None:
        offsets, start = None, 0
        with open(temporary, "wb") as file:
            for block in blocks:
                if offsets is None:
                    layout = {name: (a.dtype, (rows, *a.shape[1:])) for name, a in block.items()}
                    offsets = _write_header(file, layout, metadata)
                for name, array in block.items():
                    if array.shape[1:] != layout[name][1][1:] or array.dtype != layout[name][0]:
                        raise ValueError(f"{path}: blocks of {name} differ in shape or type")
                    file.seek(offsets[name] + start * array[:1].nbytes)
                    file.write(np.ascontiguousarray(array))
                start += len(array)
        if start != rows:
            raise ValueError(f"{path}: {start} rows came, {rows} were announced")

    write_atomically(path, write)


# safetensors' names of the types that are written here.
DTYPES = {
    np.dtype(name): code
    for name, code in {
        "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
        "float16": "F16", "float32": "F32", "float64": "F64", "bool": "BOOL",
    }.items()
}  # fmt: skip


def _write_header(file, layout: Mapping, metadata: Mapping | None) -> dict[str, int]:
    """Begin a safetensors file of the given layout (name → dtype, shape); where each array goes.

    Larger types come first, so that every array is aligned, and then names in order.
    """
    header, end = {}, 0
    if metadata:
        # One entry: a reader may return several in any order.
        header["__metadata__"] = {METADATA: json.dumps(metadata, sort_keys=True)}
    for name in sorted(layout, key=lambda name: (-layout[name][0].itemsize, name)):
        dtype, shape = layout[name]
        start, end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    data = file.tell()
    if end:
        # The space is taken now: a full disk is an error here, not a signal later.
        os.posix_fallocate(file.fileno(), 0, data + end)
    return {name: data + header[name]["data_offsets"][0] for name in layout}


def open_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, mapped into memory: only what is touched is read."""
    try:
        # The library checks the header; the arrays themselves are then mapped by NumPy.
        with safe_open(path, framework="numpy"):
            return _mapped(Path(path))
    except FileNotFoundError as error:
        raise FileProblem(f"{path}: no such file") from error
    except SafetensorError as error:
        raise FileProblem(f"{path}: not a readable safetensors file ({error})") from error


def _mapped(path: Path) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    codes = {code: dtype for dtype, code in DTYPES.items()}
    arrays = {}
    for name, entry in header.items():
        dtype, shape = codes[entry["dtype"]], tuple(entry["shape"])
        arrays[name] = (
            np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], shape)
            if math.prod(shape)
            else np.empty(shape, dtype)  # nothing cannot be mapped
        )
    return arrays


def read_arrays(path: str | Path, *names: str) -> dict[str, np.ndarray]:
    """Read the named arrays of a safetensors file, all of them if none is named."""
    try:
        with safe_open(path, framework="numpy") as stored:
            wanted = names or tuple(stored.keys())
            return {name: stored.get_tensor(name) for name in wanted}
    except FileNotFoundError as error:
        raise FileProblem(f"{path}: no such file") from error
    except SafetensorError as error:
        raise FileProblem(f"{path}: not a readable safetensors file ({error})") from error


def read_metadata(path: str | Path) -> dict:
    """The metadata that `write_arrays` stored; empty if there is none."""
    try:
        with safe_open(path, framework="numpy") as stored:
            return json.loads((stored.metadata() or {}).get(METADATA, "{}"))
    except FileNotFoundError as error:
        raise FileProblem(f"{path}: no such file") from error
    except (SafetensorError, ValueError) as error:
        raise FileProblem(f"{path}: not a readable safetensors file ({error})") from error


def digest(*parts: np.ndarray | bytes | str) -> str:
    """SHA-256, in hex, of the contents of arrays (type, shape, values) and strings."""
    whole = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            part = f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
        elif isinstance(part, str):
            part = part.encode()
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def claim_directory(directory: str | Path, settings: Mapping) -> None:
    """Write `settings.json` into a directory, or check the one that is there.

    A directory's name holds a hash of its settings; the file says what they are and is compared on
    every use, so results of other settings are never mixed in.

    Raises
    ------
    FileProblem
        If the directory belongs to other settings.
    """
    path = Path(directory) / "settings.json"
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        write_json(path, settings)
        return
    found = read_json(path)
    if found != settings:
        differing = sorted(
            key
            for key in {*found, *settings}
            if found.get(key, "absent") != settings.get(key, "absent")
        )
        raise FileProblem(
            f"{path}: this directory was made with other settings (differing: "
            f"{', '.join(differing)}); move it away or undo the change by hand"
        )
