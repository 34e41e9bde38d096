"""A training with DP-SGD: interrupted, accumulated, out of memory, and what one record can do."""

import numpy as np
import pytest
import torch

from workflow_scripts.dpsgd.checkpoint import Checkpoints
from workflow_scripts.dpsgd.mechanism import DpSgd
from workflow_scripts.dpsgd.training import Training, changed_copies
from workflow_scripts.edm.denoiser import new_denoiser
from workflow_scripts.files import FileProblem
from workflow_scripts.interruption import Interrupted, Interruption
from workflow_scripts.privacy.journal import JournalMismatch
from workflow_scripts.privacy.noise import NoiseKey

NETWORK = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention": (4,)}
KEY = NoiseKey("c4" * 32)
N, STEPS = 40, 6
SETTINGS = {
    "learning_rate": 1e-3,
    "ema": 0.9,
    "noise_multiplicity": 2,
    "augmentation_multiplicity": 1,
    "augmentation": {"flip": False, "shift": 0},
    "label_dropout": 0.1,
    "precision": "float32",
    "physical_batch": 4,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(N, 8, 8, 1), dtype=np.uint8), rng.integers(3, size=N)


def mechanism(**changes) -> DpSgd:
    settings = {
        "sampling_probability": 0.5,
        "steps": STEPS,
        "noise_multiplier": 1.0,
        "clipping_norm": 0.1,
        "train_size": N,
    }
    return DpSgd(**{**settings, **changes})


def training(dp: DpSgd | None = None, **changes) -> Training:
    denoiser = new_denoiser(NETWORK, (8, 1), 3, seed=0, null_class=True)
    # Residual branches start at zero: every parameter is to have a gradient.
    torch.manual_seed(1)
    for parameter in denoiser.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    names = [name for name, _ in denoiser.network.named_parameters()]
    return Training(denoiser, names, dp or mechanism(), {**SETTINGS, **changes})


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    return training().run(*data, KEY, Checkpoints(tmp_path_factory.mktemp("whole")))


def same(one, other) -> bool:
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


class Killed(Exception):
    pass


def killed_in(step: int, data, folder) -> Training:
    """A training that dies in a step, after its noise was drawn."""
    doomed = training()

    class Doomed(DpSgd):
        def release(self, sums, key, at):
            released = super().release(sums, key, at)
            if at == step:
                raise Killed
            return released

    doomed.mechanism = Doomed(**vars(doomed.mechanism))
    with pytest.raises(Killed):
        doomed.run(*data, KEY, Checkpoints(folder))
    return doomed


@pytest.mark.parametrize("step", range(STEPS))
def test_a_training_that_was_killed_ends_with_the_same_weights(step, data, uninterrupted, tmp_path):
    killed_in(step, data, tmp_path)
    result = training().run(*data, KEY, Checkpoints(tmp_path))
    assert result.steps == STEPS, "each step is charged once, however often it was begun"
    assert same(result, uninterrupted)


class Asked(Interruption):
    """Says no a number of times, and then that it is to end."""

    def __init__(self, times: int):
        self.times = times

    @property
    def requested(self) -> str | None:
        self.times -= 1
        return "SIGTERM" if self.times < 0 else None


# A step asks some five times, once for each physical batch, and once more when it is whole.
@pytest.mark.parametrize("times", [0, 1, 8, 15, 22])
def test_a_step_that_is_broken_off_is_executed_anew(times, data, uninterrupted, tmp_path):
    begun = training()
    with pytest.raises(Interrupted) as caught:
        begun.run(*data, KEY, Checkpoints(tmp_path), Asked(times))
    assert f"SIGTERM after step {begun.steps} of {STEPS}" in str(caught.value)
    kept = Checkpoints(tmp_path).load()
    assert (kept.steps if kept else 0) == begun.steps < STEPS
    # Twice interrupted at the same place: once more from there.
    with pytest.raises(Interrupted):
        training().run(*data, KEY, Checkpoints(tmp_path), Asked(0))
    result = training().run(*data, KEY, Checkpoints(tmp_path))
    assert result.steps == STEPS and same(result, uninterrupted)


def test_another_key_gives_other_weights(data, uninterrupted, tmp_path):
    result = training().run(*data, NoiseKey("c5" * 32), Checkpoints(tmp_path))
    assert not same(result, uninterrupted)


def test_a_damaged_checkpoint_is_passed_over(data, uninterrupted, tmp_path):
    killed_in(5, data, tmp_path)
    _, newest = sorted(tmp_path.glob("step*.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    assert Checkpoints(tmp_path).load().steps == 2
    assert same(training().run(*data, KEY, Checkpoints(tmp_path)), uninterrupted)
    for path in tmp_path.glob("step*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FileProblem, match="every checkpoint is damaged"):
        Checkpoints(tmp_path).load()


def test_a_checkpoint_that_claims_fewer_steps_is_passed_over(data, tmp_path):
    """It would run steps again, with the same noise on other gradients, and not charge them."""
    killed_in(5, data, tmp_path)
    newest = sorted(tmp_path.glob("step*.safetensors"))[-1]
    content = newest.read_bytes()
    assert content.count(rb"\"steps\": 4") == 1
    newest.write_bytes(content.replace(rb"\"steps\": 4", rb"\"steps\": 3"))
    assert Checkpoints(tmp_path).load().steps == 2
    newest.write_bytes(content.replace(rb"\"steps\": 4", rb"\"steps\": x"))
    assert Checkpoints(tmp_path).load().steps == 2


def test_only_two_checkpoints_are_kept_and_none_when_cleared(data, tmp_path):
    training(checkpoint_every=1).run(*data, KEY, Checkpoints(tmp_path))
    steps = [path.stem for path in sorted(tmp_path.glob("step*"))]
    assert steps == [f"step{STEPS - 2:08d}", f"step{STEPS - 1:08d}"]
    Checkpoints(tmp_path).clear()
    assert not list(tmp_path.glob("step*"))


def test_a_key_is_drawn_once_and_other_inputs_are_refused(tmp_path):
    checkpoints, inputs = Checkpoints(tmp_path), {"sensitive images": "d0", "q": "0.5"}
    key = checkpoints.claim("run", inputs, "os")
    assert checkpoints.claim("run", inputs, "os") == key
    for changed in ({"sensitive images": "d1"}, {"q": "0.25"}):
        with pytest.raises(JournalMismatch, match=next(iter(changed))):
            checkpoints.claim("run", {**inputs, **changed}, "os")


def sums_of(steps: int, data, dp: DpSgd | None = None, **changes) -> list[torch.Tensor]:
    """The clipped sums of the first steps, each as one vector."""
    subject, found = training(dp, **changes), []

    class Recording(DpSgd):
        def release(self, sums, key, step):
            found.append(torch.cat([total.flatten() for total in sums.values()]))
            # No step is taken: every sum is of the weights at the start.
            return {name: torch.zeros_like(total) for name, total in sums.items()}

    subject.mechanism = Recording(**vars(subject.mechanism))
    for _ in range(steps):
        subject._step(*data, KEY)
    return found


@pytest.mark.parametrize("physical_batch", [1, 3, 7, "auto"])
@pytest.mark.parametrize("views", [1, 8])
def test_accumulation_changes_nothing_but_rounding(physical_batch, views, data):
    whole = sums_of(2, data, physical_batch=N, noise_multiplicity=views)
    parts = sums_of(2, data, physical_batch=physical_batch, noise_multiplicity=views)
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("views", [1, 8])
@pytest.mark.parametrize("augmentation", [{"flip": False, "shift": 0}, {"flip": True, "shift": 2}])
def test_a_record_moves_a_sum_by_no_more_than_the_clipping_norm(views, augmentation, data):
    """Record and replay: the last record is left out, all secrets stay the same."""
    options = {
        "noise_multiplicity": views,
        "augmentation": augmentation,
        "augmentation_multiplicity": 2 if augmentation["flip"] else 1,
        "physical_batch": 3,
    }
    images, labels = data
    with_record = sums_of(8, data, **options)
    without = sums_of(8, (images[:-1], labels[:-1]), **options)
    moved = [float((a - b).norm()) for a, b in zip(with_record, without, strict=True)]
    taken = [N - 1 in mechanism().sample(KEY, step, N) for step in range(8)]
    assert any(taken) and not all(taken)
    for distance, took_part in zip(moved, taken, strict=True):
        assert distance <= 0.1 * (1 + 1e-5)
        assert (distance > 1e-3) == took_part


def test_out_of_memory_halves_the_physical_batch_and_nothing_else(data, tmp_path, capsys):
    plain = training(physical_batch=2).run(*data, KEY, Checkpoints(tmp_path / "plain"))
    subject = training(physical_batch=16)
    clipped_sum = subject._clipped_sum

    def small_memory(images, *others):
        if len(images) > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return clipped_sum(images, *others)

    subject._clipped_sum = small_memory
    result = subject.run(*data, KEY, Checkpoints(tmp_path / "small"))
    assert subject.batches.size <= 3
    assert "out of GPU memory" in capsys.readouterr().out
    assert result.steps == plain.steps
    for name, weights in plain.weights.items():
        np.testing.assert_allclose(result.weights[name], weights, atol=2e-4)


def test_a_gradient_that_is_no_number_is_left_out_and_counted(data, tmp_path):
    subject = training()
    draws, poisoned = subject._draws, []

    def poison(seeds, shape):
        sigma, noise, dropped = draws(seeds, shape)
        noise[0, 0, 0, 0] = float("nan")
        poisoned.append(seeds[0])
        return sigma, noise, dropped

    subject._draws = poison
    result = subject.run(*data, KEY, Checkpoints(tmp_path))
    assert result.steps == STEPS
    assert subject.non_finite == len(poisoned)
    assert all(np.isfinite(weights).all() for weights in result.weights.values())


def test_a_step_without_records_is_a_step(data, tmp_path):
    empty = mechanism(sampling_probability=1e-9, steps=2)
    result = training(empty).run(*data, KEY, Checkpoints(tmp_path))
    assert result.steps == 2
    assert all(np.isfinite(weights).all() for weights in result.weights.values())


def test_bfloat16_agrees_roughly(data):
    (exact,), (rough,) = sums_of(1, data), sums_of(1, data, precision="bfloat16")
    assert rough.dtype == torch.float32
    assert float((exact - rough).norm() / exact.norm()) < 0.1
    assert not torch.equal(exact, rough)


def test_copies_are_flipped_and_shifted():
    image = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    changes = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, -1]]])
    plain, flipped, shifted = changed_copies(image, changes)[..., 0]
    assert np.array_equal(plain, image[0, ..., 0])
    assert np.array_equal(flipped, plain[:, ::-1])
    assert shifted.tolist() == [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]


def test_the_average_follows_the_weights_with_a_warm_up(data, tmp_path):
    subject = training(ema=0.999)
    before = {name: p.detach().clone() for name, p in subject.parameters.items()}
    subject._step(*data, KEY)
    for name, average in subject.average.items():
        expected = before[name].lerp(subject.parameters[name].detach(), 1 - 2 / 11)
        assert torch.allclose(average, expected)
