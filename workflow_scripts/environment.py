"""Write ``environment.yml``, the conda entry point, from ``requirements.lock``.

Conda and pip users get the same packages: conda brings Python and pip, and pip installs every pin
of the lock. The pins are copied into the file, because Snakemake copies an environment file
elsewhere before it uses it, where ``-r requirements.lock`` would find nothing.

Run as ``python -m workflow_scripts.environment``; ``make lock`` does.
"""

import tomllib
from pathlib import Path

# The Python that the lock is resolved for.
PYTHON = "3.11"


def pins_of(lock: str) -> list[str]:
    """Return the pins of a lock file, each with its environment marker.

    Parameters
    ----------
    lock : str
        Text of a requirements file as ``uv pip compile`` writes it: one ``name==version`` or
        ``name==version ; marker`` a line, with comments on lines of their own.

    Returns
    -------
    list of str
        The lines that are pins, unchanged, in their order.
    """
    lines = (line.strip() for line in lock.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def conda_environment(name: str, pins: list[str]) -> str:
    """Return the text of a conda environment file.

    Parameters
    ----------
    name : str
        Name of the environment.
    pins : list of str
        Requirements for pip.

    Returns
    -------
    str
        YAML. A pin needs no quotes: it holds neither ``": "`` nor ``" #"``.
    """
    head = [
        "# Written by `make lock` from requirements.lock; edit pyproject.toml instead.",
        f"name: {name}",
        "channels:",
        "  - conda-forge",
        "  - nodefaults",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - pip",
        "  - pip:",
    ]
    return "\n".join(head + [f"      - {pin}" for pin in pins]) + "\n"


def main() -> None:
    """Write ``environment.yml`` beside ``requirements.lock``."""
    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    pins = pins_of((root / "requirements.lock").read_text())
    (root / "environment.yml").write_text(conda_environment(project["name"], pins))


if __name__ == "__main__":
    main()
