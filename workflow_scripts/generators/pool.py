"""A data-only simulator of Sim-PE (arXiv 2502.05505): the images of a public data set.

RANDOM draws images of the pool; VARIATION returns one of the nearest images of the pool, in an
encoder's space. Images and embeddings stay in their files, which may be larger than memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workflow_scripts.files import FileProblem, open_arrays, read_metadata, write_rows
from workflow_scripts.generators.neighbours import nearest_rows
from workflow_scripts.generators.population import Population
from workflow_scripts.problems import Problem
from workflow_scripts.shards import Shards


class PoolProblem(Problem):
    """More is asked of a pool than it holds; the message gives both numbers."""


class ImagePool:
    """The images of a public data set, found again by their neighbours.

    Parameters
    ----------
    classes : sequence of str
        The pool's class for every label of the sensitive data set; used with `match_classes`.
    settings : mapping
        The catalogue entry of kind `pool`.
    images_path : path
        safetensors with `images` uint8 [M, H, W, C] and `labels` int64 [M]; its metadata name the
        `classes`.
    index_path : path
        What `build_index` wrote for these images.
    """

    def __init__(
        self,
        classes: Sequence[str],
        settings: Mapping,
        images_path: str | Path,
        index_path: str | Path,
    ):
        stored = open_arrays(images_path)
        self.path = images_path
        self.images = np.asarray(stored["images"])
        self.embeddings = np.asarray(open_arrays(index_path)["embeddings"])
        if len(self.images) != len(self.embeddings):
            raise FileProblem(
                f"{index_path}: found embeddings of {len(self.embeddings)} images; {images_path} "
                f"has {len(self.images)}"
            )
        self.match_classes = settings["match_classes"]
        # The rows that each group of samples may have: one group for each label, or one for all.
        if self.match_classes:
            self.names = list(classes)
            self.members = self._members(np.asarray(stored["labels"]))
        else:
            self.names = ["all"]
            self.members = [np.arange(len(self.images))]
        self._asked: tuple | None = None
        self._answer: tuple[np.ndarray, np.ndarray] | None = None

    def _members(self, labels: np.ndarray) -> list[np.ndarray]:
        known = read_metadata(self.path).get("classes", [])
        missing = [name for name in self.names if name not in known]
        if missing:
            raise PoolProblem(f"{self.path}: the pool has no class {missing}; it has {known}")
        return [np.flatnonzero(labels == known.index(name)) for name in self.names]

    def random(self, labels: np.ndarray, rng: np.random.Generator) -> Population:
        """RANDOM: for each label (int64 [N]) an image of the pool, none of them twice in a call."""
        rows = np.empty(len(labels), np.int64)
        for group, mine in self._groups(labels):
            members = self._enough(group, len(mine), "different images")
            rows[mine] = members[rng.choice(len(members), len(mine), replace=False)]
        return self._population(rows, labels)

    def vary(
        self, population: Population, degree: Mapping[str, float], rng: np.random.Generator
    ) -> Population:
        """VARIATION: for each sample one of the images nearest to it, uniformly.

        Parameters
        ----------
        degree : mapping
            `neighbours`: how many images to choose from, the sample's own among them; with
            `match_classes`, images of its class. Larger is a stronger variation; 1 keeps the image.
        """
        choices = int(degree["neighbours"])
        chosen = rng.integers(choices, size=len(population))
        table, place = self._neighbours(population, choices)
        return self._population(table[place, chosen], population.labels)

    def _neighbours(self, population: Population, d: int) -> tuple[np.ndarray, np.ndarray]:
        """The d nearest rows for each row of the pool that occurs, and where each sample's are.

        The last answer is remembered: the lookahead asks several times for the same samples.
        """
        rows, labels = population.state["row"], population.labels
        asked = (d, rows.tobytes(), labels.tobytes())
        if asked != self._asked:
            unique, first, place = np.unique(rows, return_index=True, return_inverse=True)
            table = np.empty((len(unique), d), np.int64)
            for group, mine in self._groups(labels[first]):
                members = self._enough(group, d, "neighbours")
                table[mine] = nearest_rows(self.embeddings, unique[mine], d, members)
            self._asked, self._answer = asked, (table, place)
        return self._answer

    def _groups(self, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Each group that occurs, and its samples."""
        groups = labels if self.match_classes else np.zeros(len(labels), np.int64)
        for group in np.unique(groups).tolist():
            yield group, np.flatnonzero(groups == group)

    def _enough(self, group: int, wanted: int, what: str) -> np.ndarray:
        members = self.members[group]
        if wanted > len(members):
            whose = f" of class {self.names[group]}" if self.match_classes else ""
            raise PoolProblem(
                f"{self.path}: {wanted} {what}{whose} are asked for; the pool has {len(members)}"
            )
        return members

    def _population(self, rows: np.ndarray, labels: np.ndarray) -> Population:
        # Read in the order of the file, and each image once.
        unique, place = np.unique(rows, return_inverse=True)
        images = self.images[unique][place]
        return Population(images, np.asarray(labels, np.int64), {"row": rows})


def build_index(embedding_paths: Sequence[str | Path], path: str | Path) -> None:
    """Write the embeddings of a pool, which come in shards, as the one file that is searched.

    Parameters
    ----------
    embedding_paths : sequence of path
        safetensors with `embeddings` float32 [m, D], in the order of the pool's images.
    path : path
        Of the safetensors file with `embeddings` float32 [M, D]; a few thousand rows are in memory
        at a time.

    Raises
    ------
    FileProblem
        If an embedding is not finite, or too large for distances in float32.
    """
    shards = Shards(*embedding_paths)
    write_rows(path, _finite(shards.blocks(None, "embeddings"), path), len(shards))


def _finite(
    blocks: Iterator[dict[str, np.ndarray]], path: str | Path
) -> Iterator[dict[str, np.ndarray]]:
    start = 0
    for block in blocks:
        with np.errstate(over="ignore", invalid="ignore"):
            # No sum in a squared distance exceeds (2‖y‖)² for the longest y.
            squares = np.square(2 * block["embeddings"]).sum(axis=1)
        wrong = np.flatnonzero(~np.isfinite(squares))
        if len(wrong):
            raise FileProblem(
                f"{path}: the embedding of pool image {start + wrong[0]} is not finite, or too "
                "large for distances in float32"
            )
        start += len(block["embeddings"])
        yield block
