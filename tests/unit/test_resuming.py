"""Public trainings that are killed or interrupted end with the same bytes, in real processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from workflow_scripts import cnn, resuming
from workflow_scripts.interruption import EXIT_STATUS, Interrupted
from workflow_scripts.resuming import Checkpoint, train_in_steps
from workflow_scripts.step import Job

ROOT = Path(__file__).parents[2]

# Processes are forked from one that has imported everything and computed nothing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["workflow_scripts.generators.diffusion", "workflow_scripts.edm.training", __name__]
)

NETWORK = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
DENOISER = {
    "batch_size": 8,
    "training_steps": 12,
    "learning_rate": 1e-3,
    "ema": 0.9,
    "label_dropout": 0.2,
    "flip": True,
}
DIFFUSION = {
    "seed": 2,
    "channels": [8, 16],
    "layers_per_block": 1,
    "timesteps": 100,
    "learning_rate": 1e-3,
    "training_steps": 12,
    "batch_size": 8,
}
CLASSIFIER = {
    "width": 4,
    "dimension": 8,
    "epochs": 4,
    "batch_size": 16,
    "learning_rate": 0.01,
    "seed": 1,
    "augment": True,
}


def train_classifier(output, images, labels, checkpoint) -> None:
    trained = cnn.train_classifier(images, labels, 3, **CLASSIFIER, checkpoint=checkpoint)
    save_file(trained.state_dict(), output)


def train_denoiser(output, images, labels, checkpoint) -> None:
    from workflow_scripts.edm.training import train_denoiser

    trained = train_denoiser(
        NETWORK, images, labels, list("abc"), DENOISER, 3, checkpoint=checkpoint
    )
    save_file(trained.state_dict(), output)


def train_diffusion(output, images, labels, checkpoint) -> None:
    from workflow_scripts.generators.diffusion import train_diffusion

    train_diffusion(output, images, labels, list("abc"), DIFFUSION, checkpoint)


# Each of 12 steps.
TRAININGS = {
    "classifier": train_classifier,
    "denoiser": train_denoiser,
    "diffusion": train_diffusion,
}


def in_a_process(kind: str, output: Path, log: Path, stop: int, signalled: int) -> None:
    """A training that sends itself a signal in the `stop`-th step that it executes."""
    with open(log, "w", buffering=1) as file:
        os.dup2(file.fileno(), 1)
    resuming.SECONDS = 0.0 if signalled == signal.SIGKILL else 300.0
    executed, backward = 0, torch.Tensor.backward

    def and_signalled(loss: torch.Tensor) -> None:
        nonlocal executed
        executed += 1
        if executed == stop:
            os.kill(os.getpid(), signalled)
        backward(loss)

    torch.Tensor.backward = and_signalled
    # The global generator is nobody's: a training that used it would differ.
    torch.manual_seed(int.from_bytes(os.urandom(4), "big"))
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(40, 8, 8, 1), dtype=np.uint8)
    labels = rng.integers(3, size=40)
    try:
        TRAININGS[kind](output, images, labels, Checkpoint.beside(output, "key"))
    except Interrupted as interrupted:
        print(interrupted, flush=True)
        sys.exit(EXIT_STATUS)


def train(kind: str, output: Path, stop: int = 0, signalled: int = 0) -> tuple[int, str]:
    """Exit status and log of a training in a process of its own."""
    log = output.with_suffix(".log")
    process = PROCESSES.Process(target=in_a_process, args=(kind, output, log, stop, signalled))
    process.start()
    process.join(timeout=300)
    return process.exitcode, log.read_text()


def weights(output: Path) -> dict[str, bytes]:
    files = sorted(output.rglob("*")) if output.is_dir() else [output]
    return {str(f.relative_to(output)): f.read_bytes() for f in files if f.is_file()}


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_training_that_was_interrupted_and_killed_ends_with_the_same_bytes(kind, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    status, log = train(kind, whole)
    assert status == 0, log
    # 12 steps: interrupted in the fifth, killed in the fourth that follows, then to the end.
    status, log = train(kind, broken, 5, signal.SIGTERM)
    assert status == EXIT_STATUS and "by SIGTERM after step 5 of 12" in log, log
    assert not broken.exists()
    status, log = train(kind, broken, 4, signal.SIGKILL)
    assert status == -signal.SIGKILL and "goes on after step 5" in log, log
    status, log = train(kind, broken)
    assert status == 0 and "goes on after step 8" in log, log
    assert weights(broken) == weights(whole)


class Walk:
    """The smallest training: a number that moves at random, by generators of both kinds."""

    def __init__(self):
        self.module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.module.weight)
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=0.1)
        self.rng = np.random.default_rng(0)
        self.torch_rng = torch.Generator().manual_seed(0)
        self.steps = 0

    @property
    def parts(self) -> dict:
        return {
            "module": self.module,
            "optimiser": self.optimiser,
            "rng": self.rng,
            "torch rng": self.torch_rng,
        }

    def step(self) -> torch.Tensor:
        self.steps += 1
        noise = torch.randn(3, 1, generator=self.torch_rng) + float(self.rng.normal())
        loss = self.module(noise).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()

    def run(self, checkpoint: Checkpoint | None = None, stop: int = 0) -> float:
        def step() -> torch.Tensor:
            loss = self.step()
            if self.steps == stop:
                os.kill(os.getpid(), signal.SIGUSR1)
            return loss

        train_in_steps(step, 6, 3, self.parts, checkpoint)
        return self.module.weight.item()


@pytest.fixture
def interrupted(tmp_path) -> Path:
    """The checkpoint of a walk after three of six steps."""
    path = tmp_path / "output.checkpoint"
    with pytest.raises(Interrupted, match="SIGUSR1 after step 3 of 6"):
        Walk().run(Checkpoint(path, "key"), stop=3)
    assert os.listdir(tmp_path) == [path.name], "beside the output, and nothing else"
    return path


def test_what_goes_on_executes_the_steps_that_are_left(interrupted, capsys):
    walk = Walk()
    assert walk.run(Checkpoint(interrupted, "key")) == Walk().run()
    assert walk.steps == 3
    assert "goes on after step 3" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["a bit", "the end", "everything"])
def test_a_damaged_checkpoint_is_not_used_and_the_log_says_so(interrupted, fault, capsys):
    content = bytearray(interrupted.read_bytes())
    content[-1] ^= 1
    changed = {"a bit": content, "the end": content[:-9], "everything": b"nothing"}[fault]
    interrupted.write_bytes(changed)
    walk = Walk()
    assert walk.run(Checkpoint(interrupted, "key")) == Walk().run() and walk.steps == 6
    assert f"{interrupted}: damaged, not used" in capsys.readouterr().out


def test_a_checkpoint_that_claims_fewer_steps_is_damaged(interrupted, capsys):
    content = interrupted.read_bytes()
    claim = rb"\"steps\": 3"
    assert content.count(claim) == 1
    interrupted.write_bytes(content.replace(claim, rb"\"steps\": 2"))
    assert Checkpoint(interrupted, "key").load(Walk().parts) == 0
    assert "damaged" in capsys.readouterr().out


def test_a_checkpoint_of_other_settings_is_not_used(interrupted, capsys):
    walk = Walk()
    assert walk.run(Checkpoint(interrupted, "another key")) == Walk().run() and walk.steps == 6
    assert "of other settings or inputs, not used" in capsys.readouterr().out


def test_a_checkpoint_of_another_torch_is_not_used(interrupted, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "1.0")
    assert Checkpoint(interrupted, "key").load(Walk().parts) == 0


def test_a_signal_in_the_last_step_leaves_nothing_to_go_on_with(tmp_path):
    checkpoint = Checkpoint(tmp_path / "output.checkpoint", "key")
    assert Walk().run(checkpoint, stop=6) == Walk().run()
    assert not checkpoint.path.exists()


def test_checkpoints_come_by_the_clock(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, steps, parts: saved.append(steps))
    Walk().run(Checkpoint(tmp_path / "x", "key"))
    assert saved == []
    monkeypatch.setattr(resuming, "SECONDS", 0.0)
    Walk().run(Checkpoint(tmp_path / "x", "key"))
    assert saved == [1, 2, 3, 4, 5], "not after the last, whose output follows"


def test_a_training_without_a_checkpoint_dies_of_a_signal_as_ever():
    script = (
        "from tests.unit.test_resuming import Walk\nimport os, signal\n"
        "walk = Walk()\n"
        "step = lambda: (os.kill(os.getpid(), signal.SIGTERM), walk.step())[1]\n"
        "from workflow_scripts.resuming import train_in_steps\n"
        "train_in_steps(step, 6, 3, walk.parts)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGTERM


def test_a_job_of_other_settings_or_inputs_has_another_key(tmp_path):
    file, model = tmp_path / "images", tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("1")
    file.write_text("one")

    def key(**settings: int) -> str:
        return Job("vary", [str(file), str(model)], [], None, settings).key

    found = [key(seed=0), key(seed=1)]
    assert key(seed=0) == found[0]
    os.utime(file, ns=(0, 0))
    found.append(key(seed=0))
    (model / "weights").write_text("two")
    found.append(key(seed=0))
    assert len(set(found)) == 4
