"""Folders of encoded images, one a class; the folders may lie in a zip archive."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages, indices_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# What file systems and notebooks leave beside the images.
HIDDEN = (".", "__MACOSX")


def read_folder(
    path: str | Path, classes: Sequence[str], form: Form, inside: str = ""
) -> LabelledImages:
    """Read `path/inside/<class>/**/*.png` (.jpg, .jpeg, .webp, .bmp), in order of class and path.

    Parameters
    ----------
    path : path
        A folder, or a zip archive, which is not unpacked.
    classes : sequence of str
        The declared class list. A folder of another name is refused; a class may have none.
    form : Form
    inside : str
        The folder within `path` that holds the folders of the classes.
    """
    root = Path(path)
    if root.is_dir():
        root = root / inside
        folders, names = _in_folder(root)
        return _read(root, folders, names, lambda name: root / name, classes, form)
    if not root.is_file():
        raise DatasetProblem(f"{path}: no such folder or archive")
    try:
        archive = zipfile.ZipFile(root)
    except Exception as error:  # which one depends on where the archive is damaged
        raise DatasetProblem(f"{path}: neither a folder nor a zip archive ({error})") from None
    with archive:
        prefix = f"{inside.strip('/')}/" if inside else ""
        folders, names = _in_archive(archive, prefix)

        def content(name: str) -> bytes:
            try:
                return archive.read(prefix + name)
            except Exception as error:  # damaged, encrypted, or packed in an unknown way
                raise DatasetProblem(f"{root / prefix / name}: not readable ({error})") from None

        return _read(root / prefix, folders, names, content, classes, form)


def _read(root, folders, names, content, classes: Sequence[str], form: Form) -> LabelledImages:
    indices_of(sorted(folders), classes, str(root))
    order = {name: i for i, name in enumerate(classes)}
    names.sort(key=lambda name: (order[name.split("/")[0]], name.split("/")))
    if not names:
        raise DatasetProblem(f"{root}: no images in the folders of the declared classes")
    labels = indices_of([name.split("/")[0] for name in names], classes, str(root))
    pictures = ((str(root / name), content(name)) for name in names)
    return LabelledImages(form.read(pictures, len(names)), labels)


def _in_folder(root: Path) -> tuple[set[str], list[str]]:
    """The folders of classes, and all images in them, as paths below `root`."""
    if not root.is_dir():
        raise DatasetProblem(f"{root}: no such folder")
    folders = {entry.name for entry in root.iterdir() if entry.is_dir() and _shown(entry.name)}
    return folders, [name for folder in folders for name in _walk(root, folder)]


def _walk(root: Path, folder: str) -> Iterator[str]:
    for place, inner, files in os.walk(root / folder, followlinks=True):
        inner[:] = [name for name in inner if _shown(name)]
        for file in files:
            if _is_image(file):
                yield (Path(place) / file).relative_to(root).as_posix()


def _in_archive(archive: zipfile.ZipFile, prefix: str) -> tuple[set[str], list[str]]:
    """The same for an archive: an entry is a name that ends in / if it is a folder."""
    below = {name.removeprefix(prefix) for name in archive.namelist() if name.startswith(prefix)}
    shown = [name for name in below if "/" in name and all(map(_shown, name.split("/")))]
    return {name.split("/")[0] for name in shown}, [name for name in shown if _is_image(name)]


def _shown(name: str) -> bool:
    return not name.startswith(HIDDEN)


def _is_image(name: str) -> bool:
    return _shown(name) and name.lower().endswith(SUFFIXES)
