"""Audits find nothing in correct code, and their statistics are what they say: seeds are fixed."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from workflow_scripts.audits import accounting, dp_sgd, queries, votes
from workflow_scripts.audits.counts import Silence, noise_and_worlds
from workflow_scripts.audits.findings import FALSE_ALARM, Finding, as_json, from_json
from workflow_scripts.audits.statistics import dispersion, noise_scale, shared_noise, two_worlds
from workflow_scripts.audits.subject import code_digest
from workflow_scripts.audits.table import AuditFailed, as_markdown, as_table, check_verdicts
from workflow_scripts.privacy.closed_form import epsilon_of_mu
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism

pytestmark = pytest.mark.slow

DELTA = 1e-5


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return [
        *votes.audit("seeded", canaries=1000),
        *queries.audit("seeded", classes=20),
        *dp_sgd.audit("seeded", canaries=400),
        *accounting.calibrated_votes(10.0, 6, 3),
        *accounting.full_batches(2.0, 16),
        *accounting.poisson_samples(1.0, 0.25, 40),
    ]


def test_correct_code_passes(findings):
    assert [finding for finding in findings if not finding.passed] == []


def test_a_run_of_all_audits_raises_a_false_alarm_less_than_once_in_a_hundred(findings):
    assert sum(finding.false_alarm for finding in findings) < 0.01


def test_every_mechanism_is_audited_in_every_way(findings):
    checks = {(f.mechanism, f.check.partition(":")[0]) for f in findings}
    counts = [f"votes, k = {k}, {among}" for k in (1, 3) for among in ("joint", "per class")]
    counts += ["query, k = 1", "query, k = 3", "class counts"]
    for mechanism in [*counts, "DP-SGD, q = 1", "DP-SGD, q = 0.25"]:
        for way in ("sensitivity", "noise", "two worlds"):
            assert (mechanism, way) in checks


@pytest.mark.parametrize("k", [1, 3])
def test_the_sensitivity_that_is_allowed_is_reached(findings, k):
    for among in ("per class", "joint"):
        (change,) = [
            f.found
            for f in findings
            if f.mechanism == f"votes, k = {k}, {among}" and f.check.startswith("sensitivity: L2")
        ]
        assert change == pytest.approx(math.sqrt(k))


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_a_canary_has_counts_of_its_own(k, joint):
    canaries = votes.far_apart(k, joint, 500)
    included = np.arange(500) % 3 == 0
    counts, _ = canaries.clean(included)
    assert np.array_equal(counts[canaries.cells], np.repeat(included[:, None], k, axis=1))
    assert counts.sum() == k * included.sum()


def test_silence_changes_nothing_and_noise_does():
    counts = np.arange(5)
    mechanism = DiscreteGaussianMechanism.of(1.0)
    silent, _ = mechanism.release(counts, Silence())
    assert np.array_equal(silent, counts) and silent is not counts
    assert Silence().largest(counts, 1.0) == 4


def test_noise_of_the_operating_system_passes_too():
    """False alarms: 4 in 10,000."""
    canaries = votes.far_apart(1, False, 500)
    assert all(finding.passed for finding in noise_and_worlds(canaries, "os", claims=(10.0,)))


def test_a_scale_that_is_a_little_wrong_is_seen():
    noise = np.random.default_rng(0).normal(size=100_000)
    assert noise_scale("x", noise).passed
    assert not noise_scale("x", 0.98 * noise).passed
    assert not noise_scale("x", 1.02 * noise).passed
    assert not noise_scale("x", 0 * noise).passed


def test_the_scale_raises_as_many_false_alarms_as_it_says(monkeypatch):
    """At 5 %: the number of alarms in 2,000 trials, itself within its 99.9 % interval."""
    monkeypatch.setattr("workflow_scripts.audits.statistics.FALSE_ALARM", 0.05)
    rng = np.random.default_rng(1)
    alarms = sum(not noise_scale("x", rng.normal(size=2000)).passed for _ in range(2000))
    low, high = stats.binom.ppf([0.0005, 0.9995], 2000, 0.05)
    assert low <= alarms <= high


def test_the_correlation_raises_no_more_false_alarms_than_it_says(monkeypatch):
    monkeypatch.setattr("workflow_scripts.audits.statistics.FALSE_ALARM", 0.05)
    rng = np.random.default_rng(2)
    trials = [shared_noise("x", rng.normal(size=(10, 400)))[1].passed for _ in range(1000)]
    # Of 1,000 trials 5 %, and the 99.9 % quantile of that.
    assert trials.count(False) <= stats.binom.ppf(0.999, 1000, 0.05)


def test_noise_that_is_shared_is_seen_whatever_its_scale():
    draws = np.random.default_rng(3).normal(size=(4, 2000))
    assert all(finding.passed for finding in shared_noise("x", draws))
    copied, half = draws.copy(), draws.copy()
    copied[3] = 7 * draws[0]
    half[3] = draws[0] + draws[3]
    assert [finding.passed for finding in shared_noise("x", copied)] == [False, False]
    assert [finding.passed for finding in shared_noise("x", half)] == [True, False]
    assert not any(finding.passed for finding in shared_noise("x", 0 * draws))


def worlds(mu: float, seed: int, canaries: int = 2000, claimed: float | None = None) -> Finding:
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    scores = rng.normal(size=canaries) + mu * included
    return two_worlds("x", scores, included, claimed or epsilon_of_mu(mu, DELTA), DELTA)


@pytest.mark.parametrize("mu", [0.0001, 0.3, 2.0])
def test_the_lower_bound_is_one(mu, monkeypatch):
    """At 5 %: above the truth in at most 5 % of 300 trials, and the 99.9 % quantile of that."""
    monkeypatch.setattr("workflow_scripts.audits.statistics.FALSE_ALARM", 0.05)
    alarms = sum(not worlds(mu, seed).passed for seed in range(300))
    assert alarms <= stats.binom.ppf(0.999, 300, 0.05)


def test_the_lower_bound_sees_half_the_noise():
    assert all(worlds(2.0, seed).found > 5 for seed in range(20))
    assert not any(worlds(4.0, seed, claimed=10.0).passed for seed in range(20))


def test_who_is_told_apart_without_error_gives_a_finite_bound():
    assert 20 < worlds(100.0, 0).found < 30


def test_a_dispersion_of_shuffled_batches_is_too_small():
    rng = np.random.default_rng(4)
    assert dispersion("x", "size", rng.normal(size=500)).passed
    assert not dispersion("x", "size", np.zeros(500)).passed
    assert not dispersion("x", "size", 1.3 * rng.normal(size=500)).passed


def test_a_finding_passes_within_its_range_alone():
    def finding(found):
        return Finding("votes", "x", found, highest=2.0, lowest=1.0)

    assert finding(1.0).passed and finding(2.0).passed
    assert not any(finding(x).passed for x in (0.999, 2.001, math.nan, math.inf))


def test_findings_survive_a_file():
    kept = [
        Finding("votes", "x", math.nan, 1.0),
        Finding("votes", "y", math.inf, math.inf, 0.5, claimed=1.0, false_alarm=FALSE_ALARM),
    ]
    text = json.dumps(as_json(kept), allow_nan=False)
    first, second = from_json(json.loads(text))
    assert math.isnan(first.found) and first.lowest == -math.inf and not first.passed
    assert second == kept[1]


def test_the_table_says_what_was_found_and_allowed():
    findings = [
        Finding("votes", "change", 1.0, 1.0),
        Finding("votes", "scale", 0.5, 1.01, 0.99, claimed=10.0, false_alarm=1e-4),
        Finding("votes", "stated", 1.0, 1 + 1e-9, 1 - 1e-9),
        Finding("votes", "copies", 0, 0, 0),
    ]
    table = as_table(findings)
    assert table["verdict"].tolist() == ["pass", "FAIL", "pass", "pass"]
    assert table["allowed"].tolist() == ["at most 1", "0.99 to 1.01", "1 ± 1e-09", "0"]
    assert table["claimed_epsilon"].tolist() == ["", "10", "", ""]
    text = as_markdown(findings)
    assert "| votes | scale | 10 | 0.5 | 0.99 to 1.01 | FAIL |" in text
    assert "4 checks, 1 failed" in text and "probability of 0.0001 at most" in text


def test_a_verdict_names_what_failed_and_nothing_else():
    good, bad = Finding("votes", "good", 0, 1), Finding("DP-SGD", "bad", 2, 1)
    check_verdicts([good])
    with pytest.raises(AuditFailed, match=r"DP-SGD: bad: found 2; allowed: at most 1") as failure:
        check_verdicts([good, bad])
    assert "good" not in str(failure.value)


def test_changed_code_has_another_digest(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("no code")
    assert code_digest(tmp_path) == first
    (tmp_path / "a.py").write_text("x = 2\n")
    second = code_digest(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, code_digest(tmp_path)}) == 3
    assert code_digest() == code_digest()
