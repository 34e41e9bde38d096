"""The sources of data sets: one reader for each kind that `datasets.yaml` may name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import LabelledImages


def load_split(
    source: Mapping,
    files: Mapping[str, str | Path],
    split: Literal["train", "test"],
    classes: Sequence[str],
    form: Form,
) -> LabelledImages:
    """Read one split of a source of the catalogue.

    Parameters
    ----------
    source : mapping
        The entry's `source`, which has a `kind`.
    files : mapping
        The source's files, field → local path, as given or as fetched.
    split : {'train', 'test'}
        A source without a test set of its own has only `train`, to be divided.
    classes : sequence of str
        The declared class list.
    form : Form
        The declared form of the images.

    Raises
    ------
    DatasetProblem
        If something is missing, damaged or not as declared; the message names the file.
    """
    prefix = {"train": "", "test": "test_"}[split]
    # Each reader is imported where it is used: some of them cost a second.
    match source["kind"]:
        case "sklearn-digits":
            from workflow_scripts.data.digits import read_digits

            return read_digits(form)
        case "npz":
            from workflow_scripts.data.npz import read_npz

            return read_npz(files[f"{prefix}path"], classes, form)
        case "image-folder":
            from workflow_scripts.data.folders import read_folder

            return read_folder(files[f"{prefix}path"], classes, form, source["inside"])
        case "idx":
            from workflow_scripts.data.idx import read_idx

            return read_idx(files[f"{prefix}images"], files[f"{prefix}labels"], form)
        case "cifar":
            from workflow_scripts.data.cifar import read_cifar

            return read_cifar(files["archive"], source["variant"], split, classes, form)
        case "parquet":
            from workflow_scripts.data.parquet import read_parquet

            columns = source["image_column"], source["label_column"]
            return read_parquet(files[f"{prefix}path"], *columns, classes, form)
        case "celeba":
            from workflow_scripts.data.celeba import read_celeba

            tables = files["attributes"], files["partition"]
            return read_celeba(files["path"], *tables, source["attribute"], split, form)
        case "camelyon17":
            from workflow_scripts.data.camelyon17 import read_camelyon17

            return read_camelyon17(files["path"], split, form)
    raise ValueError(f"source.kind: found {source['kind']!r}")
