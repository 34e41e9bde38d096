"""CelebA as published: aligned faces and two tables in text files.

`list_attr_celeba.txt` begins with the number of faces and the 40 names of attributes; then a line
a face: its file and 1 or -1 for each attribute. `list_eval_partition.txt` gives each face's split:
0 train (162,770 faces), 1 validation (19,867, not used here), 2 test (19,962). Source: Liu et al.,
*Deep Learning Face Attributes in the Wild*, ICCV 2015.
"""

from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages

PARTITIONS = {"train": "0", "test": "2"}


def read_celeba(
    faces: str | Path,
    attributes: str | Path,
    partition: str | Path,
    attribute: str,
    split: str,
    form: Form,
) -> LabelledImages:
    """Read a split, in the order of the tables; the class is 1 for a face with the attribute.

    Parameters
    ----------
    faces : path
        The folder of aligned faces, `img_align_celeba`.
    attributes, partition : path
        `list_attr_celeba.txt` and `list_eval_partition.txt`.
    attribute : str
        One of the 40 names, such as `Male`.
    split : {'train', 'test'}
    form : Form
    """
    if not Path(faces).is_dir():
        raise DatasetProblem(f"{faces}: no such folder")
    has_attribute = _attribute(attributes, attribute)
    splits = _partition(partition)
    if splits.keys() != has_attribute.keys():
        name = min(splits.keys() ^ has_attribute.keys())
        raise DatasetProblem(f"{name} stands only in one of {attributes} and {partition}")
    names = [name for name in has_attribute if splits[name] == PARTITIONS[split]]
    pictures = ((str(Path(faces) / name), Path(faces) / name) for name in names)
    labels = np.array([has_attribute[name] for name in names], dtype=np.int64)
    return LabelledImages(form.read(pictures, len(names)), labels)


def _attribute(path: str | Path, attribute: str) -> dict[str, bool]:
    """File name → whether the face has the attribute."""
    lines = _lines(path)
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise DatasetProblem(
            f"{path}: needs a first line with the number of faces and a second with the names of "
            "the attributes"
        )
    names = lines[1].split()
    if attribute not in names:
        raise DatasetProblem(
            f"{path}: found no attribute {attribute!r}; allowed: {', '.join(names)}"
        )
    column = 1 + names.index(attribute)
    found = {}
    for number, line in enumerate(lines[2:], 3):
        fields = line.split()
        if len(fields) != 1 + len(names) or fields[column] not in ("1", "-1"):
            raise DatasetProblem(
                f"{path}, line {number}: found {line.strip()[:40]!r}; needs a file name and 1 or "
                f"-1 for each of {len(names)} attributes"
            )
        found[fields[0]] = fields[column] == "1"
    if len(found) != int(lines[0]):
        raise DatasetProblem(f"{path}: announces {int(lines[0])} faces, found {len(found)}")
    return found


def _partition(path: str | Path) -> dict[str, str]:
    """File name → split, 0 to 2."""
    found = {}
    for number, line in enumerate(_lines(path), 1):
        fields = line.split()
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise DatasetProblem(
                f"{path}, line {number}: found {line.strip()[:40]!r}; needs a file name and 0, 1 "
                "or 2"
            )
        found[fields[0]] = fields[1]
    return found


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DatasetProblem(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetProblem(f"{path}: not a readable text file ({error})") from None
