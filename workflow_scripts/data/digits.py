"""The 1,797 handwritten digits that ship with scikit-learn."""

import numpy as np

from workflow_scripts.data.form import Form
from workflow_scripts.data.labelled import LabelledImages


def read_digits(form: Form) -> LabelledImages:
    """8×8 images of 17 grey levels, spread over uint8."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return LabelledImages(form.fit(scaled, "sklearn-digits"), labels.astype(np.int64))
