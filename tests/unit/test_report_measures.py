"""Measures: names against their headings, printed numbers against the numbers themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.report import measures
from workflow_scripts.report.measures import Measure


@pytest.mark.parametrize(
    "metric, title, where, direction",
    [
        ("accuracy_cnn", "Accuracy", "CNN", 1),
        ("accuracy_my_net", "Accuracy", "my_net", 1),
        ("accuracy", "Accuracy", "", 1),
        ("frechet_glyph-cnn", "Fréchet", "glyph-cnn", -1),
        ("kernel_my_net", "Kernel", "my_net", -1),
        ("fid", "FID", "Inception", -1),
        ("recall_x", "Recall", "x", 1),
        ("mystery_x", "mystery_x", "", 0),
    ],
)
def test_a_metric_is_known_by_its_name(metric, title, where, direction):
    measure, found = measures.measure_of(metric)
    assert (measure.title, found, measure.direction) == (title, where, direction)


def test_encoders_are_those_that_a_name_says():
    names = ["accuracy_cnn", "kernel_b", "fid", "frechet_a", "recall_b", "mystery_c", "generated_d"]
    assert measures.encoders(names) == ["b", "a"]


@given(st.lists(st.floats(-9, 9).map(lambda power: 10**power), min_size=1, max_size=6))
def test_a_distance_is_printed_to_three_digits_in_a_unit_that_needs_at_most_five(values):
    scale = measures.scale_of(Measure("x"), values)
    unit = float(f"1e{scale.unit.removeprefix('10').translate(DIGITS) or 0}")
    printed = [scale.printed(value) for value in values]
    assert len({len(text.partition(".")[2]) for text in printed}) == 1
    for value, text in zip(values, printed, strict=True):
        assert abs(float(text) * unit - value) <= 0.5001 * 10.0**-scale.decimals * unit
        if max(values) < 3 * min(values):
            assert float(text) * unit == pytest.approx(value, rel=0.0051)
    # Rounding may carry into one digit more: 999.999 is printed as 1000.00.
    largest = max(values) / unit * (1 - 1e-9)
    assert 0.09 < largest < 10000
    assert len(str(math.floor(largest)).lstrip("0")) + scale.decimals <= 5


DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


@pytest.mark.parametrize("values", [[], [0.0], [math.nan, math.inf]])
def test_values_without_a_size_have_no_unit(values):
    scale = measures.scale_of(Measure("x"), values)
    assert (scale.unit, scale.printed(0.0), scale.printed(math.nan)) == ("", "0.00", "–")


def test_a_small_negative_value_is_not_minus_zero():
    scale = measures.scale_of(Measure("x"), [5.0])
    assert (scale.printed(-0.001), scale.printed(-0.006)) == ("0.00", "−0.01")


def test_epsilon_spent_is_never_understated():
    for spent in 10 ** np.random.default_rng(0).uniform(-4, 3, 500):
        printed = float(measures.printed_epsilon_spent(spent))
        assert spent * (1 - 1e-6) <= printed <= spent * 1.001


@pytest.mark.parametrize(
    "spent, printed",
    [
        (0.9999997, "1.000"),
        (1.0000005, "1.000"),
        (9.93214, "9.933"),
        (0.5, "0.5000"),
        (100.0, "100.0"),
        (0.0, "0"),
        (math.inf, "∞"),
        (math.nan, "–"),
    ],
)
def test_epsilon_spent(spent, printed):
    assert measures.printed_epsilon_spent(spent) == printed


@pytest.mark.parametrize(
    "delta, printed",
    [(1e-5, "1.0×10⁻⁵"), (9.33e-5, "9.4×10⁻⁵"), (9.99e-5, "1.0×10⁻⁴"), (0.0, "0")],
)
def test_delta(delta, printed):
    assert measures.printed_delta(delta) == printed
