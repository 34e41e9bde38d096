"""Public randomness is named by its use."""

import numpy as np

from workflow_scripts.randomness import rng_of


def test_equal_identities_give_equal_streams_and_others_do_not():
    uses = [("a", 1), ("a", 2), ("a", "1"), ("a1",), ("a", 1, 0), ("b", 1), ("a", 1.5)]
    streams = np.array([rng_of(*use).standard_normal(400) for use in uses])
    assert np.array_equal(streams[0], rng_of("a", 1).standard_normal(400))
    # 5 standard deviations of an empirical correlation; the seeds are fixed.
    assert np.abs(np.corrcoef(streams) - np.eye(len(uses))).max() < 5 / np.sqrt(400)


def test_streams_are_the_same_on_every_machine():
    assert rng_of("release", 3).integers(1000, size=4).tolist() == [912, 13, 680, 876]
