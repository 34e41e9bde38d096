"""Resizing as PIL's bicubic filter does it, in batches on the device where the network runs.

How images are resized changes every embedding, and so votes and distances; clean-fid (Parmar et
al., arXiv 2104.11222) makes PIL's filter without rounding the reference. A resampling is linear and
separable: Y = A X Bᵀ per channel. Rows of A hold the cubic convolution kernel (Keys 1981, a = −½)
about the output pixel's centre, stretched when the image shrinks, cut at the border and normalised,
so that they are zero outside a narrow band. No loop over images is needed: a batch is a few matrix
products, one for each band of rows.
"""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

# Half-width of the kernel, in pixels of the coarser image.
SUPPORT = 2.0
# Output rows to a product: more would multiply by more zeros, fewer would be too small for a GEMM.
BAND = 64
# Images to a product: what lies between the two passes stays small.
CHUNK = 8
# PIL's weights for 8-bit images are multiples of 2⁻²².
FIXED_POINT = 1 << 22
# ITU-R 601 luma in 16-bit fixed point, as PIL has it.
LUMA = np.array([19595, 38470, 7471], np.uint32)


def cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' cubic convolution kernel; zero for |x| ≥ 2."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < SUPPORT, far, 0))


def resampling_matrix(found: int, wanted: int) -> np.ndarray:
    """A, float64 [wanted, found]: y = A x resamples a line of `found` pixels to `wanted`."""
    scale = found / wanted
    stretch = max(scale, 1.0)
    centre = (np.arange(wanted)[:, None] + 0.5) * scale
    pixel = np.arange(found)
    # PIL takes whole pixels: those between the ends of the support, rounded.
    first = np.trunc(centre - SUPPORT * stretch + 0.5)
    behind = np.trunc(centre + SUPPORT * stretch + 0.5)
    weights = cubic((pixel + 0.5 - centre) / stretch)
    weights = np.where((pixel >= first) & (pixel < behind), weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@cache
def _bands(found: int, wanted: int, rounded: bool) -> list[tuple[slice, slice, np.ndarray]]:
    """The non-zero blocks of the resampling matrix: (output rows, input rows, block).

    float32; with `rounded`, float64 with as many bits as PIL has: such weights times grey levels
    add up without any error, on any device and in any order.
    """
    matrix, bands = resampling_matrix(found, wanted), []
    if rounded:
        matrix = np.trunc(matrix * FIXED_POINT + np.copysign(0.5, matrix)) / FIXED_POINT
    matrix = matrix.astype(np.float64 if rounded else np.float32)
    for start in range(0, wanted, BAND):
        rows = slice(start, start + BAND)
        used = np.flatnonzero(matrix[rows].any(axis=0))
        columns = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((rows, columns, np.ascontiguousarray(matrix[rows, columns])))
    return bands


def _lengthwise(x: "torch.Tensor", size: int, rounded: bool) -> "torch.Tensor":
    """A x: [B, L, M] → [B, size, M]."""
    import torch

    if x.shape[1] == size:
        return x
    out = x.new_empty((len(x), size, x.shape[2]))
    for rows, columns, block in _bands(x.shape[1], size, rounded):
        torch.matmul(torch.from_numpy(block).to(x.device), x[:, columns], out=out[:, rows])
    return out


def _crosswise(x: "torch.Tensor", size: int, rounded: bool, out: "torch.Tensor") -> "torch.Tensor":
    """x Bᵀ: [B, L, M] → [B, L, size], written into `out`."""
    import torch

    if x.shape[2] == size:
        return out.copy_(x)
    # All lines of all images are the rows of one matrix.
    lines, resized = x.view(-1, x.shape[2]), out.view(-1, size)
    for rows, columns, block in _bands(x.shape[2], size, rounded):
        weights = torch.from_numpy(block).to(x.device)
        torch.mm(lines[:, columns], weights.T, out=resized[:, rows])
    return out


def resize_batch(
    images: np.ndarray,
    size: int,
    device: "torch.device",
    *,
    rounded: bool = False,
    out: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """Images as a network wants them, resized by matrix products.

    Equal to clean-fid's `build_resizer("clean")`, which is PIL's bicubic filter on float32 clipped
    to [0, 255], within 10⁻³ grey levels. With `rounded`, identical to PIL's filter on 8-bit images,
    as torchvision's and open_clip's transforms use it: whole levels, rounded and clipped after each
    of the two passes.

    Memory on the device: 4·N·C·size² bytes for the result, and below 16·8·C·(size + H)·(size + W).

    Parameters
    ----------
    images : uint8 [N, H, W, C]
    size : int
        Height and width of the result, in pixels.
    device : torch.device
    rounded : bool
        Whole grey levels.
    out : float32 [≥ N, C, size, size], optional
        Where to put the result, on the device. A loop over batches that passes it on saves the
        system's work of handing out fresh memory, which takes longer than the resizing.

    Returns
    -------
    float32 [N, C, size, size] in [0, 255]
    """
    import torch

    n, _, _, channels = images.shape
    out = torch.empty((n, channels, size, size), device=device) if out is None else out[:n]
    for start in range(0, n, CHUNK):
        part, place = images[start : start + CHUNK], out[start : start + CHUNK].view(-1, size, size)
        # PIL begins along the width, and with rounding the order matters: turn, and turn back.
        part = part.transpose((0, 3, 2, 1) if rounded else (0, 3, 1, 2)).copy()
        x = torch.from_numpy(part).to(device).flatten(0, 1)
        if rounded:
            x = _round(_lengthwise(x.double(), size, rounded))
            x = _round(_crosswise(x, size, rounded, x.new_empty(place.shape)))
            place.copy_(x.mT)
        else:
            _crosswise(_lengthwise(x.float(), size, rounded), size, rounded, place).clamp_(0, 255)
    return out


def _round(x: "torch.Tensor") -> "torch.Tensor":
    """To 8-bit grey levels, in place."""
    return x.add_(0.5).floor_().clamp_(0, 255)


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Grey as RGB by repetition, RGB as grey by ITU-R 601 luma; else the images as given.

    Parameters
    ----------
    images : uint8 [N, H, W, C], C of 1 or 3
    channels : {1, 3}
    """
    if images.shape[3] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=3)
    return ((images @ LUMA + (1 << 15)) >> 16).astype(np.uint8)[..., None]


def fit(images: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Images of another shape, by PIL's bicubic filter on 8-bit pixels; equal ones as given.

    Memory: that of the result and one image.

    Parameters
    ----------
    images : uint8 [N, H, W, C], C of 1 or 3
    size : int
        Height and width of the result, in pixels.
    channels : {1, 3}

    Returns
    -------
    uint8 [N, size, size, channels]
    """
    if images.shape[1:] == (size, size, channels):
        return images
    fitted = np.empty((len(images), size, size, channels), np.uint8)
    for image, place in zip(images, fitted, strict=True):
        # Grey is repeated after resizing and colour dropped before: fewer channels are resized.
        image = to_channels(image[None], min(channels, image.shape[2]))[0]
        plain = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        resized = np.asarray(plain.resize((size, size), Image.Resampling.BICUBIC))
        place[:] = resized.reshape(size, size, -1)
    return fitted
