"""Blocks and shards: how generator calls are spread over jobs without changing what they return.

A population is cut into blocks of a fixed size, which is a setting of the generator. Every block
has its own random stream and is computed as one batch; a shard is a job that takes whole blocks.
The result is therefore the same for any number of shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.encoders import Encoder
from workflow_scripts.generators import Generator
from workflow_scripts.generators.population import Population, concatenate
from workflow_scripts.randomness import rng_of


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of a population, the `index`-th block of it."""

    index: int
    start: int
    stop: int


def blocks_of(size: int, block_size: int, item: str) -> list[Block]:
    """The blocks of one shard.

    Parameters
    ----------
    size : int
        Of the whole population.
    block_size : int
    item : str
        Which shard, as Snakemake writes it: `2-of-3`.
    """
    shard, shards = map(int, item.split("-of-"))
    blocks = -(-size // block_size)
    first, last = (shard - 1) * blocks // shards, shard * blocks // shards
    return [Block(i, i * block_size, min((i + 1) * block_size, size)) for i in range(first, last)]


def rows_of(blocks: Sequence[Block]) -> slice:
    """The rows that a shard's blocks cover; they are adjacent."""
    return slice(blocks[0].start, blocks[-1].stop) if blocks else slice(0, 0)


def initialise(
    generator: Generator, labels: np.ndarray, blocks: Sequence[Block], identity: Sequence
) -> Population:
    """RANDOM for the rows of a shard.

    Parameters
    ----------
    labels : int64 [N]
        Of the whole population.
    blocks : sequence of Block
    identity : sequence
        Names the random streams, together with the block.
    """
    parts = [
        generator.random(labels[b.start : b.stop], rng_of(*identity, "random", b.index))
        for b in blocks
    ]
    return concatenate(parts or [generator.random(labels[:0], rng_of(*identity, "random"))])


def vary(
    generator: Generator,
    parents: Population,
    degree: Mapping[str, float],
    blocks: Sequence[Block],
    identity: Sequence,
) -> Population:
    """VARIATION for the rows of a shard; `parents` is the whole selection, in order."""
    parts = [
        generator.vary(
            parents.take(slice(b.start, b.stop)), degree, rng_of(*identity, "vary", b.index)
        )
        for b in blocks
    ]
    return concatenate(parts or [parents.take(slice(0, 0))])


def look_ahead(
    generator: Generator,
    encoder: Encoder,
    candidates: Population,
    degree: Mapping[str, float],
    variations: int,
    blocks: Sequence[Block],
    identity: Sequence,
) -> np.ndarray:
    """The mean embedding of each candidate's variations, for the rows of a shard.

    Parameters
    ----------
    candidates : Population
        The shard's rows alone, in order.
    variations : int
        L, the lookahead degree.

    Returns
    -------
    float32 [n, D]
    """
    offset = blocks[0].start if blocks else 0
    means = []
    for b in blocks:
        part = candidates.take(slice(b.start - offset, b.stop - offset))
        total = None
        for i in range(variations):
            varied = generator.vary(part, degree, rng_of(*identity, "look ahead", b.index, i))
            embedding = encoder(varied.images).astype(np.float64)
            total = embedding if total is None else total + embedding
        means.append((total / variations).astype(np.float32))
    if not means:
        return encoder(candidates.images[:0]).astype(np.float32)
    return np.concatenate(means)
