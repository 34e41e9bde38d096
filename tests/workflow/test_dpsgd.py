"""The six methods that train with DP-SGD, through real Snakemake, on a tiny network."""

import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.workflow.conftest import SMALL, Project, new_project
from workflow_scripts.edm.pipeline import EdmPipeline
from workflow_scripts.files import read_json

pytestmark = pytest.mark.slow

TRAINING = {"batch_size": 16, "training_steps": 4, "learning_rate": 1.0e-3}
MODEL = {
    "kind": "edm",
    "dataset": "glyphs",
    "network": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4]},
    "training": TRAINING,
    "sampling": {"steps": 3},
    "block_size": 10,
}
DDPM = {
    "kind": "diffusion",
    "dataset": "glyphs",
    "channels": [8, 16],
    "batch_size": 16,
    "training_steps": 4,
    "learning_rate": 1.0e-3,
    "sampling_steps": 3,
    "block_size": 10,
}
CLASSIFIER = {
    "kind": "cnn",
    "dataset": "glyphs",
    "width": 8,
    "dimension": 16,
    "epochs": 2,
    "batch_size": 64,
    "learning_rate": 0.01,
}
DPDM = {
    "family": "dp-sgd",
    "model": "tiny",
    "start": "random",
    "batches_per_epoch": 40,
    "epochs": 1,
    "clipping_norm": 0.1,
    "learning_rate": 1.0e-3,
    "samples": 20,
    "checkpoint_every": 2,
}
SEMANTIC = {
    "query": "semantic",
    "classifier": "teller",
    "votes": 2,
    "noise_multiplier": 20,
    "selection_ratio": 0.33,
}
CENTRAL = {
    "query": "central-images",
    "images_per_class": 2,
    "sampling_probability": 0.2,
    "noise_multiplier": 20,
    "copies": 3,
    "training": TRAINING,
}
METHODS = {
    "dpdm": DPDM,
    "pdp": {**DPDM, "start": "pretrained"},
    "privimage": {**DPDM, "start": SEMANTIC, "noise_multiplicity": 2},
    "dp-feta": {
        **DPDM,
        "start": CENTRAL,
        "augmentation_multiplicity": 2,
        "augmentation": {"shift": 1},
    },
    "pdp-ddpm": {**DPDM, "model": "tiny-ddpm", "start": "pretrained"},
    "dp-lora": {**DPDM, "start": "pretrained", "train": {"rank": 2}},
    "dp-ldm": {**DPDM, "start": "pretrained", "train": "attention"},
}
EXPERIMENT = {
    **SMALL,
    "methods": [*METHODS],
    "epsilons": [10],
    "overrides": {},
    "classifiers": [],
    "fidelity_encoders": ["pixels"],
}


def prepared(folder, **changes) -> Project:
    project = new_project(folder)
    project.edit_catalogue("generators", **{"tiny": MODEL, "tiny-ddpm": DDPM})
    project.edit_catalogue("encoders", teller=CLASSIFIER)
    project.edit_catalogue("methods", **METHODS)
    datasets = project.folder / "config/datasets.yaml"
    datasets.write_text(datasets.read_text().replace("samples: 6200", "samples: 620"))
    project.write_experiment({**EXPERIMENT, **changes})
    return project


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Project:
    """All six methods; not to be changed."""
    project = prepared(tmp_path_factory.mktemp("trained") / "project")
    project.build()
    return project


def run_of(method: str, epsilon: float = 10) -> str:
    return f"runs/digits~*/{method}~*/eps{epsilon:g}/seed0"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_releases_images_within_its_budget(trained, method):
    release = load_file(trained.one(f"{run_of(method)}/release.safetensors"))
    assert release["images"].shape == (20, 8, 8, 1)
    assert np.array_equal(np.bincount(release["labels"]), [2] * 10)
    stated = read_json(trained.one(f"{run_of(method)}/privacy.json"))
    assert 9.9 < stated["epsilon"] <= 10 * (1 + 1e-6)
    training = stated["releases"][-1]
    assert training["mechanism"] == "finetune"
    assert training["event"]["steps"] == 40
    assert training["event"]["sampling_probability"] == 1 / 40


def test_queries_are_charged_to_the_runs_that_use_them(trained):
    def spent(method):
        stated = read_json(trained.one(f"{run_of(method)}/privacy.json"))
        return [(r["mechanism"], r["event"]) for r in stated["releases"]]

    assert [name for name, _ in spent("dpdm")] == ["finetune"]
    (name, event), _ = spent("privimage")
    assert (name, event["type"], event["counts"]) == ("query_classes", "discrete-gaussian", 2)
    assert event["scale"] == pytest.approx(20 * 2**0.5)
    (name, event), _ = spent("dp-feta")
    assert (name, event["type"]) == ("release_central_images", "poisson-sampled-gaussian")
    assert (event["steps"], event["sampling_probability"]) == (2, 0.2)

    def sigma(method):
        return read_json(trained.one(f"{run_of(method)}/budget.json"))["noise_multiplier"]

    assert sigma("dpdm") == sigma("pdp") == sigma("dp-lora") < sigma("privimage")
    assert sigma("dpdm") < sigma("dp-feta")


def test_only_what_is_trained_changes(trained):
    def weights(folder):
        return load_file(trained.one(f"{folder}/unet/*.safetensors"))

    start = weights("public/generators/tiny~*/pipeline")
    whole = weights(f"{run_of('pdp')}/finetuned/pipeline")
    assert all(not np.array_equal(whole[n], start[n]) for n in start if "class_emb" not in n)
    lora = weights(f"{run_of('dp-lora')}/finetuned/pipeline")
    assert lora.keys() == whole.keys(), "adapters are merged"
    changed = {n for n in start if lora[n].shape == start[n].shape and (lora[n] != start[n]).any()}
    assert changed and all(".to_" in name and name.endswith("weight") for name in changed)
    ldm = weights(f"{run_of('dp-ldm')}/finetuned/pipeline")
    for name in start:
        trains = any(part in name for part in ("attention", "noise_embedding", "class_embedding"))
        if not trains:
            assert np.array_equal(ldm[name], start[name]), name


def test_the_selection_is_relabelled_and_pictured(trained):
    folder = "runs/digits~*/queries/semantic-query~*/seed0/pretrained/tiny~*"
    selection = load_file(trained.one(f"{folder}/selection.safetensors"))
    assert selection["counts"].shape == (10, 62) and selection["chosen"].shape == (10, 2)
    assert len(np.unique(selection["chosen"])) == 20
    # Noise of scale √votes × noise_multiplier on whole numbers: some fall below zero.
    assert selection["counts"].dtype == np.int64 and (selection["counts"] < 0).any()
    assert read_json(trained.one(f"{folder}/pipeline/classes.json")) == list("0123456789")
    assert trained.one("reports/small/figures/query_digits~*.png").stat().st_size > 10_000


def test_a_trained_model_is_a_pipeline_of_diffusers(trained):
    folder = trained.one(f"{run_of('dpdm')}/finetuned/pipeline")
    images = EdmPipeline.from_pretrained(folder)(class_labels=[3, 7], num_inference_steps=2).images
    assert [image.size for image in images] == [(8, 8)] * 2


def test_the_noise_key_stays_in_the_sensitive_zone(trained):
    keys = [read_json(path)["key"] for path in trained.find("sensitive/journal/**/training.json")]
    assert len(set(keys)) == len(METHODS)
    outside = [
        path
        for path in (*trained.find("**/*"), *(trained.folder / ".snakemake").rglob("*"))
        if path.is_file() and "sensitive" not in path.relative_to(trained.folder).parts
    ]
    assert len(outside) > 100
    for path in outside:
        content = path.read_bytes()
        assert not any(key.encode() in content for key in keys), path
    assert not trained.find("sensitive/journal/**/step*.safetensors"), "no longer needed"


def test_a_new_epsilon_shares_the_query_and_the_pretraining(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    project.write_experiment({**EXPERIMENT, "methods": ["privimage"], "epsilons": [1, 10]})
    planned = project.planned()
    assert planned["finetune"] == planned["calibrate"] == planned["sample"] == 1
    assert not {"query_classes", "select_classes", "pretrain_on_selection"} & planned.keys()


def test_more_images_or_another_sampler_train_nothing(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    project.edit_catalogue("generators", tiny={"sampling": {"steps": 4, "sampler": "heun"}})
    project.write_experiment(
        {**EXPERIMENT, "methods": ["privimage"], "overrides": {"privimage": {"samples": 30}}}
    )
    planned = project.planned()
    assert planned["sample"] == planned["release"] == planned["account"] == 1
    trainings = {"calibrate", "query_classes", "pretrain_on_selection", "finetune"}
    assert not trainings & planned.keys()


def test_a_query_waits_for_the_budgets_of_its_runs(trained, tmp_path):
    """A query on samples has no closed form: what it costs is found by `calibrate`."""
    project = prepared(tmp_path / "project", methods=["dp-feta"], epsilons=[0.05])
    change = {"start": {**CENTRAL, "noise_multiplier": 0.5}}
    project.edit_catalogue("methods", **{"dp-feta": change})
    outcome = project.snakemake("--cores", "2", "--keep-going")
    assert outcome.status != 0 and "alone cost more" in outcome.text
    assert not project.find("runs/**/images.safetensors")
    assert not project.find("sensitive/journal/**/*.safetensors")


def test_a_finetuning_that_is_run_again_replays_its_weights(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    before = project.contents("runs/**/finetuned/**/*.safetensors", "runs/**/ledger.json")
    for folder in project.find("runs/**/finetuned"):
        shutil.rmtree(folder)
    project.build("--forcerun", "finetune", "--until", "finetune")
    after = project.contents("runs/**/finetuned/**/*.safetensors", "runs/**/ledger.json")
    assert after == before
    logs = [path.read_text() for path in project.find("sensitive/*/logs/finetune/**/*.log")]
    assert len(logs) == len(METHODS) and all("replayed" in log for log in logs)


def test_a_training_killed_in_the_middle_ends_with_the_same_release(trained, tmp_path):
    project = prepared(tmp_path / "project", methods=["dpdm"])
    process = subprocess.Popen(
        project.command("--cores", "1"),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 900
    while not project.find("sensitive/journal/**/step*.safetensors"):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not project.find("runs/**/finetuned/ledger.json")
    project.build()
    (log,) = project.find("sensitive/*/logs/finetune/**/*.log")
    assert "goes on after step" in log.read_text()
    for name in ("release.safetensors", "finetuned/ledger.json"):
        found = project.one(f"{run_of('dpdm')}/{name}").read_bytes()
        assert found == trained.one(f"{run_of('dpdm')}/{name}").read_bytes(), name


def test_other_private_data_under_a_begun_training_are_refused(trained, tmp_path):
    project = trained.copy(tmp_path / "project")
    path = project.one("sensitive/digits~*/train.safetensors")
    arrays = load_file(path)
    arrays["images"] = 255 - arrays["images"]
    time.sleep(1.1)
    save_file(arrays, path)
    outcome = project.snakemake("--cores", "2", "--until", "finetune", "--keep-going")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    logs = [path.read_text() for path in project.find("sensitive/*/logs/*/**/*.log")]
    assert sum("second release" in log and "sensitive images" in log for log in logs) >= 4


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("dpdm", {"model": "glyph-diffusion"}, "model: found 'glyph-diffusion'"),
        ("dpdm", {"augmentation_multiplicity": 4}, "augmentation_multiplicity: without effect"),
        ("dpdm", {"batches_per_epoch": 1}, "batches_per_epoch"),
        ("pdp", {"model": "song-28"}, "8×8×1"),
        ("privimage", {"start": {**SEMANTIC, "classifier": "pixels"}}, "kinds cnn and torchscript"),
        ("privimage", {"start": {**SEMANTIC, "votes": 62}}, "votes: found 62"),
        ("privimage", {"start": {**SEMANTIC, "selection_ratio": 0.7}}, "selection_ratio"),
        ("privimage", {"start": {**SEMANTIC, "noise_multiplier": 0.3}}, "alone costs ε ="),
        ("privimage", {"start": {"query": "semantic"}}, "start.classifier: missing"),
        (
            "dp-feta",
            {"start": {**CENTRAL, "training": {**TRAINING, "label_dropout": 0}}},
            "label_dropout",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_job(tmp_path, method, change, message):
    project = prepared(tmp_path / "project", methods=[method])
    project.edit_catalogue("methods", **{method: change})
    outcome = project.snakemake("-n")
    assert outcome.status != 0 and "Traceback" not in outcome.text
    assert message in outcome.text
