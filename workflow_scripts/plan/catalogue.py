"""The catalogue's entries as stages, looked up by name and checked one by one."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from workflow_scripts.configuration import Configuration, ConfigurationProblem
from workflow_scripts.configuration.datasets import (
    File,
    PublicDataset,
    Rendered,
    SensitiveDataset,
    path_of,
)
from workflow_scripts.configuration.encoders import CnnEncoder, Encoder, PixelEncoder
from workflow_scripts.configuration.generators import (
    AvatarGenerator,
    DiffusersGenerator,
    EdmGenerator,
    EdmNetwork,
    Generator,
    PoolGenerator,
    PythonGenerator,
    TextGenerator,
    TrainedDiffusion,
)
from workflow_scripts.configuration.model import ImageShape
from workflow_scripts.generators.fonts import FontProblem, find_fonts, font_listing
from workflow_scripts.privacy.zones import is_apart
from workflow_scripts.problems import Problem
from workflow_scripts.stages import VERSIONS, Stage

# Files up to this size count by their content in keys, larger ones by their size.
HASHED = 2**20
# Kinds that need no file and no training, so that a public data set can be made with them.
SIMULATORS = (TextGenerator, AvatarGenerator)


class Catalogue:
    """Named things, resolved into stages; every stage is made once.

    Parameters
    ----------
    configuration : Configuration
    root : path
        Paths in the catalogue are relative to it.

    Attributes
    ----------
    absent : dict
        Place in the configuration → path given there that does not exist.
    """

    def __init__(self, configuration: Configuration, root: str | Path = "."):
        self.configuration = configuration
        self.root = Path(root)
        self.absent: dict[str, str] = {}
        self._made: dict[tuple[str, str], Stage] = {}

    def stage(self, kind: str, name: str, settings: dict, parents: tuple[Stage, ...] = ()) -> Stage:
        """A stage, the same object for the same content."""
        stage = Stage(name, settings, parents)
        return self._made.setdefault((kind, stage.label), stage)

    def where(self, file: str, *keys: str) -> str:
        """A place in a catalogue file, for messages."""
        return f"{self.configuration.files[file]}, {'.'.join(keys)}"

    # --- data sets ---

    def sensitive(self, name: str) -> SensitiveDataset:
        known = self.configuration.datasets.sensitive
        if name not in known:
            raise unknown(f"{self.configuration.source}, datasets", name, known)
        return known[name]

    def sensitive_stage(self, name: str) -> Stage:
        dataset = self.sensitive(name)
        self._note_absent(dataset.source.files, "datasets", "sensitive", name, "source")
        own = {"version": VERSIONS["prepare"], "dataset": dataset.model_dump(exclude={"cap"})}
        return self.stage("dataset", name, own)

    def public(self, name: str, needed_by: str) -> PublicDataset:
        known = self.configuration.datasets.public
        if name not in known:
            raise unknown(needed_by, name, known)
        return known[name]

    def public_stage(self, name: str, needed_by: str) -> Stage:
        dataset = self.public(name, needed_by)
        rendered = isinstance(dataset.source, Rendered)
        version = VERSIONS["render" if rendered else "prepare"]
        own = {"version": version, "dataset": dataset.model_dump(exclude={"cap"})}
        if not rendered:
            self._note_absent(dataset.source.files, "datasets", "public", name, "source")
            return self.stage("public", name, own)
        where = self.where("datasets", "public", name, "source")
        simulators = [
            name
            for name, generator in self.configuration.generators.items()
            if isinstance(generator, SIMULATORS)
        ]
        if dataset.source.generator not in simulators:
            # A model that is trained on this data set could not render it.
            raise unknown(f"{where}.generator", dataset.source.generator, simulators)
        generator = self.generator_stage(dataset.source.generator, f"{where}.generator")
        self.check_drawable(generator, dataset.classes, {}, f"{where}.generator")
        self.check_shape(generator, dataset.image, f"{where}.generator")
        check_samples(dataset.source.samples, len(dataset.classes), f"{where}.samples")
        return self.stage("public", name, own, (generator,))

    def _note_absent(self, files: dict[str, File], *place: str) -> None:
        for key, file in files.items():
            if isinstance(file, str) and ".." in Path(file).parts:
                raise ConfigurationProblem(
                    f"{self.where(*place, key)}: found {file!r}; allowed: a path without '..'"
                )
            path = path_of(file)
            if path and not is_apart(path):
                raise ConfigurationProblem(
                    f"{self.where(*place, key)}: found {path!r}; allowed: a path outside of the "
                    "workflow's own results, and not a folder that they lie in"
                )
            if isinstance(file, str) and not (self.root / file).exists():
                self.absent[self.where(*place, key)] = file

    def uses_torch(self, stage: Stage) -> bool:
        """Whether a generator or an encoder runs a network."""
        named = (
            self.configuration.generators
            if "generator" in stage.settings
            else self.configuration.encoders
        )
        return named[stage.name].uses_torch

    def check_public(self, stages: Iterable[Stage], sensitive: str, where: str) -> None:
        """Refuse public data, among stages and what they depend on, that are the private ones."""
        private = self.sensitive(sensitive).source.origins
        pending = list(stages)
        while pending:
            stage = pending.pop()
            pending.extend(stage.parents)
            known = self.configuration.datasets.public.get(stage.name)
            if known is None or "dataset" not in stage.settings:
                continue
            if not isinstance(known.source, Rendered) and known.source.origins & private:
                raise ConfigurationProblem(
                    f"{where}: uses the public data set {stage.name!r}, whose files are those of "
                    f"the sensitive {sensitive!r}; allowed: other data"
                )

    # --- generators ---

    def generator(self, name: str, needed_by: str) -> Generator:
        known = self.configuration.generators
        if name not in known:
            raise unknown(needed_by, name, known)
        return known[name]

    def generator_stage(self, name: str, needed_by: str) -> Stage:
        settings = self.generator(name, needed_by)
        operational = getattr(settings, "operational", None)
        own = {
            "version": VERSIONS["generator"],
            "generator": settings.model_dump(exclude=operational),
        }
        parents: tuple[Stage, ...] = ()
        match settings:
            case TextGenerator():
                try:
                    # Other fonts draw other images: their names and contents are part of the key.
                    if self._has_fonts(name, settings.fonts):
                        own["fonts"] = font_listing(settings.fonts)
                except FontProblem as problem:
                    where = self.where("generators", name, "fonts")
                    raise ConfigurationProblem(f"{where}: {problem}") from None
            case TrainedDiffusion() | EdmGenerator():
                where = self.where("generators", name)
                parents = (self.public_stage(settings.dataset, f"{where}.dataset"),)
                image = self.public(settings.dataset, where).image
                if isinstance(settings, EdmGenerator):
                    self.check_network(settings.network, image, where)
                else:
                    check_halvings(len(settings.channels), image, f"{where}.channels")
            case PoolGenerator():
                where = self.where("generators", name)
                parents = (
                    self.public_stage(settings.dataset, f"{where}.dataset"),
                    self.encoder_stage(settings.encoder, f"{where}.encoder"),
                )
                image = self.public(settings.dataset, where).image
                self.check_encoder_shape(parents[1], image, f"{where}.encoder")
            case DiffusersGenerator() if settings.folder is not None:
                self._note_absent({"folder": settings.folder}, "generators", name)
                own["files"] = self._listed(settings.folder)
            case PythonGenerator():
                from workflow_scripts.generators.plugin import source_digest

                self._note_absent(
                    {str(i): f for i, f in enumerate(settings.files)}, "generators", name, "files"
                )
                own["files"] = [self._listed(file) for file in settings.files]
                try:
                    own["source"] = source_digest(settings.class_path, self.root)
                except Problem as problem:
                    where = self.where("generators", name, "class")
                    raise ConfigurationProblem(f"{where}: {problem}") from None
        return self.stage("generator", name, own, parents)

    def _has_fonts(self, name: str, fonts: str) -> bool:
        if fonts != "matplotlib":
            self._note_absent({"fonts": fonts}, "generators", name)
        return fonts not in self.absent.values()

    def _listed(self, path: str) -> list[str]:
        """Name and content of a file, or of every file below a folder; of large ones, the size."""
        top = self.root / path
        files = sorted(file for file in (top, *top.rglob("*")) if file.is_file())
        return [f"{file.relative_to(top.parent)} {_content(file)}" for file in files]

    def check_network(self, network: EdmNetwork, image: ImageShape, where: str) -> None:
        """Refuse a denoiser's network that does not fit images of a shape.

        `where` is the place of the generator.
        """
        levels = len(network.multipliers)
        check_halvings(levels, image, f"{where}.network.multipliers")
        sizes = [image.size // 2**level for level in range(levels)]
        for resolution in network.attention:
            if resolution not in sizes:
                raise unknown(f"{where}.network.attention", resolution, sizes)

    def image_of(self, generator: Stage) -> ImageShape:
        """The shape of the images that a generator makes."""
        settings = self.configuration.generators[generator.name]
        if isinstance(settings, (TrainedDiffusion, EdmGenerator, PoolGenerator)):
            return self.configuration.datasets.public[settings.dataset].image
        return settings.image

    def check_shape(self, generator: Stage, image: ImageShape, where: str) -> None:
        """Refuse a simulator whose size, a setting, is not that of the data.

        What another generator makes is resized for encoders and releases.
        """
        made = self.image_of(generator)
        simulator = isinstance(self.configuration.generators[generator.name], SIMULATORS)
        if simulator and made.size != image.size:
            raise ConfigurationProblem(
                f"{where}: found {generator.name!r}, which makes images of {made}; "
                f"allowed: a simulator of {image}"
            )

    def check_drawable(
        self, generator: Stage, classes: Iterable[str], class_names: dict[str, str], where: str
    ) -> tuple[str, ...]:
        """The generator's names of the classes; refuse one that it cannot make."""
        drawn = tuple(class_names.get(name, name) for name in classes)
        settings = self.configuration.generators[generator.name]
        if isinstance(settings, AvatarGenerator):
            # It knows no classes; what it draws is shared, whatever they are called.
            return tuple(map(str, range(len(drawn))))
        known: Iterable[str] | None = None
        match settings:
            case TextGenerator():
                if isinstance(settings.texts, dict):
                    known = settings.texts
            case TrainedDiffusion() | EdmGenerator():
                known = self.configuration.datasets.public[settings.dataset].classes
            case PoolGenerator(match_classes=True):
                known = self.configuration.datasets.public[settings.dataset].classes
            case _ if getattr(settings, "prompts", None):
                known = settings.prompts
        for name in drawn if known is not None else ():
            if name not in known:
                raise unknown(where, name, known)
        if isinstance(settings, TextGenerator) and self._has_fonts(generator.name, settings.fonts):
            texts = tuple(text for name in drawn for text in settings.texts_of(name))
            self._check_fonts(settings.fonts, texts, where)
        return drawn

    def _check_fonts(self, fonts: str, texts: tuple[str, ...], where: str) -> None:
        try:
            find_fonts(fonts, tuple(sorted(set(texts))))
        except FontProblem as problem:
            raise ConfigurationProblem(f"{where}: {problem}") from None

    # --- encoders ---

    def encoder(self, name: str, needed_by: str) -> Encoder:
        known = self.configuration.encoders
        if name not in known:
            raise unknown(needed_by, name, known)
        return known[name]

    def encoder_stage(self, name: str, needed_by: str) -> Stage:
        settings = self.encoder(name, needed_by)
        # Weights are what their hash says, wherever they come from.
        own = {
            "version": VERSIONS["encoder"],
            "encoder": settings.model_dump(exclude={"weights": {"url", "path"}}),
        }
        parents = ()
        if isinstance(settings, CnnEncoder):
            where = self.where("encoders", name, "dataset")
            parents = (self.public_stage(settings.dataset, where),)
        elif not isinstance(settings, PixelEncoder) and settings.weights.path is not None:
            self._note_absent({"path": settings.weights.path}, "encoders", name, "weights")
        return self.stage("encoder", name, own, parents)

    def check_encoder_shape(self, encoder: Stage, image: ImageShape, where: str) -> None:
        """Refuse a network of ours for images of another shape; the others resize."""
        settings = self.configuration.encoders[encoder.name]
        if isinstance(settings, CnnEncoder):
            trained = self.configuration.datasets.public[settings.dataset].image
            if trained != image:
                raise ConfigurationProblem(
                    f"{where}: found {encoder.name!r}, trained on images of {trained}; "
                    f"allowed: an encoder of {image}"
                )


def _content(file: Path) -> str:
    # At every start of the workflow, and of every job: weights are gigabytes.
    size = file.stat().st_size
    return sha256(file.read_bytes()).hexdigest() if size <= HASHED else str(size)


def check_halvings(levels: int, image: ImageShape, where: str) -> None:
    """Refuse a U-Net of more levels than the images can be halved for."""
    halvings = levels - 1
    if image.size % 2**halvings:
        raise ConfigurationProblem(
            f"{where}: found {levels} levels, which halve images of {image.size} pixels "
            f"{halvings} times; allowed: as often as {image.size} is even"
        )


def check_samples(samples: int, classes: int, where: str) -> None:
    """Refuse fewer samples than classes."""
    if samples < classes:
        raise ConfigurationProblem(
            f"{where}: found {samples}; allowed: at least {classes}, one per class"
        )


def unknown(where: str, found: str, known: Iterable[str]) -> ConfigurationProblem:
    return ConfigurationProblem(f"{where}: found {found!r}; allowed: {', '.join(map(str, known))}")
