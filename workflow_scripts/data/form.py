"""The form that a data set declares for its images, and bringing images into it.

Pixels are used as they are stored. Where `resize` is declared, an image of another size is cropped
to its central square and resized with PIL's bicubic filter, which averages over the area that a
smaller pixel covers (antialiasing); colours become grey by the luma of ITU-R BT.601. Without
`resize` such an image is refused. A grey image in a set of colour images is repeated in all three
channels, which loses nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from workflow_scripts.data.labelled import DatasetProblem

GREY = ("1", "L", "LA")
# More than 8 bits: conversion would cut off everything above 255.
DEEP = ("I", "F")


@dataclass(frozen=True)
class Form:
    """Height = width, channels (1 or 3), and whether other images are brought into this form."""

    size: int
    channels: int
    resize: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.size, self.size, self.channels)

    def read(self, pictures: Iterable[tuple[str, Path | bytes]], count: int) -> np.ndarray:
        """Decode encoded images, one after the other, into one array.

        Parameters
        ----------
        pictures : iterable of (str, path or bytes)
            What to call an image in messages, and its file or content.
        count : int
            How many there are.

        Returns
        -------
        uint8 [count, size, size, channels]
        """
        images = np.empty((count, *self.shape), dtype=np.uint8)
        for i, (name, content) in enumerate(pictures):
            images[i] = self.decode(name, content)
        return images

    def decode(self, name: str, content: Path | bytes) -> np.ndarray:
        """One encoded image as uint8 [size, size, channels], or [size, size, 1] if it is grey."""
        try:
            with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as image:
                image.load()
        except FileNotFoundError:
            raise DatasetProblem(f"{name}: no such file") from None
        except Exception as error:  # which one a damaged image raises depends on its format
            raise DatasetProblem(f"{name}: not a readable image ({error})") from None
        return self._fitted(image, name)

    def fit(self, images: np.ndarray, name: str) -> np.ndarray:
        """Images that are arrays already: uint8 [N, H, W] or [N, H, W, C] → [N, *shape].

        What has the declared form already is returned as it is, not copied.
        """
        if images.ndim == 3:
            images = images[..., np.newaxis]
        allowed = images.ndim == 4 and images.shape[3] in (1, 3) and 0 not in images.shape[1:]
        if images.dtype != np.uint8 or not allowed:
            raise DatasetProblem(
                f"{name}: found images of type {images.dtype} and shape {images.shape[1:]}; "
                f"declared: uint8 {self.shape}"
            )
        if images.shape[1:] == self.shape:
            return images
        fitted = np.empty((len(images), *self.shape), dtype=np.uint8)
        for i, pixels in enumerate(images):
            grey = pixels.shape[2] == 1
            fitted[i] = self._fitted(Image.fromarray(pixels[..., 0] if grey else pixels), name)
        return fitted

    def _fitted(self, image: Image.Image, name: str) -> np.ndarray:
        if image.mode.startswith(DEEP):
            raise DatasetProblem(f"{name}: found mode {image.mode}; allowed: 8 bits a channel")
        grey = image.mode in GREY
        found = (image.height, image.width, 1 if grey else 3)
        if found not in (self.shape, (self.size, self.size, 1)) and not self.resize:
            raise DatasetProblem(
                f"{name}: found {'×'.join(map(str, found))}, declared "
                f"{'×'.join(map(str, self.shape))} (with resize: true it would be converted)"
            )
        image = image.convert("L" if grey or self.channels == 1 else "RGB")
        if image.size != (self.size, self.size):
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            # Cropped first: resizing with a box would mix in what lies outside it.
            square = image.crop((left, top, left + side, top + side))
            image = square.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(image).reshape(self.size, self.size, -1)
