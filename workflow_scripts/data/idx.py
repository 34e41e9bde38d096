"""The idx format of MNIST: a big-endian header with type and dimensions, then the values.

Two bytes of zero, one for the type (0x08 is uint8, the only one of images and labels), one for the
number of dimensions, four for the length of each, and the values in C order. Gzipped or not.
"""

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages

UINT8 = 0x08
GZIPPED = b"\x1f\x8b"


def read_idx(images: str | Path, labels: str | Path, form: Form) -> LabelledImages:
    """Read a file of images [N, H, W] and one of labels [N]."""
    pixels, indices = read_array(images, dimensions=3), read_array(labels, dimensions=1)
    if len(pixels) != len(indices):
        raise DatasetProblem(
            f"found {len(pixels)} images in {images} and {len(indices)} labels in {labels}"
        )
    return LabelledImages(form.fit(pixels, str(images)), indices.astype(np.int64))


def read_array(path: str | Path, dimensions: int) -> np.ndarray:
    """An idx file's uint8 array; its header must agree with what follows, to the byte.

    Raises
    ------
    DatasetProblem
        If the file is missing, damaged, of another type or number of dimensions, or shorter or
        longer than its header says.
    """
    content = _content(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DatasetProblem(f"{path}: not an idx file (it begins with {content[:4].hex()!r})")
    if content[2] != UINT8:
        raise DatasetProblem(f"{path}: values of type 0x{content[2]:02x}; allowed: 0x08, uint8")
    if content[3] != dimensions:
        raise DatasetProblem(f"{path}: found {content[3]} dimensions, expected {dimensions}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DatasetProblem(f"{path}: the header is cut off after {len(content)} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise DatasetProblem(
            f"{path}: the header announces {'×'.join(map(str, shape))} = {math.prod(shape)} "
            f"values, found {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(path: str | Path) -> bytes:
    try:
        content = Path(path).read_bytes()
        return gzip.decompress(content) if content.startswith(GZIPPED) else content
    except FileNotFoundError:
        raise DatasetProblem(f"{path}: no such file") from None
    except Exception as error:  # which one depends on where the file is damaged
        raise DatasetProblem(f"{path}: not a readable file ({error})") from None
