"""Fonts: only those that draw letters and digits are used, and a bad one is named."""

import importlib.metadata
import importlib.util
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
    for name in ("LastResortHE-Regular", "cmsy10", "cmmi10"):
        assert set(ALPHANUMERICS) <= fonts.characters_of(str(wheel[name]))


def test_each_used_font_draws_each_character_in_its_own_way():
    for path in find_fonts("matplotlib", ALPHANUMERICS):
        images = {drawn(path, c) for c in ALPHANUMERICS}
        missing = drawn(path, "\U0010fff0")
        assert len(images) == len(ALPHANUMERICS) and missing not in images, path
        assert drawn(path, " ") not in images, path


def test_the_last_resort_draws_one_box_for_all_letters(wheel):
    """So the test above can fail."""
    assert len({drawn(wheel["LastResortHE-Regular"], c) for c in "ABC"}) == 1


def test_characters_of_a_font_are_those_that_it_can_draw(copy_font):
    path = copy_font("some.ttf", without="3k")
    known = fonts.characters_of(str(path))
    assert {"3", "k"}.isdisjoint(known) and {"2", "K"} <= known


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
    "no maxp table": lambda data: data.replace(b"maxp", b"maxq", 1),
    # The character map says that it has 258 tables instead of 2.
    "bad map": lambda data: data.replace(b"\0\0\0\2\0\1\0\0", b"\0\0\1\2\0\1\0\0", 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_font_is_named(damage, wheel, copy_font, tmp_path):
    copy_font("good.ttf")
    bad = tmp_path / "bad.ttf"
    bad.write_bytes(DAMAGE[damage](wheel["cmtt10"].read_bytes()))
    with pytest.raises(FontProblem, match=str(bad)):
        find_fonts(str(tmp_path), ("1",))


def test_without_matplotlib_the_message_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FontProblem, match="matplotlib"):
        find_fonts("matplotlib", ("1",))


def test_the_listing_tells_collections_apart(copy_font, tmp_path):
    font = copy_font("a.ttf")
    listings = [fonts.font_listing(str(tmp_path))]
    copy_font("b.ttf")
    listings.append(fonts.font_listing(str(tmp_path)))
    font.write_bytes(font.read_bytes() + b"\0")
    listings.append(fonts.font_listing(str(tmp_path)))
    assert len({tuple(listing) for listing in listings}) == 3
    assert [len(listing) for listing in listings] == [1, 2, 2]
    assert str(tmp_path) not in str(listings)  # a moved folder is the same collection


def test_the_text_simulator_imports_neither_matplotlib_nor_torch():
    script = (
        "import sys\n"
        "from workflow_scripts.generators import open_generator\n"
        "settings = dict(kind='text', image_size=8, supersampling=4, fonts='matplotlib',"
        " size=(24, 24), rotation=0, stroke=(0, 0), shift=0)\n"
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
