"""The small experiment, from raw images to the table, as a user finds it."""

import hashlib
import re
import stat

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from workflow_scripts.evolution.votes import count_votes
from workflow_scripts.files import read_json
from workflow_scripts.privacy.closed_form import epsilon_of
from workflow_scripts.shards import Shards

RUN = "runs/digits~*/sim-pe~*/eps10/seed0"
EMBEDDINGS = "sensitive/digits~*/embeddings/pixels~*/train/1-of-1.safetensors"


def clean_votes(project, t: int) -> np.ndarray:
    """What only the mechanism knows of iteration t."""
    folder = "public/initial/*/seed0/lookahead/*" if t == 1 else f"{RUN}/iter{t - 1}/lookahead"
    candidates = project.one(f"{folder}/1-of-1.safetensors")
    return count_votes(Shards(project.one(EMBEDDINGS)), Shards(candidates))


def test_everything_that_the_report_promises_is_there(built_once):
    report = built_once.results / "reports/small"
    metrics, runs, table = (
        pd.read_csv(report / f"{name}.csv") for name in ("metrics", "runs", "table")
    )
    assert list(metrics) == [
        "experiment",
        "dataset",
        "method",
        "key",
        "epsilon",
        "seed",
        "metric",
        "value",
    ]
    assert {"directory", "status", "epsilon_spent", "seconds"} <= set(runs)
    assert set(runs["status"]) == {"done"}
    assert list(table)[:6] == ["dataset", "method", "epsilon", "epsilon_spent", "delta", "seeds"]
    assert {"accuracy_logistic_mean", "accuracy_logistic_sd"} <= set(table)
    for name in ("table.md", "table.tex", "table.html", "report.html"):
        assert (report / name).stat().st_size > 0
    html = (report / "report.html").read_text()
    assert not re.search(r"(?:src|href)\s*=\s*['\"]?(?:https?:)?//", html), "not self-contained"


def test_numbers_are_in_the_order_that_they_must_have(built_once):
    table = pd.read_csv(built_once.results / "reports/small/table.csv").set_index("method")
    accuracy = table["accuracy_logistic_mean"]
    assert accuracy["real"] > 0.93
    assert accuracy["real"] > accuracy["sim-pe"] > accuracy["random"]
    assert table["frechet_pixels_mean"]["real"] < table["frechet_pixels_mean"]["sim-pe"]
    assert table["epsilon_spent"]["random"] == 0 and np.isinf(table["epsilon_spent"]["real"])


def test_the_statement_accounts_for_what_was_executed(built_once):
    statement = read_json(built_once.one(f"{RUN}/privacy.json"))
    budget = read_json(built_once.one(f"{RUN}/budget.json"))
    assert {"epsilon", "delta", "iterations", "noise_multiplier"} <= set(budget)
    assert len(statement["releases"]) == budget["iterations"] == 3
    assert statement["epsilon"] <= 10 * (1 + 1e-6)
    closed = epsilon_of(budget["noise_multiplier"], 3, budget["delta"])
    # Of continuous noise; counts have discrete noise, which costs a little less or more.
    np.testing.assert_allclose(statement["epsilon"], closed, rtol=2e-2)
    np.testing.assert_allclose(statement["epsilon"], statement["epsilon_exact"], rtol=1e-6)
    assert statement["noise_source"] == "seeded" and statement["is_private"] is False
    n = 1437
    np.testing.assert_allclose(budget["delta"], 1 / (n * np.log(n)))


def test_the_random_row_spends_nothing(built_once):
    statement = read_json(built_once.one("runs/digits~*/random~*/eps0/seed0/privacy.json"))
    assert statement["epsilon"] == 0 and statement["releases"] == []


def test_a_release_has_the_declared_classes_in_the_declared_fractions(built_once):
    released = load_file(built_once.one(f"{RUN}/release.safetensors"))
    assert set(released) == {"images", "labels"}
    assert released["images"].shape == (60, 8, 8, 1) and released["images"].dtype == np.uint8
    # Uniform, although the private classes are not of equal size.
    assert np.bincount(released["labels"]).tolist() == [6] * 10


def test_the_sensitive_zone_is_closed_to_others(built_once):
    assert stat.S_IMODE((built_once.results / "sensitive").stat().st_mode) == 0o700


def test_the_split_is_that_of_the_declared_seed(built_once):
    images, labels = load_digits(return_X_y=True)
    train = load_file(built_once.one("sensitive/digits~*/train.safetensors"))
    test = load_file(built_once.one("sensitive/digits~*/test.safetensors"))
    assert len(train["labels"]) == 1437 and len(test["labels"]) == 360
    together = np.concatenate([train["images"], test["images"]]).reshape(1797, -1)
    original = np.round(images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, together)) == sorted(map(bytes, original))
    shares = np.bincount(test["labels"]) / np.bincount(labels)
    assert np.all(np.abs(shares - 0.2) < 0.01)


def test_nothing_outside_the_sensitive_zone_holds_private_images_or_clean_votes(built_once):
    """Scan every array outside the zone for the clean votes, and every file for an image."""
    images = load_file(built_once.one("sensitive/digits~*/train.safetensors"))["images"]
    clean = clean_votes(built_once, 1)
    assert clean.sum() == 1437
    # Images with little structure occur by chance among renderings; these do not.
    canaries = [image.tobytes() for image in images if len(np.unique(image)) > 14]
    assert len(canaries) > 100
    outside = [
        path
        for path in built_once.find("**/*")
        if path.is_file() and "sensitive" not in path.relative_to(built_once.results).parts
    ]
    assert len(outside) > 50
    for path in outside:
        content = path.read_bytes()
        assert not any(canary in content for canary in canaries), path
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy") as stored:
                for name in stored.keys():  # noqa: SIM118 — safe_open is no mapping
                    array = stored.get_tensor(name)
                    assert array.shape != clean.shape or not np.array_equal(array, clean), path


def test_snakemakes_own_memory_holds_no_digest_of_private_files(built_once):
    """It would keep checksums of small inputs; a digest identifies private data."""
    memory = built_once.folder / ".snakemake"
    assert stat.S_IMODE(memory.stat().st_mode) == 0o700
    digests = {
        hashlib.sha256(path.read_bytes()).hexdigest().encode()
        for path in built_once.find("sensitive/**/*.safetensors")
    }
    assert len(digests) >= 6
    records = [path for path in memory.rglob("*") if path.is_file()]
    assert len(records) > 30
    for path in records:
        content = path.read_bytes()
        assert not any(digest in content for digest in digests), path


def test_released_votes_carry_noise_on_every_bin(built_once):
    sigma = read_json(built_once.one(f"{RUN}/budget.json"))["noise_multiplier"]
    noise = []
    for t in (1, 2, 3):
        votes = load_file(built_once.one(f"{RUN}/iter{t}/votes.safetensors"))
        assert votes["votes"].dtype == np.int64
        noise.append(votes["votes"] - clean_votes(built_once, t))
    drawn = np.concatenate(noise) / sigma
    # χ² of 180 draws: outside [110, 267] once in 10,000 runs; the seed is fixed.
    assert len(drawn) == 180 and 110 < np.sum(drawn**2) < 267
    # Noise is not shared between iterations.
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 5 / np.sqrt(60)
