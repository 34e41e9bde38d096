"""Images of three classes, and reading sources of them as the workflow does."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from workflow_scripts.configuration.datasets import AnySource
from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import LabelledImages
from workflow_scripts.data.sources import load_split

CLASSES = ("cat", "dog", "eel")
GREY = np.random.default_rng(0).integers(0, 256, size=(6, 4, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, size=(6, 4, 4, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])
FORM = Form(4, 1)
COLOURED = Form(4, 3)


def load(source: dict, form: Form = FORM, split="train", classes=CLASSES) -> LabelledImages:
    """Read a source as the workflow does: validated, its files by field."""
    whole = TypeAdapter(AnySource).validate_python(source)
    return load_split(whole.model_dump(), whole.files, split, classes, form)


def load_npz(path, form=FORM, **arrays) -> LabelledImages:
    np.savez(path, **arrays)
    return load({"kind": "npz", "path": str(path)}, form)


def load_folder(path, form=FORM, classes=CLASSES, **settings) -> LabelledImages:
    return load({"kind": "image-folder", "path": str(path), **settings}, form, classes=classes)


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def edit(path: Path, old: str, new: str) -> None:
    """Change a text file in one place."""
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
