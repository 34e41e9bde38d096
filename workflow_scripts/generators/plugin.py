"""A user's own generator: found by its import path, opened, and held to the contract.

The contract is in docs/generators/python.md. A generator that breaks it would not fail but give
wrong images a good name, so every answer is checked where checking is cheap; `check_generator`
asks for the rest and belongs in the tests of the generator.
"""

import copy
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workflow_scripts.files import DTYPES
from workflow_scripts.generators.population import Population
from workflow_scripts.problems import Problem

SEEDS = 5


class PluginProblem(Problem):
    """A generator that is not there, cannot be opened or breaks the contract."""


def load_user_class(class_path: str, root: str | Path = ".") -> type:
    """The class that `module:Class` names, imported from the project's folder or from a package.

    Parameters
    ----------
    class_path : str
    root : path
        The project's folder; its modules go before installed ones of the same name.

    Raises
    ------
    PluginProblem
        If there is no such module or class, if the module cannot be imported, or if the class has
        no `random` or `vary`.
    """
    _source_file(class_path, root)
    module_name, name = class_path.split(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        cause = _cause(error)
        raise PluginProblem(f"{class_path}: importing {module_name} failed: {cause}") from error
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        classes = [key for key, value in vars(module).items() if _defined_in(value, module_name)]
        raise PluginProblem(
            f"{class_path}: found no class {name!r} in {module_name}; it has {classes}"
        )
    _require(found, class_path, "random", "vary")
    return found


def open_user_generator(settings: Mapping, classes: Sequence[str]) -> "UserGenerator":
    """The generator of a catalogue entry of kind `python`.

    Its class is called with the class names, with the entry's `settings` as keywords and, if there
    are any, with its `files`.

    Raises
    ------
    PluginProblem
        As `load_user_class`; and if the class refuses its arguments, or has no `adopt` though the
        entry says that it adopts.
    """
    class_path = settings["class_path"]
    user_class = load_user_class(class_path)
    if settings["adopts"]:
        _require(user_class, class_path, "adopt")
    given = {"files": list(settings["files"])} if settings["files"] else {}
    try:
        generator = user_class(list(classes), **settings["settings"], **given)
    except Problem:
        raise
    except Exception as error:
        raise PluginProblem(
            f"{class_path}: the class refused its arguments (settings: "
            f"{settings['settings']}): {_cause(error)}"
        ) from error
    return UserGenerator(generator, class_path, settings["image"])


def source_digest(class_path: str, root: str | Path = ".") -> str:
    """SHA-256, in hex, of the source file of a class's module, which is not imported.

    Other modules that it imports are not part of it.
    """
    return hashlib.sha256(_source_file(class_path, root).read_bytes()).hexdigest()


def _source_file(class_path: str, root: str | Path) -> Path:
    folder = str(Path(root).resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    module = class_path.split(":")[0]
    top, *rest = module.split(".")
    try:
        # A name without dots is found without running anything; its submodules are files below it.
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and not rest and spec.has_location:
        return Path(spec.origin)
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place, *rest)
        for file in (path / "__init__.py", path.parent / f"{path.name}.py"):
            if rest and file.is_file():
                return file
    raise PluginProblem(
        f"{class_path}: found no module {module!r}; allowed: a Python file under {folder}, or an "
        "installed one"
    )


def _require(user_class: type, class_path: str, *methods: str) -> None:
    missing = [name for name in methods if not callable(getattr(user_class, name, None))]
    if missing:
        raise PluginProblem(f"{class_path}: the class has no method {' and no '.join(missing)}")


def _defined_in(value: object, module_name: str) -> bool:
    return inspect.isclass(value) and value.__module__ == module_name


def _cause(error: BaseException) -> str:
    """An error of the user's code in one line, with the place where it was raised."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    # A SyntaxError names its place itself; the frames are then importlib's.
    if isinstance(error, SyntaxError) or not frames or not Path(frames[-1].filename).is_file():
        return message
    return f"{message} ({frames[-1].filename}, line {frames[-1].lineno})"


class UserGenerator:
    """A user's generator, whose answers are checked before they are used.

    Parameters
    ----------
    generator : object
        With `random`, `vary` and perhaps `adopt`.
    name : str
        How messages call it.
    image : mapping
        `size` and `channels` of its images, as declared.
    """

    def __init__(self, generator: object, name: str, image: Mapping[str, int]):
        self.generator = generator
        self.name = name
        self.shape = (image["size"], image["size"], image["channels"])

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        return self._checked("random", self.generator.random(labels, rng), labels)

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        varied = self.generator.vary(population, degree, rng)
        return self._checked("vary", varied, population.labels, population)

    def adopt(self, population: Population, rng: np.random.Generator) -> Population:
        return self._checked("adopt", self.generator.adopt(population, rng), population.labels)

    def _checked(
        self,
        method: str,
        answer: Population,
        labels: np.ndarray,
        parents: Population | None = None,
    ) -> Population:
        wrong = _wrong(answer, labels, self.shape, parents)
        if wrong:
            raise PluginProblem(f"{self.name}: {method} {wrong}")
        return answer


def _wrong(
    answer: Population,
    labels: np.ndarray,
    shape: tuple[int, ...] | None = None,
    parents: Population | None = None,
) -> str | None:
    """What is wrong with a generator's answer for `labels`, None if nothing is."""
    if not isinstance(answer, Population):
        return f"returned {type(answer).__name__}; allowed: a Population"
    arrays = {"images": answer.images, "labels": answer.labels} | {
        f"state {name!r}": values for name, values in answer.state.items()
    }
    for name, values in arrays.items():
        if not isinstance(values, np.ndarray) or values.dtype not in DTYPES:
            kind = getattr(values, "dtype", type(values).__name__)
            types = ", ".join(map(str, DTYPES))
            return f"returned {name} of type {kind}; allowed: arrays of {types}"
        if values.shape[:1] != (len(labels),):
            return f"returned {name} of shape {values.shape} for {len(labels)} samples"
    images = answer.images
    allowed = shape or (*images.shape[1:2] * 2, 1 if images.shape[3:] == (1,) else 3)
    if images.dtype != np.uint8 or images.shape[1:] != allowed:
        return (
            f"returned images {images.dtype} {images.shape[1:]}; allowed: uint8 "
            f"{shape or '(H, H, 1) or (H, H, 3)'}"
        )
    if answer.labels.dtype != np.int64 or not np.array_equal(answer.labels, labels):
        return "returned other labels than it was given; allowed: the same, int64, in their order"
    if parents is not None and _state_types(answer) != _state_types(parents):
        return (
            f"returned the state {_state_types(answer)}; allowed: that of its parents, "
            f"{_state_types(parents)}"
        )
    return None


def _state_types(population: Population) -> dict[str, str]:
    return {
        name: f"{values.dtype}{list(values.shape[1:])}"
        for name, values in sorted(population.state.items())
    }


def check_generator(
    generator: object,
    labels: np.ndarray,
    degree: Mapping[str, float],
    still: Mapping[str, float] | None = None,
) -> None:
    """Hold a generator to the contract, for the tests of a generator.

    Looked at are the shapes, types and labels of answers; that equal questions have equal answers,
    whatever was asked in between, and another `rng` another one; that parents and earlier answers
    stay as they were; and that no samples at all are no special case.

    Parameters
    ----------
    generator : object
        With `random` and `vary`.
    labels : int64 [N]
        A few, of different classes and in no order.
    degree : mapping
        Of VARIATION.
    still : mapping, optional
        A degree that returns the parents' images, from which their order is seen.

    Raises
    ------
    PluginProblem
        Which names the first breach.
    """
    labels = np.asarray(labels, np.int64)

    def random(labels: np.ndarray, seed: int = 0) -> Population:
        return generator.random(labels.copy(), np.random.default_rng(seed))

    def vary(parents: Population, degree: Mapping[str, float]) -> Population:
        return generator.vary(parents, degree, np.random.default_rng(0))

    def hold(method: str, breach: str | None) -> None:
        if breach:
            raise PluginProblem(f"{type(generator).__name__}: {method} {breach}")

    drawn = random(labels)
    hold("random", _wrong(drawn, labels))
    drawn_then = copy.deepcopy(drawn)
    shape = drawn.images.shape[1:]
    parents = drawn.take(np.arange(len(labels))[::-1].repeat(2))
    parents_then = copy.deepcopy(parents)
    varied = vary(parents, degree)
    hold("vary", _wrong(varied, parents.labels, shape, parents))
    varied_then = copy.deepcopy(varied)
    if not _same(parents, parents_then):
        hold("vary", "changed its parents; allowed: new arrays")
    others = [random(labels, seed) for seed in range(1, SEEDS)]
    if all(_same(drawn_then, other) for other in others):
        hold("random", f"gave one answer to {SEEDS} different rng; allowed: to draw from rng")
    # By now other questions were asked.
    changed = "gave two answers to one question; allowed: to draw from rng alone"
    hold("random", None if _same(drawn_then, random(labels)) else changed)
    hold("vary", None if _same(varied_then, vary(parents, degree)) else changed)
    if not (_same(drawn, drawn_then) and _same(varied, varied_then)):
        hold("random or vary", "changed an answer that it had given; allowed: new arrays")
    if still is not None and not np.array_equal(vary(parents, still).images, parents.images):
        hold("vary", f"at {dict(still)} returned other images than the parents', in their order")
    none = random(labels[:0])
    hold("random", _wrong(none, labels[:0], shape, drawn))
    hold("vary", _wrong(vary(none, degree), labels[:0], shape, drawn))


def _same(one: Population, other: Population) -> bool:
    return one.arrays.keys() == other.arrays.keys() and all(
        np.array_equal(values, other.arrays[name], equal_nan=True)
        for name, values in one.arrays.items()
    )
