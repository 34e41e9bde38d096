"""What must never lie in a released file is found there, however it is written; nothing else is."""

import base64
import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from workflow_scripts.configuration import load_configuration
from workflow_scripts.files import write_arrays
from workflow_scripts.plan import Plan
from workflow_scripts.privacy import anchors, contents, scanner
from workflow_scripts.privacy.contents import TooLarge
from workflow_scripts.privacy.discrete_gaussian import DiscreteGaussianMechanism
from workflow_scripts.privacy.noise import noise_of
from workflow_scripts.privacy.scanner import CleanCounts, Leak, Secrets, scan
from workflow_scripts.settings import settings_of

ROOT = Path(__file__).parents[2]
PLANTED = b"planted \x00\xff in the private data"
CLASSES, VOTERS = 10, 400


def digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return images[:VOTERS], labels[:VOTERS].astype(np.int64)


IMAGES, LABELS = digits()
COUNTS = np.bincount(LABELS)
EMBEDDINGS = np.random.default_rng(0).normal(size=(VOTERS, 24)).astype(np.float32)
IMAGE, ROW = IMAGES[7], EMBEDDINGS[11]
SECRETS = Secrets.of(IMAGES, LABELS, [EMBEDDINGS], [PLANTED])


def kinds(folder, secrets=SECRETS) -> set[str]:
    return {leak.kind for leak in scan([folder], secrets)}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/file", content)
    return buffer.getvalue()


def among(image: np.ndarray) -> np.ndarray:
    """An image between others that are not private."""
    others = np.random.default_rng(1).integers(0, 256, (3, *image.shape), dtype=np.uint8)
    return np.concatenate([others[:1], image[None], others[1:]])


def figure(channels: int) -> np.ndarray:
    pixels = np.full((50, 61, channels), 255, dtype=np.uint8)
    pixels[20:28, 33:41, :3] = IMAGE
    return pixels


def bfloat16(values: np.ndarray) -> bytes:
    data = ((values.astype("<f4").view("<u4") + 0x8000) >> 16).astype("<u2").tobytes()
    entry = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({"w": entry}).encode()
    return len(header).to_bytes(8, "little") + header + data


def page(content: bytes) -> str:
    return f'<p>142 %</p><img src="data:image/png;base64,{base64.b64encode(content).decode()}">'


UNIT = among(IMAGE) / 255
IMAGE_FILES = {
    "bytes at an odd place": b"xyz" + IMAGE.tobytes() + b"x",
    "safetensors uint8": {"images": among(IMAGE)},
    "safetensors int64": {"x": among(IMAGE).astype(np.int64)},
    "safetensors float32 in [0, 1]": {"x": UNIT.astype(np.float32)},
    "safetensors float16 in [0, 1]": {"x": UNIT.astype(np.float16)},
    "safetensors float64 in [-1, 1]": {"x": UNIT * 2 - 1},
    "safetensors float32 in [0, 255]": {"x": among(IMAGE).astype(np.float32)},
    "safetensors bfloat16": bfloat16(UNIT),
    "npy": npy(UNIT),
    "npz": npz(x=among(IMAGE), y=np.arange(4)),
    "gzip": gzip.compress(IMAGE.tobytes()),
    "gzip in zip": zipped(gzip.compress(IMAGE.tobytes())),
    "json": json.dumps({"a": [[1, 2], UNIT[1].tolist()]}),
    "json, rounded": json.dumps([round(value, 4) for value in UNIT.ravel().tolist()]),
    "csv": "\n".join(",".join(map(str, row)) for row in among(IMAGE).reshape(4, -1).tolist()),
    "png": png(IMAGE[..., 0]),
    "png, grey figure": png(figure(1)[..., 0]),
    "png, colour figure": png(figure(4)),
    "html": page(png(figure(3))),
    "json, base64": json.dumps({"image": base64.b64encode(IMAGE.tobytes()).decode()}),
}


def write(folder, content) -> None:
    path = folder / "deep" / "file"
    path.parent.mkdir()
    if isinstance(content, dict):
        write_arrays(path, content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("content", IMAGE_FILES.values(), ids=IMAGE_FILES)
def test_an_image_is_found_and_told_by_its_number(content, tmp_path):
    write(tmp_path, content)
    (leak,) = scan([tmp_path], SECRETS)
    assert leak == Leak(tmp_path / "deep/file", "image", "private images 7")
    assert str(leak) == f"{tmp_path}/deep/file: image: private images 7"


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_colour_images_are_found_with_channels_first_or_last(channels_first, dtype, tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (30, 5, 6, 3), dtype=np.uint8)
    secrets = Secrets.of(images, np.arange(30) % 4)
    stored = images[13].transpose(2, 0, 1) if channels_first else images[13]
    write_arrays(
        tmp_path / "x", {"x": stored if dtype == np.uint8 else (stored / 255).astype(dtype)}
    )
    assert [leak.detail for leak in scan([tmp_path], secrets)] == ["private images 13"]


def test_a_colour_image_is_found_in_a_figure(tmp_path):
    images = np.random.default_rng(2).integers(0, 256, (30, 5, 6, 3), dtype=np.uint8)
    pixels = np.zeros((40, 33, 3), np.uint8)
    pixels[7:12, 20:26] = images[3]
    (tmp_path / "x.png").write_bytes(png(pixels))
    secrets = Secrets.of(images, np.arange(30) % 4)
    assert [leak.detail for leak in scan([tmp_path], secrets)] == ["private images 3"]


EMBEDDING_FILES = {
    "bytes at an odd place": b"xyz" + ROW.tobytes() + b"x",
    "safetensors float32": {"x": np.concatenate([np.ones(5, np.float32), ROW])},
    "safetensors float64": {"x": ROW[None].astype(np.float64)},
    "safetensors float16": {"x": ROW.astype(np.float16)},
    "npz": npz(x=ROW),
    "json": json.dumps({"mean": ROW.tolist()}),
    "json as float32": str([str(value) for value in ROW]),
    "csv": ",".join(f"{value:.7g}" for value in ROW.tolist()),
}


@pytest.mark.parametrize("content", EMBEDDING_FILES.values(), ids=EMBEDDING_FILES)
def test_an_embedding_is_found_and_told_by_its_number(content, tmp_path):
    write(tmp_path, content)
    leaks = scan([tmp_path], SECRETS)
    assert [(leak.kind, leak.detail) for leak in leaks] == [("embedding", "embedding 0, rows 11")]


NAMES = "abcdefghij"
COUNT_FILES = {
    **{dtype: {"x": COUNTS.astype(dtype)} for dtype in ("uint8", "int64", "float32", "float16")},
    "among others": {"x": np.concatenate([[3, 40], COUNTS, [7]])},
    "fractions": {"x": (COUNTS / VOTERS).astype(np.float32)},
    "npz": npz(x=COUNTS),
    "json list": json.dumps({"a": {"b": COUNTS.tolist()}}),
    "json object": json.dumps({str(i): n for i, n in enumerate(COUNTS.tolist())}),
    "json records": json.dumps([{"class": i, "n": n} for i, n in enumerate(COUNTS.tolist())]),
    "by size": str(sorted(COUNTS.tolist(), reverse=True)),
    "csv column": "class,epsilon,n\n"
    + "".join(f"{c},1.5,{n}\n" for c, n in zip(NAMES, COUNTS, strict=True)),
    "markdown": "".join(f"| {i} | {n} | 0.25 |\n" for i, n in enumerate(COUNTS)),
    "latex": " & ".join(map(str, COUNTS)) + r" \\",
    "log": f"{COUNTS}\n",
    "labels": {"labels": np.random.default_rng(3).permutation(LABELS)},
}


@pytest.mark.parametrize("content", COUNT_FILES.values(), ids=COUNT_FILES)
def test_clean_class_counts_are_found(content, tmp_path):
    write(tmp_path, content)
    assert kinds(tmp_path) == {"class counts"}


def test_counts_that_are_no_secret_are_not_looked_for(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps(COUNTS.tolist()))
    declared = Secrets.of(IMAGES, LABELS, declared=[np.round(COUNTS / VOTERS, 6)])
    assert kinds(tmp_path, declared) == set()
    others = Secrets.of(IMAGES, LABELS, declared=[COUNTS[::-1]])
    assert kinds(tmp_path, others) == {"class counts"}
    # Equal counts are what anyone would guess.
    (tmp_path / "x.json").write_text(json.dumps([40] * CLASSES))
    assert kinds(tmp_path, Secrets.of(IMAGES, np.arange(VOTERS) % CLASSES)) == set()


def test_counts_of_few_classes_are_found_where_they_are_alone(tmp_path):
    secrets = Secrets.of(IMAGES, np.arange(VOTERS) % 5 // 3)
    (tmp_path / "log").write_text("240 of 160 and 240 160")
    assert kinds(tmp_path, secrets) == set()
    (tmp_path / "x.json").write_text('{"counts": [240, 160]}')
    assert kinds(tmp_path, secrets) == {"class counts"}


def clean_votes(bins_per_class: int, k: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Votes and labels of a histogram in which the record of each image adds k votes."""
    labels = np.repeat(np.arange(CLASSES), bins_per_class)
    chosen = LABELS.repeat(k) * bins_per_class + rng.integers(bins_per_class, size=VOTERS * k)
    return np.bincount(chosen, minlength=len(labels)), labels


VOTES, BINS = clean_votes(6, 3, np.random.default_rng(4))
SPARSE = np.bincount(np.random.default_rng(5).zipf(1.3, VOTERS) % 200, minlength=200)
TABLE = np.array([[n // 3, 0, n - n // 3, 0] for n in 2 * COUNTS])
HISTOGRAM_FILES = {
    "of each class, k = 3": {"x": VOTES, "labels": BINS},
    "as float32": {"counts": VOTES.astype(np.float32), "labels": BINS},
    "divided by √k": {"x": VOTES / np.sqrt(3), "labels": BINS},
    "npz": npz(votes=VOTES, labels=BINS),
    "json": json.dumps({"votes": VOTES.tolist(), "labels": BINS.tolist()}),
    "csv": "label,v\n" + "".join(f"{b},{v}\n" for b, v in zip(BINS, VOTES, strict=True)),
    "joint": {"votes": SPARSE, "labels": np.arange(200) % CLASSES},
    "joint, no labels": npy(SPARSE),
    "semantic query": {"x": TABLE},
}


@pytest.mark.parametrize("name", HISTOGRAM_FILES)
def test_clean_histograms_are_found(name, tmp_path):
    write(tmp_path, HISTOGRAM_FILES[name])
    if name == "joint, no labels":
        (tmp_path / "deep/file").rename(tmp_path / "votes.npy")
    assert kinds(tmp_path) == {"histogram"}


def test_a_histogram_with_one_other_vote_is_not_clean(tmp_path):
    changed = VOTES.copy()
    changed[17] += 1
    write_arrays(tmp_path / "a", {"votes": changed, "labels": BINS})
    write_arrays(tmp_path / "b", {"votes": SPARSE + (np.arange(200) == 9)})
    write_arrays(tmp_path / "c", {"counts": TABLE + (np.arange(4) == 1)})
    assert kinds(tmp_path) == set()


def test_parameters_that_happen_to_add_up_are_no_histogram(tmp_path):
    """Without noise, zeros say nothing of an array that is not named as a histogram."""
    write_arrays(tmp_path / "a", {"state.font": SPARSE, "labels": np.arange(200) % CLASSES})
    assert kinds(tmp_path) == set()


def test_noisy_releases_are_not_taken_for_clean_ones():
    """At the least noise that is held to, σ = 1: histograms by class, joint, and class counts.

    By the limit of 2^-16 for a histogram, 0.05 of 3,000 would be false; ten counts would be
    unchanged with a chance of 0.4^10, 0.1 of 1,000. The seeds are fixed.
    """
    rng, mechanism = np.random.default_rng(8), DiscreteGaussianMechanism.of(1.0)
    clean, found = CleanCounts(COUNTS, public=False), 0
    for i in range(1000):
        noise = noise_of("seeded", ["scanner", i])
        votes, labels = clean_votes(6, 1, rng)
        found += clean.made("votes", mechanism.release(votes, noise)[0], [labels])
        joint = rng.multinomial(VOTERS, rng.dirichlet(np.full(300, 0.1)))
        found += clean.made("votes", mechanism.release(joint, noise)[0], [np.arange(300) % 10])
        few = rng.multinomial(VOTERS, np.ones(12) / 12)
        found += clean.made("votes", mechanism.release(few, noise)[0], [])
        found += clean.are_in(mechanism.release(COUNTS, noise)[0])
    assert found == 0


@pytest.mark.parametrize(
    "content",
    [b"xx" + PLANTED, zipped(PLANTED), page(PLANTED), {"x": np.frombuffer(PLANTED, np.uint8)}],
    ids=["bytes", "zip", "base64", "array"],
)
def test_planted_bytes_are_found(content, tmp_path):
    write(tmp_path, content)
    (leak,) = scan([tmp_path], SECRETS)
    assert (leak.kind, leak.detail) == ("planted bytes", "string 0")


def test_what_is_nearly_private_is_not_found(tmp_path):
    image, row = IMAGE.copy(), ROW.copy()
    image[7, 7] ^= 1
    row[23] *= 1.01
    write_arrays(tmp_path / "a", {"images": among(image), "embeddings": row[None]})
    (tmp_path / "b.json").write_text(json.dumps([*(image / 255).ravel(), *row.tolist()]))
    (tmp_path / "c.png").write_bytes(png(image[..., 0]))
    assert kinds(tmp_path) == set()


def test_images_and_embeddings_without_structure_are_left_out(tmp_path):
    flat, dotted = np.zeros((2, 8, 8, 1), np.uint8)
    dotted[3, 3] = 200
    images = np.stack([flat, dotted, IMAGE])
    embeddings = np.zeros((3, 24), np.float32)
    secrets = Secrets.of(images, np.array([0, 0, 1]), [embeddings])
    write_arrays(tmp_path / "x", {"images": images, "zeros": np.zeros(1000, np.float32)})
    assert [leak.detail for leak in scan([tmp_path], secrets)] == ["private images 2"]


def test_a_leak_of_everything_is_one_line_for_each_kind(tmp_path):
    write_arrays(tmp_path / "x", {"images": IMAGES, "labels": LABELS, "embeddings": EMBEDDINGS})
    details = {leak.kind: leak.detail for leak in scan([tmp_path], SECRETS)}
    assert details == {
        "image": "private images 0, 1, 2, 3, 4 and 395 more",
        "embedding": "embedding 0, rows 0, 1, 2, 3, 4 and 395 more",
        "class counts": "of the training split, as numbers of labels",
    }


def test_what_lies_across_the_borders_of_pieces_is_found(tmp_path, monkeypatch):
    """Wherever it lies: with pieces this small, 40 places meet every kind of border."""
    monkeypatch.setattr(scanner, "PIECE", 32)
    monkeypatch.setattr(anchors, "BLOCK", 32)
    for place in range(40):
        path = tmp_path / str(place)
        start = np.zeros(place)
        numbers = np.concatenate([start, IMAGE.ravel() / 255, ROW, start, COUNTS, start])
        write_arrays(path, {"x": numbers})
        found = {leak.kind for leak in SECRETS.in_file(path)}
        assert found == {"image", "embedding", "class counts"}, place
        path.write_bytes(bytes(place) + PLANTED + bytes(place) + IMAGE.tobytes())
        assert {leak.kind for leak in SECRETS.in_file(path)} == {"image", "planted bytes"}, place


def test_anchors_that_rows_share_are_told_apart():
    """All rows have both anchors in common and differ in one item alone."""
    row = np.random.default_rng(9).integers(0, 256, 64, dtype=np.uint8)
    row[20:40] = 0
    rows = np.tile(row, (200, 1))
    rows[:, 30] = np.arange(200)
    rows[:, 29] = rows[:, 31] = rows[:, 30]
    found = anchors.Anchors(rows).find(np.concatenate([rows[150], rows[3], rows[150]]))
    assert found.tolist() == [3, 150]


@pytest.mark.parametrize(
    "content",
    [{"x": among(IMAGE)}, npz(x=IMAGES), png(figure(3)), gzip.compress(bytes(9999)), b""],
    ids=["safetensors", "npz", "png", "gzip", "empty"],
)
def test_damaged_files_are_searched_as_the_bytes_that_they_are(content, tmp_path):
    write(tmp_path, content)
    path = tmp_path / "deep/file"
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2] + PLANTED)
    assert "planted bytes" in kinds(tmp_path)


def test_what_unpacks_to_too_much_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "LARGEST", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(TooLarge, match=r"bomb\.gz: unpacks to more than 1000 bytes"):
        scan([tmp_path], SECRETS)


def test_folders_that_are_not_there_hold_nothing(tmp_path):
    assert scan([tmp_path / "runs"], SECRETS) == []


def test_declared_class_fractions_are_told_to_the_scanner():
    fractions = {str(i): 1 + i for i in range(CLASSES)}
    experiment = {
        "experiment": "scanned",
        "datasets": ["digits"],
        "methods": ["real", "random", "sim-pe"],
        "epsilons": [1],
        "seeds": [0],
        "overrides": {"digits/sim-pe": {"class_fractions": fractions}},
    }
    plan = Plan(load_configuration(ROOT / "config", experiment, "my.yaml"), ROOT)
    (digits, declared), *_ = settings_of(plan, "scan")(None)["declared"].items()
    assert digits.startswith("digits~") and declared == [list(range(1, CLASSES + 1))]
