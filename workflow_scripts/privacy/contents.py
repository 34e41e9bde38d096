"""What a file holds, however it is packed: bytes, arrays, printed numbers, pixels.

Kinds of content are told by what is there, not by a name. What cannot be unpacked or parsed is
taken as the bytes that it is.
"""

import base64
import csv
import gzip
import io
import json
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from workflow_scripts.problems import Problem

DEPTH = 4  # of packages within packages
LARGEST = 2**30  # bytes that a package may unpack to

ZIP = b"PK\3\4"
BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
NUMBER = re.compile(rb"(?:(?<![\w.])-)?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)

# safetensors' names of types; bfloat16, which NumPy has not, is handled apart.
SAFETENSORS = {
    "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?",
}  # fmt: skip


class TooLarge(Problem):
    """A compressed file that unpacks to more than can be searched."""


def contents(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Name and bytes uint8 [n] of a file, mapped, and of all that is packed in it."""
    if path.stat().st_size:
        yield from _with_packed(path.name, np.asarray(np.memmap(path, np.uint8, "r")), path, DEPTH)


def _with_packed(
    name: str, data: np.ndarray, path: Path, depth: int
) -> Iterator[tuple[str, np.ndarray]]:
    yield name, data
    if depth:
        for inner, packed in _packed(name, data, path):
            if packed:
                content = np.frombuffer(packed, np.uint8)
                yield from _with_packed(inner, content, path, depth - 1)


def _packed(name: str, data: np.ndarray, path: Path) -> Iterator[tuple[str, bytes]]:
    """Members of a zip or gzip file, and what a text holds in base64."""
    head = data[:4].tobytes()
    with suppress(*DAMAGED):
        if head == ZIP:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for member in archive.namelist():
                    with archive.open(member) as file:
                        yield member, _read(file, path)
        elif head[:2] == b"\x1f\x8b":
            with gzip.open(io.BytesIO(data)) as file:
                yield name.removesuffix(".gz"), _read(file, path)
    if is_text(data):
        for match in BASE64.finditer(data):
            text = match[0].rstrip(b"=")
            if len(text) % 4 == 1:  # what no encoder writes: the run began or ends in other text
                text = text[:-1]
            yield name, base64.b64decode(text + b"===")


def _read(file, path: Path) -> bytes:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise TooLarge(f"{path}: unpacks to more than {LARGEST} bytes, which are not searched")
    return content


def is_text(data: np.ndarray) -> bool:
    """Whether bytes are text: there is no zero at the beginning."""
    return bool(data[: 2**16].all())


def numbers(data: np.ndarray) -> np.ndarray:
    """float64 [n]: the numbers that a text prints, in order; of other bytes, none."""
    if not is_text(data):
        return np.empty(0)
    text = BASE64.sub(b" ", data)
    return np.fromiter((float(match[0]) for match in NUMBER.finditer(text)), dtype=np.float64)


def pictures(data: np.ndarray) -> list[np.ndarray]:
    """uint8 [H, W]: the different channels of a PNG file, and [H, 3 W] its colours together."""
    from PIL import Image

    if data[:8].tobytes() != b"\x89PNG\r\n\x1a\n":
        return []
    with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.mode in ("L", "1"):
                return [np.asarray(image.convert("L"))]
            pixels = np.asarray(image.convert("RGBA"))
        channels = {pixels[..., i].tobytes(): pixels[..., i] for i in range(4)}
        return [*channels.values(), pixels[..., :3].reshape(len(pixels), -1)]
    return []


def arrays(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of numbers of a safetensors, NumPy, JSON or CSV file, by name."""
    for read in (_safetensors, _npy, _npz, _json, _csv):
        # Whatever a parser makes of bytes that are not its own.
        with suppress(ValueError, KeyError, TypeError, RecursionError, *DAMAGED):
            found = read(name, data)
            if found:
                return {key: array for key, array in found.items() if array.dtype.kind in "biuf"}
    return {}


def _safetensors(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    length = int.from_bytes(data[:8].tobytes(), "little")
    if data[8:9].tobytes() != b"{" or length > len(data) - 8:
        return {}
    found = {}
    for key, entry in json.loads(data[8 : 8 + length].tobytes()).items():
        if key != "__metadata__" and entry["dtype"] in ("BF16", *SAFETENSORS):
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            content = data[start:stop]
            if entry["dtype"] == "BF16":
                values = (content.view("<u2").astype("<u4") << 16).view("<f4")
            else:
                values = content.view(SAFETENSORS[entry["dtype"]])
            found[key] = values.reshape(entry["shape"])
    return found


def _npy(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    if data[:6].tobytes() != b"\x93NUMPY":
        return {}
    return {Path(name).stem: np.load(io.BytesIO(data), allow_pickle=False)}


def _npz(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    if data[:4].tobytes() != ZIP:
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > LARGEST:
            return {}
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files if isinstance(stored[key], np.ndarray)}


def _json(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    if data[:1].tobytes() not in (b"{", b"["):
        return {}
    return dict(_lists(Path(name).stem, json.loads(data.tobytes())))


def _lists(name: str, value) -> Iterator[tuple[str, np.ndarray]]:
    """Every list of numbers, of whatever shape, and every object that holds nothing else."""
    if not isinstance(value, dict | list) or not value:
        return
    parts = list(value.values() if isinstance(value, dict) else value)
    with suppress(ValueError):  # lists of several lengths
        array = np.array(parts)
        if array.dtype.kind in "biuf":
            yield name, array
            if isinstance(value, list):
                return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _lists(f"{name}.{key}", inner)


def _csv(name: str, data: np.ndarray) -> dict[str, np.ndarray]:
    if not is_text(data) or b"," not in data[: 2**12].tobytes():
        return {}
    header, *rows = csv.reader(io.StringIO(data.tobytes().decode()))
    if not rows:
        return {}
    found = {}
    for key, *column in zip(header, *rows, strict=True):
        with suppress(ValueError):  # a column of words
            found[key] = np.array([float(cell) if cell else math.nan for cell in column])
    return found
