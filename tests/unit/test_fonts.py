"""Fonts: only those that draw letters and digits are used, and a bad one is named."""

import importlib.metadata
import importlib.util
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from workflow_scripts.generators import fonts
from workflow_scripts.generators.fonts import FontProblem, find_fonts

ALPHANUMERICS = tuple(string.digits + string.ascii_letters)
# What mathematics and last-resort fonts in matplotlib's wheel are called.
SYMBOLS = ("cmex", "cmmi", "cmsy", "STIXNonUni", "STIXSiz", "LastResort")


@pytest.fixture(scope="module")
def wheel() -> dict[str, Path]:
    """The fonts that matplotlib's wheel says it installed, by name."""
    files = importlib.metadata.files("matplotlib")
    return {f.stem: Path(f.locate()) for f in files if f.suffix == ".ttf"}


@pytest.fixture
def copy_font(wheel, tmp_path):
    """Copy a font into a folder, without some of its characters."""

    def copy(name: str, without: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with TTFont(wheel["cmtt10"]) as font:
            for table in font["cmap"].tables:
                table.cmap = {c: g for c, g in table.cmap.items() if chr(c) not in without}
            font.save(path)
        return path

    return copy


def drawn(path: Path, character: str) -> bytes:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).text((12, 6), character, fill=255, font=ImageFont.truetype(path, 36))
    return image.tobytes()


def test_every_listed_font_is_in_the_wheel_and_used(wheel):
    assert set(fonts.MATPLOTLIB_FONTS) <= wheel.keys()
    found = find_fonts("matplotlib", ALPHANUMERICS)
    assert found == [wheel[name] for name in fonts.MATPLOTLIB_FONTS]
    assert len(set(found)) == len(found) > 20


def test_symbol_fonts_and_the_last_resort_are_not_used(wheel):
    assert all(any(name.startswith(s) for name in wheel) for s in SYMBOLS)
    used = {path.stem for path in find_fonts("matplotlib", ALPHANUMERICS)}
    assert [name for name in used if name.startswith(SYMBOLS)] == []
    # The character map alone would not keep these out.
    for name in ("cmsy10", "cmmi10"):
        assert fonts.can_draw(str(wheel[name]), frozenset(ALPHANUMERICS))


def test_each_used_font_draws_each_character_in_its_own_way():
    for path in find_fonts("matplotlib", ALPHANUMERICS):
        images = {drawn(path, c) for c in ALPHANUMERICS}
        missing = drawn(path, "\U0010fff0")
        assert len(images) == len(ALPHANUMERICS) and missing not in images, path
        assert drawn(path, " ") not in images, path


def test_the_last_resort_draws_one_box_for_all_letters(wheel):
    """So the test above can fail."""
    assert len({drawn(wheel["LastResortHE-Regular"], c) for c in "ABC"}) == 1


def test_a_font_can_draw_what_its_character_map_has(copy_font):
    path = str(copy_font("some.ttf", without="3k"))
    assert fonts.can_draw(path, frozenset("2K"))
    assert not any(fonts.can_draw(path, frozenset(c)) for c in ("3", "k", "2k"))


def test_a_character_without_a_shape_cannot_be_drawn_but_a_blank_can(copy_font):
    path = copy_font("hollow.ttf")
    with TTFont(path) as font:
        names = font.getBestCmap()
        font["glyf"][names[ord("7")]] = font["glyf"][names[ord(" ")]]
        font.save(path)
    assert fonts.can_draw(str(path), frozenset("6 8"))
    assert not fonts.can_draw(str(path), frozenset("67"))


def test_a_font_without_a_wanted_character_is_left_out(copy_font, tmp_path):
    whole, partial = copy_font("whole.ttf"), copy_font("partial.ttf", without="7")
    assert find_fonts(str(tmp_path), ("6", "7")) == [whole]
    assert find_fonts(str(tmp_path), ("67",)) == [whole]
    assert find_fonts(str(tmp_path), ("6", "8")) == [partial, whole]


def test_no_font_with_the_wanted_characters_is_a_problem(copy_font, tmp_path):
    copy_font("partial.ttf", without="7")
    with pytest.raises(FontProblem) as problem:
        find_fonts(str(tmp_path), ("6", "7"))
    assert str(tmp_path) in str(problem.value) and "'7'" in str(problem.value)


def test_a_folder_is_searched_in_a_fixed_order_for_fonts_only(copy_font, tmp_path):
    paths = [copy_font(name) for name in ("z.ttf", "b/y.TTF", "a.otf", "b/c/x.ttf")]
    (tmp_path / "licence.txt").write_text("not a font")
    assert find_fonts(str(tmp_path), ("1",)) == sorted(paths)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FontProblem, match=str(tmp_path / "nowhere")):
        find_fonts(str(tmp_path / "nowhere"), ("1",))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(FontProblem, match=str(tmp_path)):
        find_fonts(str(tmp_path), ("1",))


DAMAGE = {
    "empty": lambda data: b"",
    "text": lambda data: b"this is not a font\n" * 100,
    "cut short": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_font_is_named(damage, wheel, copy_font, tmp_path):
    copy_font("good.ttf")
    bad = tmp_path / "bad.ttf"
    bad.write_bytes(DAMAGE[damage](wheel["cmtt10"].read_bytes()))
    with pytest.raises(FontProblem, match=str(bad)):
        find_fonts(str(tmp_path), ("1",))


def test_a_font_whose_shapes_are_damaged_is_left_out(wheel, copy_font, tmp_path):
    good = copy_font("good.ttf")
    data = wheel["cmtt10"].read_bytes()
    (tmp_path / "no-maxp.ttf").write_bytes(data.replace(b"maxp", b"maxq", 1))
    with TTFont(wheel["cmtt10"]) as font:
        table = font.reader.tables["glyf"]
    end = table.offset + table.length
    damaged = data[: table.offset] + b"\xff" * table.length + data[end:]
    (tmp_path / "no-shapes.ttf").write_bytes(damaged)
    assert find_fonts(str(tmp_path), ("1",)) == [good]


@pytest.mark.parametrize("text", ["מלה", "كلمة", "नमस्ते", "e\u0301"])
def test_a_script_that_joins_or_reverses_characters_is_refused(text):
    with pytest.raises(FontProblem, match=re.escape(repr(text))):
        find_fonts("matplotlib", ("1", text))


def test_single_characters_of_any_script_are_fine():
    assert find_fonts("matplotlib", ("א", "ب"))  # DejaVu Sans has both


def test_without_matplotlib_the_message_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FontProblem, match="matplotlib"):
        find_fonts("matplotlib", ("1",))


def test_the_listing_tells_collections_apart(copy_font, tmp_path):
    font = copy_font("a.ttf")
    listings = [fonts.font_listing(str(tmp_path))]
    copy_font("b.ttf")
    listings.append(fonts.font_listing(str(tmp_path)))
    data = font.read_bytes()
    font.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of the same size
    listings.append(fonts.font_listing(str(tmp_path)))
    assert len({tuple(listing) for listing in listings}) == 3
    assert [len(listing) for listing in listings] == [1, 2, 2]
    assert str(tmp_path) not in str(listings)  # a moved folder is the same collection


def test_the_text_simulator_imports_neither_matplotlib_nor_torch():
    script = (
        "import sys\n"
        "from workflow_scripts.generators import open_generator\n"
        "settings = dict(kind='text', image_size=8, channels=1, supersampling=4,"
        " fonts='matplotlib', texts=None, size=(24, 24), rotation=0, stroke=(0, 0), shift=0,"
        " foreground=(255, 255), background=(0, 0))\n"
        "open_generator(settings, ['0'])\n"
        "print(*{'matplotlib', 'torch'} & set(sys.modules), end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
