"""A user's own generator: the worked example, what is found and refused, and the contract."""

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from examples.shapes import Shapes
from workflow_scripts.configuration.generators import PythonGenerator
from workflow_scripts.configuration.model import Model
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.plugin import (
    PluginProblem,
    check_generator,
    load_user_class,
    source_digest,
)
from workflow_scripts.generators.population import Population

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/generators/python.md").read_text(encoding="utf-8")
NAMES = ("square", "disc", "cross")
LABELS = np.array([2, 0, 1, 1])
STRONG = {"place": 4, "radius": 1, "level": 30}
STILL = {"place": 0, "radius": 0, "level": 0}


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def entry(**changes) -> dict:
    (documented,) = yaml.safe_load(code_blocks("yaml")[0]).values()
    return _tuples(PythonGenerator, documented | changes).model_dump()


def _tuples(model: type[Model], content: dict) -> Model:
    # As a catalogue file is read: lists stand for tuples.
    as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return model.model_validate(as_tuples)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# The example


def test_the_example_keeps_the_contract():
    check_generator(Shapes(NAMES, size=16), LABELS, STRONG, STILL)


def test_the_documentation_has_the_example_in_full():
    source = (ROOT / "examples/shapes.py").read_text(encoding="utf-8")
    assert code_blocks("python")[-1] == source


def test_the_test_in_the_documentation_passes():
    (text,) = (block for block in code_blocks("python") if "check_generator(" in block)
    space: dict = {}
    exec(compile(text, "docs/generators/python.md", "exec"), space)
    space["test_shapes_keep_the_contract"]()


def test_the_entry_in_the_documentation_opens_the_example():
    generator = open_generator(entry(), NAMES)
    drawn = generator.random(LABELS, rng())
    expected = Shapes(NAMES, size=16, radius=[2, 5]).random(LABELS, rng())
    assert np.array_equal(drawn.images, expected.images)
    documented = yaml.safe_load(code_blocks("yaml")[1])["variation"]
    model = _tuples(PythonGenerator, yaml.safe_load(code_blocks("yaml")[0])["shapes"])
    assert documented.keys() == model.degrees.keys()


@pytest.mark.parametrize("radius", [3.0, 5.0])
def test_the_shapes_have_the_areas_of_geometry(radius):
    areas = {"square": 4 * radius**2, "disc": np.pi * radius**2, "cross": 20 / 9 * radius**2}
    state = {"x": 8.0, "y": 8.0, "radius": radius, "level": 255.0}
    parents = Population(
        np.zeros((3, 16, 16, 1), np.uint8),
        np.arange(3),
        {name: np.full(3, value) for name, value in state.items()},
    )
    images = Shapes(NAMES, size=16).vary(parents, STILL, rng()).images
    for name, image in zip(NAMES, images, strict=True):
        # Edges are smoothed over a pixel, which moves corners a little.
        assert abs(image.sum() / 255 - areas[name]) < 0.06 * areas[name] + 1, name


def test_a_class_that_cannot_be_drawn_is_named_in_one_line():
    with pytest.raises(PluginProblem, match=r"cannot draw \['hexagon'\]") as problem:
        open_generator(entry(), ("disc", "hexagon"))
    assert "\n" not in str(problem.value) and "examples.shapes:Shapes" in str(problem.value)


# Finding


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into a folder of its own and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def write(source: str, name: str = "own_generator") -> str:
        file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
        return name

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


GOOD = "class G:\n    def random(self): ...\n    def vary(self): ...\n"


def test_a_class_is_found_in_the_project_and_among_packages(module, tmp_path):
    assert load_user_class("examples.shapes:Shapes", ROOT) is Shapes
    assert load_user_class(f"{module(GOOD)}:G", tmp_path).__name__ == "G"
    module("", "parts.__init__")
    assert load_user_class(f"{module(GOOD, 'parts.inner')}:G", tmp_path).__name__ == "G"


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("no_such_module:G", "found no module 'no_such_module'"),
        ("examples.no_such:G", r"found no module 'examples.no_such'"),
        ("examples.shapes.deeper:G", "found no module"),
        ("..:G", "found no module"),
        (".examples:G", "found no module"),
        ("examples.shapes:Shape", r"no class 'Shape' in examples.shapes; it has \['Shapes'\]"),
        ("examples.shapes:disc", "no class 'disc'"),
        ("workflow_scripts.problems:Problem", "no method random and no vary"),
    ],
)
def test_what_is_not_there_is_named(class_path, message):
    with pytest.raises(PluginProblem, match=message) as problem:
        load_user_class(class_path)
    assert str(problem.value).startswith(f"{class_path}: ") and "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library\n", r"ModuleNotFoundError: .*no_such_library.*, line 1\)"),
        ("x = 1\nclass G\n", r"SyntaxError: .*own_generator.py, line 2"),
        ("\n\n1 / 0\n", r"ZeroDivisionError: .*own_generator.py, line 3\)"),
        ("import sys\nsys.exit('bye')\n", r"SystemExit: bye .*line 2\)"),
        ("raise ValueError('one\\ntwo')\n", "ValueError: one two"),
    ],
)
def test_a_module_that_cannot_be_imported_says_where_and_why(module, tmp_path, source, message):
    with pytest.raises(PluginProblem, match=message) as problem:
        load_user_class(f"{module(source)}:G", tmp_path)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("missing", ["random", "vary"])
def test_a_class_without_a_method_is_refused(module, tmp_path, missing):
    name = module(GOOD.replace(missing, "other"))
    with pytest.raises(PluginProblem, match=f"no method {missing}$"):
        load_user_class(f"{name}:G", tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 16, "colour": 3}, "unexpected keyword argument 'colour'"),
        ({}, "missing 1 required positional argument: 'size'"),
        ({"size": "wide"}, r"TypeError: .*shapes.py, line \d+\)"),
    ],
)
def test_refused_arguments_are_named_with_the_reason(settings, message):
    with pytest.raises(PluginProblem, match=message) as problem:
        open_generator(entry(settings=settings), NAMES)
    assert "examples.shapes:Shapes" in str(problem.value) and "\n" not in str(problem.value)


def test_adopts_needs_adopt():
    with pytest.raises(PluginProblem, match="no method adopt"):
        open_generator(entry(adopts=True), NAMES)


def test_files_are_handed_over(module):
    name = module(
        GOOD + "    def __init__(self, classes, k, files):\n        self.got = k, files\n"
    )
    changes = {"class": f"{name}:G", "settings": {"k": 3}, "files": ["a.npz", "b/c.txt"]}
    opened = open_generator(entry(**changes), NAMES)
    assert opened.generator.got == (3, ["a.npz", "b/c.txt"])


# The digest


def test_the_digest_is_that_of_the_file_which_is_not_imported(module, tmp_path):
    module("raise RuntimeError('imported')\n", "apart.__init__")
    for source in ("raise RuntimeError('imported')\n", "1 / 0\n"):
        name = module(source, "apart.inner")
        expected = hashlib.sha256(source.encode()).hexdigest()
        assert source_digest(f"{name}:G", tmp_path) == expected
    assert not {"apart", "apart.inner"} & set(sys.modules)


def test_the_digest_of_the_example_is_that_of_its_file():
    expected = hashlib.sha256((ROOT / "examples/shapes.py").read_bytes()).hexdigest()
    assert source_digest("examples.shapes:Shapes", ROOT) == expected


def test_the_project_goes_before_installed_packages(module, tmp_path):
    module("", "yaml_like.__init__")
    assert source_digest("yaml_like:G", tmp_path) == hashlib.sha256(b"").hexdigest()


def test_no_digest_without_a_file():
    for class_path in ("sys:G", "no_such_module:G", "examples.no_such:G"):
        with pytest.raises(PluginProblem, match="found no module"):
            source_digest(class_path)


# The contract: a good generator, and one that breaks each line of it


class Good:
    def random(self, labels, rng):
        level = rng.integers(256, size=len(labels))
        return self.drawn(labels, level)

    def vary(self, population, degree, rng):
        step = rng.integers(-degree["step"], degree["step"] + 1, size=len(population))
        return self.drawn(population.labels, np.clip(population.state["level"] + step, 0, 255))

    def drawn(self, labels, level):
        images = np.tile(level.astype(np.uint8)[:, None, None, None], (1, 2, 2, 1))
        return Population(images, labels, {"level": level})


BROKEN = []


def breach(message: str):
    """Marks a class that breaks the contract, and what is said of it."""

    def mark(broken: type) -> type:
        BROKEN.append(pytest.param(broken, message, id=broken.__name__))
        return broken

    return mark


class Changed(Good):
    """A good answer, changed."""

    def drawn(self, labels, level):
        return self.changed(super().drawn(labels, level))


@breach("random returned tuple; allowed: a Population")
class NoPopulation(Changed):
    def changed(self, p):
        return p.images, p.labels


@breach("random returned images float64")
class FloatImages(Changed):
    def changed(self, p):
        return Population(p.images / 255, p.labels, p.state)


@breach(r"random returned images of shape \(3, 2, 2, 1\) for 4 samples")
class TooFew(Changed):
    def changed(self, p):
        return Population(p.images[1:], p.labels, p.state)


@breach(r"random returned images uint8 \(2, 2\)")
class NoChannels(Changed):
    def changed(self, p):
        return Population(p.images[..., 0], p.labels, p.state)


@breach(r"random returned images uint8 \(2, 1, 1\)")
class NotSquare(Changed):
    def changed(self, p):
        return Population(p.images[:, :, :1], p.labels, p.state)


@breach(r"random returned images uint8 \(2, 2, 2\)")
class TwoChannels(Changed):
    def changed(self, p):
        return Population(p.images.repeat(2, axis=3), p.labels, p.state)


@breach("random returned other labels")
class Sorted(Changed):
    def changed(self, p):
        return Population(p.images, np.sort(p.labels), p.state)


@breach("random returned other labels")
class ShortLabels(Changed):
    def changed(self, p):
        return Population(p.images, p.labels.astype(np.int32), p.state)


@breach("random returned state 'level' of type list")
class ListState(Changed):
    def changed(self, p):
        return Population(p.images, p.labels, {"level": p.state["level"].tolist()})


@breach("random returned state 'level' of type <U")
class TextState(Changed):
    def changed(self, p):
        return Population(p.images, p.labels, {"level": p.state["level"].astype(str)})


@breach(r"random returned state 'level' of shape \(1,\) for 4 samples")
class ShortState(Changed):
    def changed(self, p):
        return Population(p.images, p.labels, {"level": p.state["level"][:1]})


@breach("vary returned the state {'level': 'float64")
class StateType(Good):
    def vary(self, population, degree, rng):
        p = super().vary(population, degree, rng)
        return Population(p.images, p.labels, {"level": p.state["level"] * 1.0})


@breach("vary returned the state {}; allowed: that of its parents, {'level': 'int64")
class StateLost(Good):
    def vary(self, population, degree, rng):
        p = super().vary(population, degree, rng)
        return Population(p.images, p.labels)


@breach("vary returned images uint8 .*; allowed: uint8 ")
class OtherSize(Good):
    def vary(self, population, degree, rng):
        p = super().vary(population, degree, rng)
        return Population(p.images.repeat(2, axis=1).repeat(2, axis=2), p.labels, p.state)


@breach("vary changed its parents")
class InPlace(Good):
    def vary(self, population, degree, rng):
        population.state["level"] //= 2
        return super().vary(population, degree, rng)


@breach("random gave two answers to one question")
class GlobalRandom(Good):
    def random(self, labels, rng):
        return self.drawn(labels, np.random.randint(0, 200, size=len(labels)))


@breach("vary gave two answers to one question")
class Counting(Good):
    calls = 0

    def vary(self, population, degree, rng):
        self.calls += 1
        varied = population.state["level"] ^ self.calls
        return self.drawn(population.labels, varied)


@breach("random gave one answer to 5 different rng")
class SeedOfItsOwn(Good):
    def random(self, labels, rng):
        return super().random(labels, np.random.default_rng(0))


@breach("random or vary changed an answer that it had given")
class Buffer(Good):
    def drawn(self, labels, level):
        p = super().drawn(labels, level)
        if len(labels) == 4:
            self.buffer = getattr(self, "buffer", p.images)
            self.buffer[:] = p.images
            return Population(self.buffer, p.labels, p.state)
        return p

    def vary(self, population, degree, rng):
        varied = super().vary(population, degree, rng)
        self.buffer[:] = 0
        return varied


@breach(r"vary at {'step': 0} returned other images than the parents', in their order")
class Turned(Good):
    def vary(self, population, degree, rng):
        p = super().vary(population, degree, rng)
        return Population(p.images[::-1], p.labels, p.state)


@breach("random returned images uint8 .*; allowed: uint8")
class EmptyWithoutShape(Changed):
    def changed(self, p):
        return p if len(p) else Population(p.images.reshape(0, 1, 1, 1), p.labels, p.state)


@breach("random returned the state {}")
class EmptyWithoutState(Changed):
    def changed(self, p):
        return p if len(p) else Population(p.images, p.labels)


def test_a_good_generator_passes():
    check_generator(Good(), LABELS, {"step": 40}, {"step": 0})
    check_generator(Good(), LABELS, {"step": 40})


@pytest.mark.parametrize(("broken", "message"), BROKEN)
def test_a_breach_of_the_contract_is_named(broken, message):
    with pytest.raises(PluginProblem, match=message) as problem:
        check_generator(broken(), LABELS, {"step": 40}, {"step": 0})
    assert str(problem.value).startswith(f"{broken.__name__}: ")
    assert "\n" not in str(problem.value)


# While the workflow runs


def opened(module, body: str, **changes):
    source = (
        "import numpy as np\n"
        "from workflow_scripts.generators.population import Population\n"
        "class G:\n"
        "    def __init__(self, classes): pass\n"
        "    def random(self, labels, rng):\n"
        "        return Population(np.zeros((len(labels), 8, 8, 1), np.uint8), labels)\n"
        "    def vary(self, population, degree, rng): return population\n" + body
    )
    fixed = {"class": f"{module(source)}:G", "settings": {}, "image": {"size": 8, "channels": 1}}
    return open_generator(entry(**fixed | changes), NAMES)


def test_answers_are_handed_on_as_they_are(module):
    generator = opened(module, "    def adopt(self, population, rng): return population\n")
    drawn = generator.random(LABELS, rng())
    assert drawn.images.shape == (4, 8, 8, 1) and drawn.labels.tolist() == LABELS.tolist()
    assert generator.vary(drawn, {}, rng()) is drawn and generator.adopt(drawn, rng()) is drawn


def test_images_of_another_shape_than_declared_end_the_job(module):
    generator = opened(module, "", image={"size": 16, "channels": 1})
    with pytest.raises(PluginProblem, match=r"own_generator:G: random .*\(8, 8, 1\).*\(16, 16, 1"):
        generator.random(LABELS, rng())


@pytest.mark.parametrize("method", ["random", "vary", "adopt"])
def test_every_answer_is_looked_at(module, method):
    arguments = {"random": "labels, rng", "vary": "population, degree, rng"}
    body = f"    def {method}(self, {arguments.get(method, 'population, rng')}): return None\n"
    generator = opened(module, body)
    parents = Population(np.zeros((4, 8, 8, 1), np.uint8), LABELS)
    calls = {"random": (LABELS, rng()), "vary": (parents, {}, rng()), "adopt": (parents, rng())}
    with pytest.raises(PluginProblem, match=f"{method} returned NoneType"):
        getattr(generator, method)(*calls[method])
