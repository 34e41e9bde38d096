"""Faults planted in the code of the mechanisms, and which safeguard notices which.

Every fault replaces a piece of the real code. Then a small run goes through the real steps, and the
audits go over the mechanisms, small and seeded (false alarms on correct code: 0.3 %, but the seeds
are fixed). The matrix stands in docs/privacy.md; `python -m tests.unit.test_mutations` prints it.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import chdir
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workflow_scripts.audits import accounting, counts, dp_sgd, queries, votes
from workflow_scripts.audits.findings import Finding
from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.dpsgd.per_sample import PerSampleGradients
from workflow_scripts.evolution.class_counts import release_class_counts
from workflow_scripts.evolution.votes import count_votes, release_votes
from workflow_scripts.files import FileProblem, read_json, write_arrays, write_json
from workflow_scripts.privacy import accountant
from workflow_scripts.privacy.accountant import BudgetExceeded
from workflow_scripts.privacy.budget import read_budget
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.journal import Release
from workflow_scripts.privacy.scanner import Secrets, scan
from workflow_scripts.privacy.statement import LedgerProblem
from workflow_scripts.privacy.zones import secure_zone
from workflow_scripts.step import Job
from workflow_scripts.steps import account, calibrate, count_classes, query_classes, vote

# What is planted.

Plant = Callable[[pytest.MonkeyPatch], None]


def everywhere(patch: pytest.MonkeyPatch, original: Callable, fault: Callable) -> None:
    """Put a fault in the place of a function, in every module that has it."""
    for name, module in list(sys.modules.items()):
        here = getattr(module, original.__name__, None)
        if name.startswith("workflow_scripts") and here is original:
            patch.setattr(module, original.__name__, fault)


def half_the_noise_on_counts(patch):
    def release(self, counts, noise):
        return noise.discrete_gaussian(counts, self.scale / 2), self.event

    patch.setattr(DiscreteGaussianMechanism, "release", release)


def half_the_noise_on_gradients(patch):
    release = DpSgd.release

    def halved(self, sums, key, step):
        return release(replace(self, noise_multiplier=self.noise_multiplier / 2), sums, key, step)

    patch.setattr(DpSgd, "release", halved)


def calibrated_for(patch, iterations_of: Callable[[int], int]) -> None:
    original = accountant.calibrate

    def calibrated(epsilon, delta, iterations, release, others=()):
        return original(epsilon, delta, iterations_of(iterations), release, others)

    everywhere(patch, original, calibrated)


def forgotten_root_of_iterations(patch):
    calibrated_for(patch, lambda iterations: 1)


def one_iteration_too_few(patch):
    calibrated_for(patch, lambda iterations: iterations - 1)


def double_vote(patch):
    everywhere(patch, count_votes, lambda *ballot, **options: 2 * count_votes(*ballot, **options))


def votes_not_normalised(patch):
    def of(cls, noise_multiplier, counts=1):
        return cls(noise_multiplier, counts)

    patch.setattr(DiscreteGaussianMechanism, "of", classmethod(of))


def no_clipping(patch):
    patch.setattr(DpSgd, "clip", lambda self, norms: torch.ones_like(norms))


def views_clipped_one_by_one(patch):
    clipped_sum = PerSampleGradients.clipped_sum

    def by_view(self, losses, views, clip):
        return clipped_sum(self, losses, 1, clip)

    patch.setattr(PerSampleGradients, "clipped_sum", by_view)


def shuffled_batches(patch):
    def sample(self, key, step, records):
        batches = round(1 / self.sampling_probability)
        epoch, batch = divmod(step, batches)
        order = key.rng("batch", epoch).permutation(records)
        return np.sort(np.array_split(order, batches)[batch])

    patch.setattr(DpSgd, "sample", sample)


def the_same_noise_in_every_step(patch):
    release = DpSgd.release
    patch.setattr(DpSgd, "release", lambda self, sums, key, step: release(self, sums, key, 0))


def noise_begins_anew_after_an_interruption(patch):
    release = DpSgd.release

    def counted(self, sums, key, step):
        calls = vars(self).get("calls", 0)
        object.__setattr__(self, "calls", calls + 1)
        return release(self, sums, key, calls)

    patch.setattr(DpSgd, "release", counted)


def clean_histogram_saved(patch):
    kept = []

    def release(private, candidates, mechanism, noise, **ballot):
        kept.append(count_votes(private, candidates, mechanism.counts, **ballot))
        return release_votes(private, candidates, mechanism, noise, **ballot)

    def write(path, arrays, *others):
        write_arrays(path, {**arrays, "clean_votes": kept[-1]}, *others)

    patch.setattr(vote, "release_votes", release)
    patch.setattr(vote, "write_arrays", write)


def class_counts_copied(patch):
    def release(labels, classes, mechanism, noise):
        return np.bincount(labels, minlength=classes).astype(np.int64), mechanism.event

    everywhere(patch, release_class_counts, release)


def cached_query_uncharged(patch):
    ledger = Release.ledger

    def ledger_if_drawn(self, *which):
        return None if self.replayed else ledger(self, *which)

    def write(path, content):
        if content is not None:
            write_json(path, content)

    patch.setattr(Release, "ledger", ledger_if_drawn)
    patch.setattr(query_classes, "write_json", write)


FAULTS: dict[str, Plant] = {
    "half the noise on counts": half_the_noise_on_counts,
    "half the noise on gradients": half_the_noise_on_gradients,
    "√T forgotten: noise for one iteration, T of them": forgotten_root_of_iterations,
    "noise for T − 1 iterations": one_iteration_too_few,
    "every vote cast twice": double_vote,
    "k votes with noise σ, not σ√k": votes_not_normalised,
    "gradients not clipped": no_clipping,
    "views clipped one by one": views_clipped_one_by_one,
    "shuffled batches, accounted as Poisson samples": shuffled_batches,
    "the same noise in every step": the_same_noise_in_every_step,
    "noise begins anew after an interruption": noise_begins_anew_after_an_interruption,
    "clean votes saved beside the noisy ones": clean_histogram_saved,
    "class counts copied": class_counts_copied,
    "a query from the journal is not charged": cached_query_uncharged,
}

# A run through the real steps.

SIZES = (150, 90, 61, 203, 120, 80)
T, K, PUBLIC, CLASS_NOISE = 2, 2, 12, 3.0
QUERY = DiscreteGaussianMechanism.of(CLASS_NOISE).event
RUN = {
    "epsilon": 4.0,
    "delta": 1e-5,
    "iterations": T,
    "release": {"type": "discrete-gaussian", "counts": K},
    "others": [asdict(QUERY), asdict(QUERY)],
}
RELEASES = [["count_classes", 0], ["query_classes", 0], *(["vote", t] for t in range(1, T + 1))]
SENSITIVE, RUNS, STAGE = "results/sensitive/x", "results/runs/x/m", {"stage": "x"}


def job(rule: str, settings: Mapping, inputs: Mapping, outputs: Mapping) -> Job:
    names = SimpleNamespace(**inputs), SimpleNamespace(**outputs)
    return Job(rule, *names, SimpleNamespace(), {**RUN, "stage": STAGE, **settings})


def entry(release: str) -> dict:
    return {
        "entry": {
            "journal": f"results/sensitive/journal/x/{release}.safetensors",
            "register": "results/accounts/x/register.jsonl",
            "identity": f"x/{release}",
            "noise_source": "seeded",
        }
    }


def write_data() -> Secrets:
    """The sensitive data set, and candidates; the secrets of the former."""
    secure_zone()
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    images = rng.integers(256, size=(len(labels), 8, 8, 1), dtype=np.uint8)
    embeddings = rng.normal(size=(len(labels), 6)).astype(np.float32)
    write_arrays(f"{SENSITIVE}/train.safetensors", {"images": images, "labels": labels})
    write_arrays(
        f"{SENSITIVE}/embeddings.safetensors", {"embeddings": embeddings, "labels": labels}
    )
    candidates = {
        "embeddings": rng.normal(size=(120, 6)).astype(np.float32),
        "labels": np.arange(120) % len(SIZES),
        "brightness": rng.random(120).astype(np.float32),
    }
    write_arrays(f"{RUNS}/lookahead.safetensors", candidates)
    return Secrets.of(images, labels, [embeddings])


def execute(folder: str) -> dict[str, bool]:
    """A run in an empty folder: which of its safeguards raise an alarm.

    Mechanisms do not look at the budget here, so that what comes after them is put to the test.
    """
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        secrets = write_data()
        budget, train = f"{RUNS}/eps10/seed0/budget.json", f"{SENSITIVE}/train.safetensors"
        calibrate.calibrate_run(job("calibrate", {}, {}, {"budget": budget}))
        alarms = {"budget": refuses(lambda: read_budget(budget, RUN), FileProblem)}
        for step in (vote, count_classes):
            patch.setattr(step, "read_budget", lambda path, run: read_json(path))
        patch.setattr(query_classes, "open_classifier", lambda *which: classify)
        ledgers = [f"{RUNS}/eps10/seed0/{name}{t}.json" for name, t in RELEASES]
        count_classes.count_classes(
            job(
                "count_classes",
                {**entry("counts"), "classes": len(SIZES), "class_count_noise": CLASS_NOISE},
                {"train": train, "budget": budget},
                {"counts": f"{RUNS}/counts.safetensors", "ledger": ledgers[0]},
            )
        )
        for user in ("another run", "this run"):
            ask(train, budget, f"{RUNS}/{user}/query", ledgers[1] if user == "this run" else None)
        for t in range(1, T + 1):
            vote.vote(
                job(
                    "vote",
                    {**entry(f"iter{t}"), "iteration": t, "metric": "l2", "joint": False},
                    {
                        "train": train,
                        "embeddings": [f"{SENSITIVE}/embeddings.safetensors"],
                        "lookahead": [f"{RUNS}/lookahead.safetensors"],
                        "budget": budget,
                    },
                    {"votes": f"{RUNS}/iter{t}.safetensors", "ledger": ledgers[1 + t]},
                )
            )
        accounted = job(
            "account",
            {"releases": RELEASES, "noise_source": "seeded", "dataset": "x", "public": {}},
            {"ledgers": [path for path in ledgers if os.path.exists(path)]},
            {"privacy": f"{RUNS}/eps10/seed0/privacy.json"},
        )
        alarms["account"] = refuses(
            lambda: account.account(accounted), BudgetExceeded, LedgerProblem
        )
        alarms["scanner"] = bool(scan([Path("results/runs")], secrets))
    return alarms


def ask(train: str, budget: str, folder: str, ledger: str | None) -> None:
    """The semantic query; the second time it comes from the journal."""
    settings = {
        **entry("query"),
        "event": asdict(QUERY),
        "classes": len(SIZES),
        "public_classes": PUBLIC,
        "classifier": {},
        "image": {},
    }
    outputs = {
        "counts": f"{folder}/counts.safetensors",
        "ledger": ledger or f"{folder}/ledger.json",
    }
    inputs = {"train": train, "budgets": [budget], "classifier": None}
    query_classes.query_classes(job("query_classes", settings, inputs, outputs))


def classify(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)[:, :PUBLIC].astype(np.float32)


def refuses(action: Callable[[], object], *problems: type[Exception]) -> bool:
    try:
        action()
    except problems:
        return True
    return False


# The audits, small.

ASPECTS = {
    "sensitivity": ("sensitivity",),
    "noise": ("noise: standard", "noise: released", "stated noise"),
    "shared noise": ("noise: pairs", "noise: largest", "weights", "steps run again"),
    "two worlds": ("two worlds",),
    "sampler": ("times that", "size of", "largest correlation of two records"),
    "accounting": ("ε by",),
}


def audit() -> list[Finding]:
    """One of each kind of mechanism and check."""
    source = "seeded"
    training = DpSgd(1.0, 12, 2.0, dp_sgd.CLIPPING_NORM, 800)
    return [
        *counts.sensitivity(votes.neighbours(3, False)),
        *counts.noise_and_worlds(votes.far_apart(3, False, 2000), source, claims=(10.0,)),
        *counts.noise_and_worlds(queries.counts_of(np.arange(1000)), source, claims=(2.0,)),
        *dp_sgd.canaries_in_training(training, source),
        dp_sgd.several_views(source, records=50),
        *dp_sgd.interruption(source),
        *dp_sgd.sampler(source),
        *accounting.calibrated_votes(1.0, 6, 3),
    ]


def aspects_of(findings: Iterable[Finding]) -> dict[str, bool]:
    """Aspect → whether a check of it did not pass."""
    alarms = dict.fromkeys(ASPECTS, False)
    for finding in findings:
        (aspect,) = [a for a, begins in ASPECTS.items() if finding.check.startswith(begins)]
        alarms[aspect] |= not finding.passed
    return alarms


# Fault × safeguard.

Matrix = dict[str, dict[str, bool]]
NONE = "none"


def alarms_of(plant: Plant) -> dict[str, bool]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        plant(patch)
        return {**aspects_of(audit()), **execute(folder)}


def remembered(function: Callable) -> Callable:
    """A function of events that computes nothing twice; no fault is planted in it."""
    known = {}

    @wraps(function)
    def call(events, *others, **options):
        key = (tuple(events), others, *options.items())
        if key not in known:
            known[key] = function(events, *others, **options)
        return known[key]

    return call


def examine() -> Matrix:
    """Every fault, and none, before every safeguard."""
    faults = {NONE: lambda patch: None, **FAULTS}
    with pytest.MonkeyPatch.context() as patch:
        for function in (accountant.compose, accountant.exact):
            everywhere(patch, function, remembered(function))
        return {name: alarms_of(plant) for name, plant in faults.items()}


def as_markdown(matrix: Matrix) -> str:
    safeguards = list(matrix[NONE])
    lines = [
        "| fault | " + " | ".join(safeguards) + " |",
        "|---|" + "---|" * len(safeguards),
        *(
            f"| {fault} | " + " | ".join("✗" if alarms[s] else "" for s in safeguards) + " |"
            for fault, alarms in matrix.items()
        ),
    ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return examine()


def test_without_a_fault_there_is_no_alarm(matrix):
    assert not any(matrix[NONE].values())


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault, matrix):
    assert any(matrix[fault].values())


@pytest.mark.parametrize("safeguard", [*ASPECTS, "budget", "account", "scanner"])
def test_no_safeguard_is_idle(safeguard, matrix):
    assert any(alarms[safeguard] for alarms in matrix.values())


def test_the_documentation_says_which_safeguard_notices_which_fault(matrix):
    text = Path(__file__).parents[2].joinpath("docs", "privacy.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- mutations -->")
    documented, _, _ = rest.partition("<!-- /mutations -->")
    assert documented.strip() == as_markdown(matrix)


if __name__ == "__main__":
    print(as_markdown(examine()))
