"""The avatar simulator of Sim-PE (arXiv 2502.05505): cartoon faces with sixteen attributes.

RANDOM draws the attributes as python_avatars does; VARIATION keeps each of the parent's with
probability 1 − p and draws the others anew. The attributes travel with a sample as state.

A face is a stack of layers. python_avatars keeps every part (a mouth, a hair style) in an SVG file
of its own, with slots for other parts and with elements that take a colour. Each file is cut at its
slots, and each piece is rasterised once, in black and in white: its pixels are linear in its
colour. A picture is then ten multiply-adds of small arrays instead of one SVG of a thousand curves.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import python_avatars as pa
import resvg_py
from PIL import Image, ImageColor

from workflow_scripts.generators.population import Population

Crop = tuple[int, int, int, int]  # left, upper, right, lower
# A face is painted on at least so many pixels a side and then reduced. On a small canvas, what lies
# below shines through where the edges of two layers coincide.
CANVAS = 96


def _values(kind: type) -> tuple:
    """All values of an attribute; a sample's state is an index into them."""
    return tuple(sorted(kind.get_all(), key=lambda value: (type(value).__name__, value.name)))


ATTRIBUTES = {
    "style": _values(pa.AvatarStyle),
    "background_color": _values(pa.BackgroundColor),
    "top": _values(pa.TopType),
    "hat_color": _values(pa.ClothingColor),
    "eyebrows": _values(pa.EyebrowType),
    "eyes": _values(pa.EyeType),
    "nose": _values(pa.NoseType),
    "mouth": _values(pa.MouthType),
    "facial_hair": _values(pa.FacialHairType),
    "skin_color": _values(pa.SkinColor),
    "hair_color": _values(pa.HairColor),
    "facial_hair_color": _values(pa.HairColor),
    "accessory": _values(pa.AccessoryType),
    "clothing": _values(pa.ClothingType),
    "clothing_color": _values(pa.ClothingColor),
    "shirt_graphic": _values(pa.ClothingGraphic),
}
# Every other draw is this value: so does `python_avatars.Avatar.random`.
FAVOURED = {"facial_hair": pa.FacialHairType.NONE, "accessory": pa.AccessoryType.NONE}

# The elements of a part's drawing that another attribute fills, with a part or with a colour.
ON_THE_HEAD = {"Facial-Hair": "facial_hair", "Accessory": "accessory"}
SLOTS = {
    pa.AvatarStyle: {
        "Clothing": "clothing",
        "Mouth": "mouth",
        "Nose": "nose",
        "Eyes": "eyes",
        "Eyebrow": "eyebrows",
        "Top": "top",
    },
    pa.HairType: ON_THE_HEAD,
    pa.HatType: ON_THE_HEAD,
    pa.ClothingType: {"Graphic": "shirt_graphic"},
}
COLOURED = {
    pa.AvatarStyle: {"Background-Color": "background_color", "Skin-Color": "skin_color"},
    pa.HairType: {"Hair-Color": "hair_color"},
    pa.HatType: {"Fabric-Color": "hat_color"},
    pa.ClothingType: {"Fabric-Color": "clothing_color"},
    pa.FacialHairType: {"Facial-Hair-Color": "facial_hair_color"},
}
RGB = {
    colour: np.array(ImageColor.getrgb(colour.value), dtype=np.float32)[:, None, None]
    for values in ATTRIBUTES.values()
    for colour in values
    if colour.value.startswith("#")
}


class AvatarSimulator:
    """Faces of python_avatars on their disc or on black; labels are ignored and inherited.

    Parameters
    ----------
    settings : mapping
        An avatar entry of generators.yaml, with all its keys (`AvatarGenerator`).
    """

    def __init__(self, settings: Mapping):
        self.crop = tuple(settings["crop"])
        self.image_size = settings["image_size"]
        self.side = self.image_size * ceil(CANVAS / self.image_size)

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: one face per label (int64 [N]).

        Attributes are uniform over their values, except that every other face has no facial hair
        and every other one no accessory for certain.
        """
        return self._render(labels, {name: _draw(name, len(labels), rng) for name in ATTRIBUTES})

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: one face per sample.

        Parameters
        ----------
        degree : mapping
            `attributes`: the probability, for each attribute, that it is drawn anew.
        """
        n = len(population)
        state = {}
        for name in ATTRIBUTES:
            anew = rng.random(n) < degree["attributes"]
            state[name] = np.where(anew, _draw(name, n, rng), population.state[name])
        return self._render(population.labels, state)

    def _render(self, labels: np.ndarray, state: dict[str, np.ndarray]) -> Population:
        size = (self.image_size, self.image_size)
        images = np.empty((len(labels), *size, 3), dtype=np.uint8)
        columns = [
            [values[index] for index in state[name].tolist()] for name, values in ATTRIBUTES.items()
        ]
        for row, values in enumerate(zip(*columns, strict=True)):
            avatar = dict(zip(ATTRIBUTES, values, strict=True))
            canvas = np.zeros((3, self.side, self.side), dtype=np.float32)
            self._paint(canvas, avatar, avatar["style"], SLOT)
            # A rounding error of the rasteriser must not turn white into black.
            levels = canvas.round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
            drawn = Image.fromarray(np.ascontiguousarray(levels))
            images[row] = drawn.resize(size, Image.Resampling.BICUBIC)
        return Population(images, np.asarray(labels, dtype=np.int64), state)

    def _paint(self, canvas: np.ndarray, avatar: Mapping, part, frame: str) -> None:
        """Lay a part and the parts in its slots over the canvas, from back to front."""
        for content in _contents(part, frame, self.crop, self.side):
            if isinstance(content, Layer):
                below = canvas[content.window]
                below *= content.clear
                below += content.paint
                for attribute, tint in content.tints:
                    below += tint * RGB[avatar[attribute]]
            else:
                inner = avatar[content.attribute]
                if inner.value:  # else it is NONE
                    self._paint(canvas, avatar, inner, content.frame)


def _draw(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    values = ATTRIBUTES[name]
    drawn = rng.integers(len(values), size=n, dtype=np.uint8)
    if name in FAVOURED:
        favoured = np.uint8(values.index(FAVOURED[name]))
        drawn = np.where(rng.random(n) < 0.5, favoured, drawn)
    return drawn


@dataclass(frozen=True)
class Layer:
    """A rasterised piece: over a canvas c it gives clear · c + paint + Σ tint · colour.

    Attributes
    ----------
    window : tuple of slices
        The part of the canvas [3, side, side] that is not left as it is, [3, h, w].
    clear : float32 [h, w]
        1 − opacity.
    paint : float32 [3, h, w]
        Levels (0 to 255) times opacity, of what has a fixed colour.
    tints : tuple of (attribute, float32 [h, w])
        The share of each pixel that takes the attribute's colour.
    """

    window: tuple[slice, slice, slice]
    clear: np.ndarray
    paint: np.ndarray
    tints: tuple[tuple[str, np.ndarray], ...]


@dataclass(frozen=True)
class Slot:
    """Where the part that `attribute` names is drawn: inside `frame`, nested groups as SVG."""

    attribute: str
    frame: str


# Stands in a frame where the part goes.
SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"
SVG = "{http://www.w3.org/2000/svg}"
# What other elements refer to; it draws nothing where it stands.
RESOURCES = {SVG + name for name in ("defs", "mask")}


@cache
def _contents(part, frame: str, crop: Crop, side: int) -> tuple[Layer | Slot, ...]:
    """The layers and slots of a part, from back to front."""
    colours = COLOURED.get(type(part), {})
    tinted = [(attribute, _pieces(part, white=name)) for name, attribute in colours.items()]
    contents = []
    for number, (slot, svg) in enumerate(_pieces(part)):
        if slot is not None:
            # What goes in there has ids of its own, often the same: every file has a `path-1`.
            inner = re.sub(r'\bid="|url\(#|href="#', rf"\g<0>{part.value}-", svg)
            contents.append(Slot(SLOTS[type(part)][slot], frame.replace(SLOT, inner)))
            continue
        black = _raster(frame.replace(SLOT, svg), crop, side)
        rows, columns = (np.flatnonzero(black[3].any(axis=axis)) for axis in (1, 0))
        if not len(rows):  # all of it lies outside the crop
            continue
        window = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        *paint, opacity = black[window]
        tints = []
        for attribute, pieces in tinted:
            _, white = pieces[number]
            if white != svg:
                red = _raster(frame.replace(SLOT, white), crop, side)[window][0]
                tints.append((attribute, (red - paint[0]) / 255))
        contents.append(Layer(window, 1 - opacity, np.array(paint), tuple(tints)))
    return tuple(contents)


def _pieces(part, white: str | None = None) -> list[tuple[str | None, str]]:
    """A part's drawing, cut at its slots: pieces of SVG from back to front.

    With the name of a slot comes its frame, with None what is drawn. Elements that take a colour
    are black, and the one with the id `white` is white.
    """
    folder = Path(pa.__file__).parent / type(part).__path__
    drawing = ET.parse(folder / f"{part.value}.svg").getroot()  # noqa: S314 — the package's own
    if isinstance(part, pa.ClothingGraphic) and part is not pa.ClothingGraphic.CUSTOM_TEXT:
        # A graphic's place on the shirt is in the package's code, not in its files.
        drawing.find(f"{SVG}g").set("transform", "translate(77 58)")
    for name in COLOURED.get(type(part), {}):
        element = drawing.find(f".//*[@id='{name}']")
        if element is not None:
            element.set("fill", "#FFFFFF" if name == white else "#000000")
    for element in drawing.iter():
        fill = element.get("fill", "none")
        if fill == "":
            # No colour, so the attribute does not count (SVG 1.1, F.2); resvg paints it black.
            del element.attrib["fill"]
        elif fill.startswith("url("):
            # python_avatars renames gradients but not the references to them: it draws none.
            element.set("fill", "none")
    return list(_cut(drawing, set(SLOTS.get(type(part), ()))))


def _cut(group: ET.Element, slots: set[str]) -> Iterator[tuple[str | None, str]]:
    """The pieces of a group's content; each of the slots counts once and is then removed."""
    shared = "".join(_text(child) for child in group if child.tag in RESOURCES)
    drawn = ""
    for child in (*group, None):
        if child is not None and slots.isdisjoint(inner.get("id") for inner in child.iter()):
            drawn += "" if child.tag in RESOURCES else _text(child)
            continue
        if drawn:
            yield None, shared + drawn
            drawn = ""
        if child is None:
            return
        name = child.get("id")
        # A frame has no ids of its own: equal frames of different parts are then the same text.
        frame = ET.Element(child.tag, {k: v for k, v in child.attrib.items() if k != "id"})
        frame.text = SLOT
        if name in slots:
            slots.remove(name)
            yield name, _text(frame)
            continue
        for slot, inner in _cut(child, slots):
            svg = _text(frame).replace(SLOT, inner)
            yield slot, shared + svg if slot is None or "url(#" in svg else svg


def _text(element: ET.Element) -> str:
    return ET.tostring(element, encoding="unicode")


def _raster(svg: str, crop: Crop, side: int) -> np.ndarray:
    """Red, green and blue levels times opacity, and opacity: float32 [4, side, side]."""
    left, upper, right, lower = crop
    document = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" '
        f'viewBox="{left} {upper} {right - left} {lower - upper}">{svg}</svg>'
    )
    # Without fonts, so that no picture depends on those of the machine.
    png = resvg_py.svg_to_bytes(svg_string=document, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGBA"), dtype=np.float32).transpose(2, 0, 1)
    opacity = pixels[3:] / 255
    return np.concatenate([pixels[:3] * opacity, opacity])
