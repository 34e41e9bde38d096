"""Camelyon17-WILDS: patches of lymph node sections from five hospitals.

`metadata.csv` has a row a patch: patient, node, x_coord and y_coord, which make its file's name,
and tumor, center (the hospital), split. Source: Koh et al., *WILDS: A Benchmark of in-the-Wild
Distribution Shifts*, ICML 2021, whose official split this is:

- train: split 0 of the hospitals 0, 3 and 4 (302,436 patches),
- test: the whole hospital 2 (85,054 patches),
- not used here: split 1 of the hospitals 0, 3 and 4, and hospital 1, the two validation sets.

The `split` column alone is not that split: it draws a tenth of every hospital's patches.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import DatasetProblem, LabelledImages

VALIDATION_HOSPITAL, TEST_HOSPITAL = "1", "2"
COLUMNS = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")


def read_camelyon17(folder: str | Path, split: str, form: Form) -> LabelledImages:
    """Read the `train` or `test` split, in the table's order; class 1 is tumor."""
    folder = Path(folder)
    names, labels = [], []
    for row in _rows(folder / "metadata.csv"):
        if _split_of(row) == split:
            slide = f"patient_{row['patient']}_node_{row['node']}"
            names.append(f"patches/{slide}/patch_{slide}_x_{row['x_coord']}_y_{row['y_coord']}.png")
            labels.append(int(row["tumor"]))
    pictures = ((str(folder / name), folder / name) for name in names)
    return LabelledImages(form.read(pictures, len(names)), np.array(labels, dtype=np.int64))


def _split_of(row: dict[str, str]) -> str | None:
    if row["center"] == TEST_HOSPITAL:
        return "test"
    if row["center"] != VALIDATION_HOSPITAL and row["split"] == "0":
        return "train"
    return None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise DatasetProblem(
                    f"{path}: found columns {', '.join(table.fieldnames or ())}; missing: "
                    f"{', '.join(missing)}"
                )
            for row in table:
                if row["tumor"] not in ("0", "1") or row["center"] not in ("0", "1", "2", "3", "4"):
                    raise DatasetProblem(
                        f"{path}, line {table.line_num}: found tumor {row['tumor']!r}, center "
                        f"{row['center']!r}; allowed: 0 or 1, and 0 to 4"
                    )
                yield row
    except FileNotFoundError:
        raise DatasetProblem(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetProblem(f"{path}: not a readable table ({error})") from None
