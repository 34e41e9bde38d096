"""Blocks and shards: how generator calls are spread over jobs without changing what they return.

A population is cut into blocks of a fixed number of parents, which is a setting of the generator.
Every block has its own random streams; a shard is a job that takes whole blocks. The result is
therefore the same for any number of shards, and a job holds one block in memory at a time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.encoders import Encoder
from workflow_scripts.generators import Generator
from workflow_scripts.generators.population import Population, StoredPopulation, concatenate
from workflow_scripts.randomness import rng_of
from workflow_scripts.resizing import fit


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of what is drawn or selected, the `index`-th block of it."""

    index: int
    start: int
    stop: int

    def rows(self, copies: int = 1, offset: int = 0) -> slice:
        """The block's rows in a population that holds `copies` members for each parent.

        `offset` is the row at which the file at hand begins.
        """
        return slice(self.start * copies - offset, self.stop * copies - offset)


def blocks_of(size: int, block_size: int, item: str) -> list[Block]:
    """The blocks of one shard.

    Parameters
    ----------
    size : int
        How many are drawn or selected in all.
    block_size : int
    item : str
        Which shard, as Snakemake writes it: `2-of-3`.
    """
    shard, shards = map(int, item.split("-of-"))
    blocks = -(-size // block_size)
    first, last = (shard - 1) * blocks // shards, shard * blocks // shards
    return [Block(i, i * block_size, min((i + 1) * block_size, size)) for i in range(first, last)]


def rows_of(blocks: Sequence[Block], copies: int = 1) -> slice:
    """The rows of the population that a shard's blocks cover; they are adjacent."""
    return slice(blocks[0].start * copies, blocks[-1].stop * copies) if blocks else slice(0, 0)


def _or_empty(blocks: Sequence[Block]) -> Sequence[Block]:
    # A shard without blocks still says which arrays there are.
    return blocks or [Block(0, 0, 0)]


def initialise(
    generator: Generator,
    labels: np.ndarray,
    fold: int,
    degree: Mapping[str, float],
    blocks: Sequence[Block],
    identity: Sequence,
) -> Iterator[Population]:
    """RANDOM, and `fold` variations of what it returns, block by block.

    Parameters
    ----------
    labels : int64 [N]
        Of all that is drawn.
    fold : int
        0 in the image papers.
    degree : mapping
        Of those variations.
    blocks : sequence of Block
        The shard's.
    identity : sequence
        Names the random streams, together with the block.
    """
    for b in _or_empty(blocks):
        drawn = generator.random(labels[b.rows()], rng_of(*identity, "random", b.index))
        varied = _variations(generator, drawn, degree, fold, [*identity, "vary", b.index])
        yield concatenate([drawn, *varied])


def vary(
    generator: Generator,
    parents: StoredPopulation,
    degree: Mapping[str, float],
    fold: int,
    keep_selected: bool,
    blocks: Sequence[Block],
    identity: Sequence,
) -> Iterator[Population]:
    """`fold` variations of every parent, and the parents too if they are kept, block by block.

    `parents` is the whole selection, in order; the other arguments are those of `initialise`.
    """
    for b in _or_empty(blocks):
        part = parents.take(b.rows())
        varied = _variations(generator, part, degree, fold, [*identity, "vary", b.index])
        yield concatenate([*varied, part] if keep_selected else varied)


def _variations(
    generator: Generator,
    population: Population,
    degree: Mapping[str, float],
    number: int,
    identity: Sequence,
) -> list[Population]:
    return [generator.vary(population, degree, rng_of(*identity, i)) for i in range(number)]


def hand_over(
    populations: Iterable[Population],
    generator: Generator,
    image: Mapping[str, int],
    blocks: Sequence[Block],
    identity: Sequence,
) -> Iterator[Population]:
    """The same samples for another generator, which makes images of the shape `image`."""
    for b, population in zip(_or_empty(blocks), populations, strict=True):
        fitted = Population(fit(population.images, **image), population.labels)
        yield generator.adopt(fitted, rng_of(*identity, "adopt", b.index))


def look_ahead(
    generator: Generator | None,
    encoder: Encoder,
    candidates: StoredPopulation,
    copies: int,
    degree: Mapping[str, float],
    variations: int,
    image: Mapping[str, int],
    blocks: Sequence[Block],
    identity: Sequence,
    offset: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
    """The mean embedding of each candidate's variations, block by block.

    Parameters
    ----------
    generator : Generator or None
        Not needed without variations.
    candidates : StoredPopulation
        The population, or the part of it that begins at row `offset`.
    copies : int
        Members of the population for each that was drawn or selected.
    variations : int
        L, the lookahead degree; 0 embeds the candidates themselves.
    image : mapping
        `size` and `channels` in which the encoder sees images: those of the sensitive data.

    Yields
    ------
    `embeddings` float32 [n, D], `labels` int64 [n] and `brightness` float32 [n], by which the
    candidates themselves are known again
    """
    for b in _or_empty(blocks):
        part = candidates.take(b.rows(copies, offset))
        if variations == 0:
            mean = encoder(fit(part.images, **image))
        else:
            streams = (rng_of(*identity, "look ahead", b.index, i) for i in range(variations))
            embedded = (
                encoder(fit(generator.vary(part, degree, rng).images, **image)) for rng in streams
            )
            total = next(embedded).astype(np.float64)
            for more in embedded:
                total += more
            mean = total / variations
        yield {
            "embeddings": np.asarray(mean, np.float32),
            "labels": part.labels,
            "brightness": part.brightness,
        }
