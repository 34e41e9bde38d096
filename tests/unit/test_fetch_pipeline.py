"""Fetching pipelines, from a stand-in for the hub."""

import fnmatch
import json
import shutil
import traceback
from types import SimpleNamespace

import huggingface_hub
import pytest

from workflow_scripts.fetch_pipeline import FetchProblem, fetch_pipeline

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": True,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
}
WANTED = {
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
    "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
    "unet/diffusion_pytorch_model.safetensors.index.json",
}
OTHERS = {
    "README.md",
    "sd-v1-4.ckpt",
    "v1-4.safetensors",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/modeling.py",
    "text_encoder/pytorch_model.bin",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/flax_model.msgpack",
    "vae_1/diffusion_pytorch_model.safetensors",
}


class Hub:
    """A repository in a folder, and what was asked of it."""

    def __init__(self, folder):
        self.folder, self.asked, self.fault = folder, [], None

    def put(self, *names):
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(name)

    def remove(self, *names):
        for name in names:
            (self.folder / name).unlink()

    @property
    def files(self):
        paths = filter(lambda path: path.is_file(), self.folder.rglob("*"))
        return sorted(str(path.relative_to(self.folder)) for path in paths)

    def model_info(self, pipeline, *, revision):
        self.asked.append((pipeline, revision))
        if self.fault == "information":
            raise OSError("https://hub.example/?X-Amz-Signature=f00ba7")
        siblings = [SimpleNamespace(rfilename=name) for name in self.files]
        return SimpleNamespace(sha=COMMIT, siblings=siblings)

    def snapshot_download(self, pipeline, *, revision, allow_patterns, local_dir):
        self.asked.append((pipeline, revision))
        for name in self.files:
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / name, local_dir / name)
                if self.fault == "download" and name.startswith("unet"):
                    raise OSError("https://hub.example/?X-Amz-Signature=f00ba7")
        (local_dir / ".cache/huggingface").mkdir(parents=True, exist_ok=True)
        (local_dir / ".cache/huggingface/time").write_text("now")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = Hub(tmp_path / "hub")
    hub.put(*WANTED, *OTHERS)
    (hub.folder / "model_index.json").write_text(json.dumps(INDEX))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_only_what_is_run_is_fetched_with_its_source(hub, tmp_path):
    folder = tmp_path / "models/sd"
    assert fetch_pipeline("owner/sd", "v1", folder) == COMMIT
    found = contents(folder)
    source = json.loads(found.pop("source.json"))
    assert source == {"pipeline": "owner/sd", "revision": "v1", "commit": COMMIT}
    assert found.keys() == WANTED
    assert all(found[name] == (hub.folder / name).read_bytes() for name in found)
    # The revision may move while files come: they are asked for by commit.
    assert hub.asked == [("owner/sd", "v1"), ("owner/sd", COMMIT), ("owner/sd", COMMIT)]


def test_names_of_classes_come_along(hub, tmp_path):
    hub.put("classes.json")
    fetch_pipeline("owner/sd", None, tmp_path / "sd")
    assert (tmp_path / "sd/classes.json").exists()


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("text_encoder/model.safetensors", r"text_encoder: found .*pytorch_model\.bin"),
        ("model_index.json", r"no model_index\.json there"),
    ],
)
def test_weights_that_may_run_code_are_refused(hub, tmp_path, removed, said):
    hub.remove(removed)
    with pytest.raises(FetchProblem, match=said) as problem:
        fetch_pipeline("owner/sd", "v1", tmp_path / "models/sd")
    assert "owner/sd at v1" in str(problem.value)
    assert list(tmp_path.glob("models/*")) == []


@pytest.mark.parametrize("fault", ["information", "download"])
@pytest.mark.parametrize("earlier", [False, True], ids=["first time", "over an earlier one"])
def test_a_failure_leaves_the_old_state_and_names_no_signed_address(hub, tmp_path, fault, earlier):
    folder = tmp_path / "models/sd"
    if earlier:
        fetch_pipeline("owner/sd", "v0", folder)
    before = contents(tmp_path)
    hub.fault = fault
    with pytest.raises(FetchProblem, match=r"could not be fetched \(OSError\)") as problem:
        fetch_pipeline("owner/sd", "v1", folder)
    assert str(problem.value).startswith("owner/sd at v1: ") and "HF_TOKEN" in str(problem.value)
    assert "f00ba7" not in "".join(traceback.format_exception(problem.value))
    assert contents(tmp_path) == before
