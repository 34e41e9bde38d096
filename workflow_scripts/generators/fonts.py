"""Fonts for the text simulator: files that can be drawn with, and how they are licensed.

The fonts that ship inside matplotlib's wheel are there on every machine that runs the workflow.
Symbol fonts and fonts without letters and digits are left out by name; of any source, a font that
lacks a wanted character or draws nothing for it is left out, so that no sample shows an empty box
or an empty picture.
"""

import hashlib
import unicodedata
from functools import cache
from pathlib import Path

import freetype

from workflow_scripts.problems import Problem

# Families in matplotlib/mpl-data/fonts/ttf that draw digits and both cases of the Latin letters.
# Licences: see docs/dependencies.md. Left out: cmex10, cmmi10, cmsy10 (mathematics: the digits and
# letters there are symbols or old-style), STIXNonUni*, STIXSiz* (symbols), DejaVuSansDisplay and
# DejaVuSerifDisplay (a handful of characters), LastResortHE (claims every character, draws boxes).
MATPLOTLIB_FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmr10",
    "cmss10",
    "cmti10",
    "cmtt10",
)


class FontProblem(Problem):
    """No usable font, or one that cannot draw the wanted text; the message names it."""


def matplotlib_font_folder() -> Path:
    """Where matplotlib's wheel keeps its fonts, without importing matplotlib (a second a job)."""
    from importlib.util import find_spec

    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise FontProblem("matplotlib, whose fonts the text simulator uses, is not installed")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


@cache
def can_draw(path: str, characters: frozenset[str]) -> bool:
    """Whether a font has a shape for each character, blanks excepted."""
    try:
        face = freetype.Face(path)
    except freetype.FT_Exception as error:
        raise FontProblem(f"{path}: not a readable font ({error})") from None
    for character in characters:
        index = face.get_char_index(character)
        if index == 0:
            return False
        try:
            face.load_glyph(index, freetype.FT_LOAD_NO_SCALE)
        except freetype.FT_Exception:  # damaged, or a bitmap
            return False
        if face.glyph.outline.n_points == 0 and not character.isspace():
            return False
    return True


def font_files(source: str) -> list[Path]:
    """The font files of a source, in a fixed order, whether or not they can draw what is wanted.

    Parameters
    ----------
    source : str
        `matplotlib`, or a folder that is searched for .ttf and .otf files, below it too.
    """
    if source == "matplotlib":
        folder = matplotlib_font_folder()
        return [folder / f"{name}.ttf" for name in MATPLOTLIB_FONTS]
    folder = Path(source)
    if not folder.is_dir():
        raise FontProblem(f"{source}: no such folder of fonts")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".ttf", ".otf"})
    if not files:
        raise FontProblem(f"{source}: no .ttf or .otf file in this folder")
    return files


def font_listing(source: str) -> list[str]:
    """Name and SHA-256 of every font file: what tells one collection of fonts from another."""
    return [
        f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
        for file in font_files(source)
    ]


def find_fonts(source: str, texts: tuple[str, ...]) -> list[Path]:
    """The fonts of a source that can draw every one of `texts`, in a fixed order.

    Raises
    ------
    FontProblem
        If the source does not exist, none of its fonts can draw all the texts, or a text is in a
        script whose characters cannot just stand side by side.
    """
    for text in texts:
        if len(text) > 1 and any(map(_needs_shaping, text)):
            raise FontProblem(
                f"{text!r}: found a script that joins, stacks or reverses characters; allowed: "
                "scripts that set them side by side from left to right, or single characters"
            )
    files = font_files(source)
    needed = frozenset("".join(texts))
    usable = [file for file in files if can_draw(str(file), needed)]
    if not usable:
        raise FontProblem(f"{source}: none of its {len(files)} fonts can draw {sorted(needed)}")
    return usable


def _needs_shaping(character: str) -> bool:
    return (
        unicodedata.bidirectional(character) in ("R", "AL")
        or unicodedata.category(character)[0] == "M"
    )
