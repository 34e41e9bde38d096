"""datasets.yaml: sensitive and public data sets, and where their files come from.

A file is a path, or something to be fetched: a URL with the hash that its publisher states.
"""

import os
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, model_validator

from workflow_scripts.configuration.model import (
    Classes,
    Count,
    Fraction,
    ImageShape,
    Index,
    Model,
    Name,
    Positive,
)


class Split(Model):
    """A stratified split of one file into train and test, by a fixed public seed."""

    test_fraction: Fraction
    seed: Index


class HoldOut(Model):
    """Training images set aside, at random by a public seed, and never used."""

    size: Count
    seed: Index


class Download(Model):
    """A file to be fetched; `hash` is `md5:…` or `sha256:…`."""

    url: Annotated[str, Field(pattern=r"^(https?|file)://[^?#]*[^/?#]$")]
    hash: Annotated[str, Field(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]

    @property
    def name(self) -> str:
        """The file name of the URL."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def local(self) -> str | None:
        """The path of a `file://` URL."""
        address = urlsplit(self.url)
        return unquote(address.path) if address.scheme == "file" else None


File = str | Download


def path_of(file: File) -> str | None:
    """Where a file is on this machine, None for one on the web."""
    return file.local if isinstance(file, Download) else file


class Source(Model):
    """Where the images of a data set are: the base of every kind of source.

    Class attributes
    ----------------
    file_fields
        The fields that name files.
    class_count
        The number of classes, where the format settles it.
    """

    file_fields: ClassVar[tuple[str, ...]] = ()
    class_count: ClassVar[int | None] = None

    @property
    def files(self) -> dict[str, File]:
        """Field → file, for all that are given."""
        given = {name: getattr(self, name) for name in self.file_fields}
        return {name: file for name, file in given.items() if file is not None}

    @model_validator(mode="after")
    def _distinct_downloads(self):
        names: dict[str, Download] = {}
        for file in self.files.values():
            if isinstance(file, Download) and names.setdefault(file.name, file) != file:
                raise ValueError(
                    f"two downloads are called {file.name!r}; they would become one file"
                )
        return self

    @property
    def origins(self) -> frozenset[str]:
        """What tells whether two sources are the same data: paths, hashes, or the kind."""
        files = set()
        for file in self.files.values():
            if path := path_of(file):
                files.add(os.path.realpath(path))
            if isinstance(file, Download):
                files.add(file.hash)
        return frozenset(files or {self.kind})

    @property
    def has_test(self) -> bool:
        """Whether there is a test set of its own."""
        return any(name.startswith("test_") for name in self.files)


class SklearnDigits(Source):
    """The 1,797 handwritten digits that ship with scikit-learn."""

    kind: Literal["sklearn-digits"]

    class_count = 10


class Npz(Source):
    """Arrays `images` (uint8 [N, H, W] or [N, H, W, C]) and `labels` in NumPy's .npz format.

    `labels` are indices into the class list, or class names.
    """

    kind: Literal["npz"]
    path: File
    test_path: File | None = None

    file_fields = ("path", "test_path")


class ImageFolder(Source):
    """`path/<class name>/*.png` (also .jpg, .webp, .bmp), one folder per declared class.

    `path` is a folder or a zip archive, which is not unpacked; `inside` is the folder in it that
    holds the folders of the classes.
    """

    kind: Literal["image-folder"]
    path: File
    test_path: File | None = None
    inside: str = ""

    file_fields = ("path", "test_path")


class Idx(Source):
    """The format of MNIST: idx files, gzipped or not."""

    kind: Literal["idx"]
    images: File
    labels: File
    test_images: File | None = None
    test_labels: File | None = None

    file_fields = ("images", "labels", "test_images", "test_labels")

    @model_validator(mode="after")
    def _pairs(self):
        if (self.test_images is None) != (self.test_labels is None):
            raise ValueError("give both test_images and test_labels, or neither")
        return self


class Cifar(Source):
    """The binary version of CIFAR-10 or CIFAR-100 (fine labels): one tar archive."""

    kind: Literal["cifar"]
    variant: Literal[10, 100]
    archive: File

    file_fields = ("archive",)

    @property
    def class_count(self) -> int:
        return self.variant

    @property
    def has_test(self) -> bool:
        return True


class Parquet(Source):
    """Parquet in the Hugging Face layout: a column of encoded images and one of labels.

    A path is a file, or a folder whose .parquet files are read in order of their names.
    """

    kind: Literal["parquet"]
    path: File
    test_path: File | None = None
    image_column: str = "image"
    label_column: str = "label"

    file_fields = ("path", "test_path")


class CelebA(Source):
    """CelebA as published: aligned faces, a table of attributes and one of splits.

    The class of a face is whether it has `attribute`: class 0 without, class 1 with.
    """

    kind: Literal["celeba"]
    path: str
    attributes: File
    partition: File
    attribute: str

    file_fields = ("path", "attributes", "partition")
    class_count = 2

    @property
    def has_test(self) -> bool:
        return True


class Camelyon17(Source):
    """Camelyon17 as WILDS publishes it: patches and metadata.csv.

    Train, and test on the held-out hospital, are those of the benchmark. Class 1 is tumor.
    """

    kind: Literal["camelyon17"]
    path: str

    file_fields = ("path",)
    class_count = 2

    @property
    def has_test(self) -> bool:
        return True


AnySource = SklearnDigits | Npz | ImageFolder | Idx | Cifar | Parquet | CelebA | Camelyon17


def _check_classes(source: Source, classes: tuple[str, ...]) -> None:
    """A format that settles the number of classes must be declared with as many."""
    if source.class_count not in (None, len(classes)):
        raise ValueError(
            f"found {len(classes)} classes; {source.kind} has {source.class_count}: "
            "give each one's name, in the order of the labels"
        )


class Cap(Model):
    """What all releases of a sensitive data set, ever, may cost together."""

    epsilon: Positive
    delta: Annotated[float, Field(gt=0, lt=1)]


class SensitiveDataset(Model):
    """A data set to protect. Shape, classes and train_size are declared, never read from it.

    `train_size` is what is left for training after `split` and `hold_out`. With `resize`, images of
    another size are cropped to their central square and resized; without it they are refused. `cap`
    bounds the privacy cost of all releases together; it changes no result.
    """

    source: Annotated[AnySource, Field(discriminator="kind")]
    image: ImageShape
    classes: Classes
    train_size: Annotated[int, Field(ge=2)]
    split: Split | None = None
    hold_out: HoldOut | None = None
    resize: bool = False
    version: Count = 1
    cap: Cap | None = None

    @model_validator(mode="after")
    def _one_test_set(self):
        if self.source.has_test and self.split is not None:
            raise ValueError(f"found split, but the source {self.source.kind} has a test set")
        if not self.source.has_test and self.split is None:
            raise ValueError("give split (test_fraction, seed), or a source with a test set")
        _check_classes(self.source, self.classes)
        return self


class Rendered(Model):
    """Images that a simulator renders: RANDOM, the same number for every class."""

    kind: Literal["rendered"]
    generator: Name
    samples: Count
    seed: Index


class PublicDataset(Model):
    """A labelled data set that costs no privacy. Of a source with a test set, train is used."""

    source: Annotated[Rendered | AnySource, Field(discriminator="kind")]
    image: ImageShape
    classes: Classes
    resize: bool = False
    version: Count = 1

    @model_validator(mode="after")
    def _as_many_classes(self):
        if isinstance(self.source, Source):
            _check_classes(self.source, self.classes)
        return self


class Datasets(Model):
    """datasets.yaml"""

    sensitive: dict[Name, SensitiveDataset]
    public: dict[Name, PublicDataset] = {}
