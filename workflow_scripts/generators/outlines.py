"""Pictures of text from the outlines of its characters, by FreeType.

An outline is scaled, turned, moved and thickened as a shape, and only then filled: a pixel's value
is the share of its area that is covered. No bitmap is resized or turned, and no shape is fitted to
the pixel grid (hinting), so that a step of any parameter shows as a step of the picture.

Most of the time that PIL takes for a small text goes into preparing the font for a size. Here
there is nothing to prepare: every picture costs the same, and only the outlines are kept.

FreeType computes in whole numbers, so equal parameters give equal bytes.
"""

import math
from array import array
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_long, c_short, c_ubyte, c_uint, cast
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import freetype
import numpy as np
from freetype import raw

# FreeType's units: 64ths of a pixel, and 65536ths in matrices.
PIXEL = 64
ONE = 65536
# What FreeType can count; a text with more leaves no ink.
MOST_POINTS = 2**15 - 1
# Some 5 kB for a character of an outline, 160 MB in all, and 20 kB for an open font.
KEPT_CHARACTERS = 2**15
KEPT_FONTS = 2**9


@dataclass(frozen=True, slots=True)
class Outline:
    """The shape of a text, in units of its font, of which `units` make the font size.

    `centre` is the middle of the bare shape's box, `border` tells which side of it is outside.
    """

    shape: Structure
    centre: tuple[float, float]
    border: int
    units: int


class Pen:
    """Draws texts into square pictures, in white on black.

    Parameters
    ----------
    fonts : sequence of path
    side : int
        Height and width of the pictures, S.
    longest : int
        Characters of the longest text: fewer outlines of longer texts are kept.
    """

    def __init__(self, fonts: Sequence[Path], side: int, longest: int):
        self.side = side
        self._library = freetype.get_handle()
        self._stroker = raw.FT_Stroker()
        raw.FT_Stroker_New(self._library, byref(self._stroker))
        self._work = _room(MOST_POINTS, MOST_POINTS)
        self._face = lru_cache(KEPT_FONTS)(lambda font: freetype.Face(str(fonts[font])))
        self._outline = lru_cache(max(1, KEPT_CHARACTERS // longest))(self._make_outline)

    def draw(
        self,
        texts: Sequence[str],
        fonts: Sequence[int],
        sizes: Sequence[float],
        strokes: Sequence[float],
        degrees: Sequence[float],
        shifts_x: Sequence[float],
        shifts_y: Sequence[float],
    ) -> np.ndarray:
        """One picture per text; what lies outside is cut off.

        Parameters
        ----------
        texts : [N]
        fonts : [N]
            Indices into the pen's fonts.
        sizes, strokes : [N]
            Font size, and the width of a line around the shape, in pixels.
        degrees : [N]
            Counter-clockwise, about the middle of the shape.
        shifts_x, shifts_y : [N]
            From the middle of the picture to that of the shape, in pixels to the right and down.

        Returns
        -------
        uint8 [N, S, S]
        """
        pictures = np.zeros((len(texts), self.side, self.side), dtype=np.uint8)
        bitmap = raw.FT_Bitmap(
            rows=self.side,
            width=self.side,
            pitch=self.side,
            num_grays=256,
            pixel_mode=freetype.FT_PIXEL_MODE_GRAY,
        )
        places = zip(sizes, degrees, shifts_x, shifts_y, strict=True)
        shapes = zip(fonts, texts, sizes, strokes, strict=True)
        for picture, (font, text, size, stroke), place in zip(
            pictures, shapes, places, strict=True
        ):
            bitmap.buffer = cast(picture.ctypes.data, POINTER(c_ubyte))
            if self._fill(bitmap, self._outline(font, text, stroke / size), *place):
                picture[...] = 0  # whatever was drawn before FreeType gave up
        return pictures

    def _fill(
        self, bitmap: Structure, outline: Outline, size: float, degrees: float, x: float, y: float
    ) -> int:
        """Draw one picture; not 0 if the shape is too large for FreeType."""
        scale, angle = size * PIXEL / outline.units, math.radians(degrees)
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        across, along = outline.centre
        # FreeType's y axis goes up.
        right = (self.side / 2 + x) * PIXEL - (cos * across - sin * along)
        up = (self.side / 2 - y) * PIXEL - (sin * across + cos * along)
        cos, sin = round(cos * ONE), round(sin * ONE)

        work = byref(_copy(outline.shape, self._work))
        raw.FT_Outline_Transform(work, byref(raw.FT_Matrix(cos, -sin, sin, cos)))
        raw.FT_Outline_Translate(work, c_long(round(right)), c_long(round(up)))
        return raw.FT_Outline_Get_Bitmap(self._library, work, byref(bitmap))

    def _make_outline(self, font: int, text: str, stroke: float) -> Outline:
        """A text's outline, or with a line around it of `stroke` times the font size."""
        if not stroke:
            return outline_of(self._face(font), text)
        bare = self._outline(font, text, 0)
        raw.FT_Stroker_Set(
            self._stroker,
            c_long(round(stroke * bare.units)),
            freetype.FT_STROKER_LINECAP_ROUND,
            freetype.FT_STROKER_LINEJOIN_ROUND,
            c_long(0),
        )
        points, contours = c_uint(), c_uint()
        failed = raw.FT_Stroker_ParseOutline(
            self._stroker, byref(bare.shape), False
        ) or raw.FT_Stroker_GetBorderCounts(
            self._stroker, bare.border, byref(points), byref(contours)
        )
        if failed or points.value > MOST_POINTS:
            shape = _room(0, 0)
        else:
            shape = _room(points.value, contours.value)
            # The outer border alone: what is inside it is filled.
            raw.FT_Stroker_ExportBorder(self._stroker, bare.border, byref(shape))
        return Outline(shape, bare.centre, bare.border, bare.units)


def outline_of(face: freetype.Face, text: str) -> Outline:
    """The outline of a text, its characters side by side with the font's advances and kerning."""
    points, tags, contours = array("l"), array("B"), array("h")
    start = 0
    indices = [face.get_char_index(character) for character in text]
    for index, following in pairwise([*indices, 0]):
        face.load_glyph(index, freetype.FT_LOAD_NO_SCALE)
        # FreeType's own structure: freetype-py's properties take longer than drawing a picture.
        glyph = face.glyph.outline._FT_Outline
        n = glyph.n_points
        if len(tags) + n > MOST_POINTS:
            del points[:], tags[:], contours[:]
            break
        contours.extend(len(tags) + end for end in glyph.contours[: glyph.n_contours])
        tags.extend(glyph.tags[:n])
        coordinates = array("l", cast(glyph.points, POINTER(c_long))[: 2 * n])
        coordinates[::2] = array("l", [start + x for x in coordinates[::2]])
        points.extend(coordinates)
        start += face.glyph.advance.x
        if following and face.has_kerning:
            start += face.get_kerning(index, following, freetype.FT_KERNING_UNSCALED).x
    shape = raw.FT_Outline(
        len(contours),
        len(tags),
        (raw.FT_Vector * len(tags)).from_buffer_copy(points),
        (c_ubyte * len(tags)).from_buffer_copy(tags),
        (c_short * len(contours)).from_buffer_copy(contours),
    )
    box = raw.FT_BBox()
    raw.FT_Outline_Get_BBox(byref(shape), byref(box))
    centre = (box.xMin + box.xMax) / 2, (box.yMin + box.yMax) / 2
    border = raw.FT_Outline_GetOutsideBorder(byref(shape))
    return Outline(shape, centre, border, face.units_per_EM)


def _room(points: int, contours: int) -> Structure:
    """An empty outline with room for so many."""
    return raw.FT_Outline(
        0, 0, (raw.FT_Vector * points)(), (c_ubyte * points)(), (c_short * contours)()
    )


def _copy(shape: Structure, room: Structure) -> Structure:
    room.n_points, room.n_contours = shape.n_points, shape.n_contours
    raw.FT_Outline_Copy(byref(shape), byref(room))
    return room
