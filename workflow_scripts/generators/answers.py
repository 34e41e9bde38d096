"""Answers of a remote model: made into images, kept, and counted.

They cost money and cannot be had twice, so each is written at once, under the key of its request,
and what was paid is added up over all jobs in one file.
"""

import fcntl
import io
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from workflow_scripts.files import read_json, write_bytes, write_json

# No others: for some, Pillow starts programs.
FORMATS = ("PNG", "JPEG", "WEBP")


class Unreadable(Exception):
    """An answer without an image."""


def fitted(data: bytes, size: int, channels: int) -> np.ndarray:
    """A PNG, JPEG or WebP file as uint8 [size, size, channels].

    Transparent pixels become white. The largest square in the middle is kept and resized with
    Pillow's bicubic filter. Grey is the luma of ITU-R 601.

    Raises
    ------
    Unreadable
        If it is none of these.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode.startswith("I;16"):
                # Pillow would clip 16 bits to 8, not scale them.
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                ground = Image.new("RGBA", image.size, "white")
                ground.alpha_composite(image.convert("RGBA"))
                image = ground
            image = image.convert("L" if channels == 1 else "RGB")
    # Pillow's decoders fail in many ways.
    except Exception:
        raise Unreadable(f"{len(data)} bytes that are no image") from None
    side = min(image.size)
    left, upper = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, upper, left + side, upper + side))
    resized = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized).reshape(size, size, channels)


def png(image: np.ndarray) -> bytes:
    """uint8 [H, W, C] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


class AnswerCache:
    """Images by the key of their request, as `<2 digits>/<key>.png`.

    Parameters
    ----------
    folder : path or None
        None: nothing is kept.
    shape : (int, int, int)
        Height, width and channels of every image.
    """

    def __init__(self, folder: Path | None, shape: tuple[int, int, int]):
        self.folder = folder
        self.shape = shape

    def path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.png"

    def get(self, key: str) -> np.ndarray | None:
        """The kept image, uint8 [H, W, C]; None if there is none or it is damaged."""
        if self.folder is None:
            return None
        try:
            data = self.path(key).read_bytes()
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                # Reading alone does not compare checksums.
                image.verify()
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                return np.asarray(image).reshape(self.shape)
        # Pillow's decoders fail in many ways.
        except Exception:
            return None

    def put(self, key: str, image: np.ndarray) -> None:
        if self.folder is not None:
            write_bytes(self.path(key), png(image))


class Bill:
    """What one call asked and paid, added to the cost file that all jobs share.

    Counted are `requests` (with retries), `retries`, `cached` answers, `refused` variations and
    paid `images`; the file has the sum of their prices as `money`.

    Parameters
    ----------
    path : path or None
        Of the cost file; None: there is none.
    price : float
        Of an image, in any currency.
    """

    COUNTS = ("requests", "retries", "cached", "refused", "images")

    def __init__(self, path: Path | None, price: float):
        self.path = path
        self.price = price
        self.counts = Counter()
        self.settled = Counter()

    def add(self, **counts: int) -> None:
        self.counts.update(counts)

    def settle(self) -> None:
        """Add what is new to the cost file, to which other processes add as well."""
        new = self.counts - self.settled
        if self.path is None or not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.parent / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            so_far = read_json(self.path) if self.path.exists() else {}
            total = {name: so_far.get(name, 0) + new[name] for name in self.COUNTS}
            money = so_far.get("money", 0) + new["images"] * self.price
            write_json(self.path, {**total, "money": round(money, 6)})
        self.settled += new

    def __str__(self) -> str:
        n = self.counts
        return (
            f"{n['requests']} requests ({n['retries']} of them retries), {n['cached']} answers "
            f"from the cache, {n['refused']} variations refused, {n['images']} images paid: "
            f"{n['images'] * self.price:g}"
        )
