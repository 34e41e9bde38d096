"""The remote model: against a real HTTP server on this machine that fails in every known way."""

import base64
import email.message
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workflow_scripts.configuration.generators import ApiGenerator
from workflow_scripts.configuration.reading import ConfigurationProblem, validate
from workflow_scripts.files import FileProblem
from workflow_scripts.generators import open_generator
from workflow_scripts.generators.answers import AnswerCache, Bill, Unreadable, fitted
from workflow_scripts.generators.api import ATTEMPTS, ApiProblem, RemoteModel
from workflow_scripts.generators.population import Population

ROOT = Path(__file__).parents[2]
KEY = "sk-the-secret-key-4711"
CLASSES = [f"class {i}" for i in range(10)]
LABELS = np.array([3, 1, 4, 1, 5, 9, 2, 6])
# A wait that is announced is short; one that is not takes the SDK half a second.
SOON = {"retry-after-ms": "10"}


# The server


@dataclass
class Asked:
    """A request as the server saw it."""

    number: int
    endpoint: str
    headers: email.message.Message
    fields: dict
    image: np.ndarray | None = None
    time: float = field(default_factory=time.monotonic)

    @property
    def colour(self) -> int:
        """Ten times the class in the prompt, or the parent's first value."""
        if self.image is not None:
            return int(self.image.flat[0])
        return 10 * int(self.fields["prompt"].split("class ")[1][0])


@dataclass
class Reply:
    status: int = 200
    body: bytes | dict = b""
    headers: dict = field(default_factory=dict)


def image_file(colour, size=(24, 24), mode="RGB", form="PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


def with_image(file: bytes) -> Reply:
    return Reply(body={"created": 0, "data": [{"b64_json": base64.b64encode(file).decode()}]})


def answer(asked: Asked) -> Reply:
    """An image in the class's (or parent's) red; its green says which request it answers."""
    return with_image(image_file((asked.colour, asked.number % 256, 0)))


def failing(status: int, message="no", code=None, param=None, headers=None) -> Reply:
    error = {"message": message, "type": "error", "code": code, "param": param}
    return Reply(status, {"error": error}, headers or {})


DROP = Reply(status=0)
REFUSAL = failing(400, "rejected by the safety system", code="moderation_blocked")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind.startswith("multipart/"):
            message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
            parts = {
                part.get_param("name", header="content-disposition"): part
                for part in message.get_payload()
            }
            picture = parts.pop("image").get_payload(decode=True)
            picture = np.asarray(Image.open(io.BytesIO(picture), formats=["PNG"]))
            fields = {name: part.get_payload() for name, part in parts.items()}
        else:
            picture, fields = None, json.loads(body)
        self.server.serve(self, self.path.removeprefix("/v1/images/"), fields, picture)

    def do_GET(self):
        self.server.downloads.append(dict(self.headers))
        self.send(self.server.files.pop(0) if self.server.files else Reply(404))

    def send(self, reply: Reply):
        if reply is DROP:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        body, kind = reply.body, "application/octet-stream"
        if isinstance(body, dict):
            body, kind = json.dumps(body).encode(), "application/json"
        self.send_response(reply.status)
        for name, value in ({"Content-Type": kind} | reply.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Answers with `reply(asked)`, after the replies in `first` are used up."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[Asked] = []
        self.first: list[Reply] = []
        self.reply = answer
        self.files: list[Reply] = []
        self.downloads: list[dict] = []
        self.lock = threading.Lock()
        self.active = self.most_active = 0

    def serve(self, handler, endpoint, fields, image):
        with self.lock:
            asked = Asked(len(self.asked), endpoint, handler.headers, fields, image)
            self.asked.append(asked)
            fault = self.first.pop(0) if self.first else None
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        reply = fault or self.reply(asked)
        with self.lock:
            self.active -= 1
        # A client that has given up is no error of the server's.
        with suppress(ConnectionError):
            handler.send(reply)


@contextmanager
def serving():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server():
    with serving() as started:
        yield started


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("IMAGE_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def entry(url="http://127.0.0.1:9", **changes) -> dict:
    given = {
        "kind": "api",
        "base_url": f"{url}/v1",
        "model": "painter-2",
        "image": {"size": 8, "channels": 3},
        "prompt": "a photo of {class}",
        "api_key_variable": "IMAGE_KEY",
        "retries": 2,
        "timeout": 20.0,
        "price_per_image": 0.25,
    }
    return validate(ApiGenerator, given | changes, "generators.yaml").model_dump(mode="json")


def model(server, cache=None, **changes) -> RemoteModel:
    return open_generator(entry(server.url, **changes), CLASSES, cache=cache)


def rng(seed=0):
    return np.random.default_rng(seed)


def parents(labels=LABELS, size=8, channels=3) -> Population:
    """Noise whose first value is ten times the label."""
    images = rng(7).integers(0, 256, (len(labels), size, size, channels), dtype=np.uint8)
    images[:, 0, 0, 0] = 10 * labels
    return Population(images, labels, {"prompt": labels.copy()})


def costs(cache) -> dict:
    return json.loads((Path(cache) / "cost.json").read_text())


def entries(cache) -> list[Path]:
    return sorted(Path(cache).glob("*/*.png"))


# RANDOM


def test_random_asks_for_the_prompt_of_each_label_and_keeps_the_order(server):
    def late(asked):
        time.sleep(random.Random(asked.number).random() / 10)
        return answer(asked)

    server.reply = late
    population = model(server).random(LABELS, rng())
    assert population.images.shape == (8, 8, 8, 3) and population.images.dtype == np.uint8
    assert (population.images[..., 0] == 10 * LABELS[:, None, None]).all()
    assert population.labels.tolist() == population.state["prompt"].tolist() == LABELS.tolist()
    assert population.labels.dtype == population.state["prompt"].dtype == np.int64
    assert {asked.endpoint for asked in server.asked} == {"generations"}
    assert sorted(asked.fields["prompt"] for asked in server.asked) == sorted(
        f"a photo of class {label}" for label in LABELS
    )
    for asked in server.asked:
        assert asked.headers["Authorization"] == f"Bearer {KEY}"
        assert {k: v for k, v in asked.fields.items() if k != "prompt"} == {
            "model": "painter-2",
            "n": 1,
            "response_format": "b64_json",
        }


def test_a_class_may_have_its_own_prompt_and_the_request_a_size(server):
    prompts = {"class 0": "my {class}", "class 1": "your class 1"}
    changes = {"prompt": None, "prompts": prompts, "request_size": "256x256"}
    generator = RemoteModel(["class 1", "class 0"], entry(server.url, **changes))
    generator.random(np.array([0]), rng())
    generator.random(np.array([1]), rng())
    assert [a.fields["prompt"] for a in server.asked] == ["your class 1", "my class 0"]
    assert {a.fields["size"] for a in server.asked} == {"256x256"}


def test_a_class_without_a_prompt_is_named():
    changes = {"prompt": None, "prompts": {"class 0": "one"}}
    with pytest.raises(ApiProblem, match=r"found \['class 0'\]; missing: \['class 1'\]"):
        RemoteModel(["class 0", "class 1"], entry(**changes))


def test_nothing_is_asked_for_an_empty_population(server, monkeypatch):
    monkeypatch.delenv("IMAGE_KEY")
    generator = model(server)
    empty = generator.random(LABELS[:0], rng())
    assert empty.images.shape == (0, 8, 8, 3) and empty.state["prompt"].shape == (0,)
    assert generator.vary(empty, {}, rng()).images.shape == (0, 8, 8, 3)
    assert not server.asked


# VARIATION


@pytest.mark.parametrize("channels", [1, 3])
def test_a_variation_sends_the_parent_as_it_is(server, channels):
    shape = {"size": 8, "channels": channels}
    generator = model(
        server,
        image=shape,
        strength_parameter="denoise",
        variation_prompt="like {class}",
        concurrency=1,
    )
    population = parents(channels=channels)
    varied = generator.vary(population, {"strength": 0.375}, rng())
    for asked, parent, label in zip(server.asked, population.images, LABELS, strict=True):
        assert asked.endpoint == "edits"
        assert np.array_equal(asked.image.reshape(parent.shape), parent)
        assert asked.fields == {
            "model": "painter-2",
            "n": "1",
            "response_format": "b64_json",
            "prompt": f"like class {label}",
            "denoise": "0.375",
        }
    assert np.array_equal(varied.labels, LABELS)
    assert np.array_equal(varied.state["prompt"], LABELS)
    if channels == 3:
        assert (varied.images[..., 0] == 10 * LABELS[:, None, None]).all()


def test_an_edit_without_its_own_prompt_has_the_class_prompt(server):
    model(server).vary(parents(LABELS[:1]), {}, rng())
    assert server.asked[0].fields["prompt"] == "a photo of class 3"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_variations_endpoint_gets_the_image_alone(server, tmp_path):
    varied = model(server, tmp_path, variation="variations").vary(parents(), {}, rng())
    assert {asked.endpoint for asked in server.asked} == {"variations"}
    assert all(
        asked.fields == {"model": "painter-2", "n": "1", "response_format": "b64_json"}
        for asked in server.asked
    )
    assert (varied.images[..., 0] == 10 * LABELS[:, None, None]).all()
    # What is not sent does not matter.
    other = model(server, tmp_path, variation="variations", prompt="a drawing")
    assert np.array_equal(other.vary(parents(), {}, rng()).images, varied.images)
    assert len(server.asked) == len(LABELS)


def test_adopted_images_get_this_shape_and_the_prompt_of_their_label(server):
    other = Population(
        parents(size=16, channels=1).images, LABELS, {"font": np.arange(len(LABELS))}
    )
    adopted = model(server).adopt(other, rng())
    assert adopted.images.shape == (8, 8, 8, 3) and adopted.images.dtype == np.uint8
    assert adopted.state.keys() == {"prompt"}
    assert np.array_equal(adopted.state["prompt"], LABELS)
    assert np.array_equal(adopted.labels, LABELS)
    model(server).vary(adopted, {}, rng())
    assert len(server.asked) == len(LABELS)


# The cache


def test_a_repeated_call_asks_nothing_and_returns_the_same(server, tmp_path, monkeypatch):
    first = model(server, tmp_path).random(LABELS, rng())
    varied = model(server, tmp_path).vary(first, {}, rng())
    n = len(server.asked)
    assert n == 16 and len(entries(tmp_path)) == 16
    # Neither the key nor the pace matters then.
    monkeypatch.delenv("IMAGE_KEY")
    again = model(server, tmp_path, concurrency=1)
    assert np.array_equal(again.random(LABELS, rng()).images, first.images)
    assert np.array_equal(again.vary(first, {}, rng()).images, varied.images)
    assert len(server.asked) == n
    assert costs(tmp_path) == {
        "requests": 16,
        "retries": 0,
        "cached": 16,
        "refused": 0,
        "images": 16,
        "money": 4.0,
    }


def test_equal_requests_of_one_call_are_different_samples(server, tmp_path):
    images = model(server, tmp_path).random(np.full(6, 2), rng()).images
    assert len(server.asked) == 6 and len({image.tobytes() for image in images}) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "painter-3"},
        {"prompt": "a drawing of {class}"},
        {"request_size": "64x64"},
        {"image": {"size": 8, "channels": 1}},
    ],
)
def test_another_request_is_asked_again(server, tmp_path, changes):
    model(server, tmp_path).random(LABELS[:2], rng())
    model(server, tmp_path, **changes).random(LABELS[:2], rng())
    assert len(server.asked) == 4
    # Neither has taken the other's place.
    model(server, tmp_path).random(LABELS[:2], rng())
    assert len(server.asked) == 4


def test_another_draw_strength_or_parent_is_asked_again(server, tmp_path):
    generator = model(server, tmp_path, strength_parameter="strength")
    population = parents(LABELS[:1])
    generator.vary(population, {"strength": 0.5}, rng())
    generator.vary(population, {"strength": 0.5}, rng(1))
    generator.vary(population, {"strength": 0.25}, rng())
    other = Population(255 - population.images, population.labels, population.state)
    generator.vary(other, {"strength": 0.5}, rng())
    assert len(server.asked) == 4
    generator.vary(population, {"strength": 0.5}, rng())
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"not a picture",
        lambda data: image_file(0, size=(9, 9)),
    ],
)
def test_a_damaged_entry_is_asked_again(server, tmp_path, damage):
    model(server, tmp_path).random(LABELS[:3], rng())
    [damaged, *_] = entries(tmp_path)
    damaged.write_bytes(damage(damaged.read_bytes()))
    healed = model(server, tmp_path).random(LABELS[:3], rng())
    assert len(server.asked) == 4
    assert np.array_equal(model(server, tmp_path).random(LABELS[:3], rng()).images, healed.images)
    assert len(server.asked) == 4


def test_no_wrong_bit_goes_unseen(tmp_path):
    image = np.full((8, 8, 3), [30, 1, 0], dtype=np.uint8)
    cache = AnswerCache(tmp_path, image.shape)
    cache.put("key", image)
    whole = cache.path("key").read_bytes()
    for i in range(len(whole)):
        cache.path("key").write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        read = cache.get("key")
        assert read is None or np.array_equal(read, image)


def test_without_a_cache_every_call_is_asked(server):
    for _ in range(2):
        model(server).random(LABELS[:2], rng())
    assert len(server.asked) == 4


def test_a_failure_loses_nothing_that_was_paid_for(server, tmp_path):
    failed = threading.Event()

    def one_class_fails(asked):
        if asked.colour == 50:
            # The others are under way: they end after the failure and are kept all the same.
            failed.set()
            return failing(400, "class 5 is out of stock")
        if asked.colour == 10:
            failed.wait(10)
            time.sleep(0.2)
        return answer(asked)

    server.reply = one_class_fails
    with pytest.raises(ApiProblem, match="class 5 is out of stock"):
        model(server, tmp_path, concurrency=3).random(LABELS, rng())
    kept = len(entries(tmp_path))
    assert kept >= 4 and kept < len(LABELS) - 1
    assert len(server.asked) == kept + 1
    assert costs(tmp_path)["images"] == kept and costs(tmp_path)["requests"] == kept + 1
    server.reply = answer
    population = model(server, tmp_path).random(LABELS, rng())
    assert len(server.asked) == len(LABELS) + 1
    assert (population.images[..., 0] == 10 * LABELS[:, None, None]).all()


# Pace


def test_no_more_requests_at_once_than_allowed(server):
    def slow(asked):
        time.sleep(0.05)
        return answer(asked)

    server.reply = slow
    model(server, concurrency=3).random(np.zeros(12, int), rng())
    assert 2 <= server.most_active <= 3


def test_the_rate_holds_over_retries_and_calls(server):
    server.first = [failing(500, headers=SOON)]
    generator = model(server, requests_per_minute=600.0)
    start = time.monotonic()
    generator.random(LABELS[:5], rng())
    generator.random(LABELS[:4], rng())
    # Ten requests, a tenth of a second apart, whatever the machine's pace.
    assert len(server.asked) == 10
    assert time.monotonic() - start >= 0.9 * 0.999


# What passes


def test_what_passes_is_retried(server, tmp_path, capsys):
    server.first = [failing(500, headers=SOON), DROP, failing(503, headers=SOON)]
    population = model(server, tmp_path, concurrency=1, retries=3).random(LABELS[:2], rng())
    assert (population.images[..., 0] == 10 * LABELS[:2, None, None]).all()
    assert len(server.asked) == 5
    assert costs(tmp_path) | {"money": 0} == {
        "requests": 5,
        "retries": 3,
        "cached": 0,
        "refused": 0,
        "images": 2,
        "money": 0,
    }
    [line] = capsys.readouterr().out.splitlines()
    assert line == (
        f"{server.url}/v1: 5 requests (3 of them retries), 0 answers from the cache, "
        "0 variations refused, 2 images paid: 0.5"
    )


def test_the_server_says_when_to_ask_again(server):
    server.first = [failing(429, "slow down", headers={"Retry-After": "1"})]
    model(server).random(LABELS[:1], rng())
    first, second = server.asked
    assert second.time - first.time >= 0.99


def test_a_retried_variation_sends_the_parent_again(server):
    server.first = [failing(500, headers=SOON)]
    model(server).vary(parents(LABELS[:1]), {}, rng())
    first, second = server.asked
    assert np.array_equal(first.image, second.image)


# What does not


def cause(problem) -> str:
    """The message, which is one line without the key."""
    message = str(problem.value)
    assert "\n" not in message and "secret-key" not in message
    return message


def test_a_server_that_stays_busy_is_named_with_what_it_says(server):
    server.reply = lambda asked: failing(429, "quota\nexceeded", headers=SOON)
    with pytest.raises(ApiProblem) as problem:
        model(server).random(LABELS[:1], rng())
    assert cause(problem) == f"{server.url}/v1: HTTP 429: quota exceeded"
    assert len(server.asked) == 3


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_a_missing_key_is_named(server, monkeypatch, value):
    monkeypatch.delenv("IMAGE_KEY")
    if value is not None:
        monkeypatch.setenv("IMAGE_KEY", value)
    # Another one that the SDK would fall back to.
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with pytest.raises(ApiProblem, match="environment variable IMAGE_KEY: not set"):
        model(server).random(LABELS, rng())
    assert not server.asked


def test_a_line_break_after_the_key_is_no_part_of_it(server, monkeypatch):
    monkeypatch.setenv("IMAGE_KEY", f"{KEY}\n")
    model(server).random(LABELS[:1], rng())
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [f"{KEY}\n{KEY}", f"{KEY}\x07", f"{KEY}é"])
def test_a_key_that_no_header_can_carry_is_not_repeated(server, monkeypatch, value):
    monkeypatch.setenv("IMAGE_KEY", value)
    with pytest.raises(ApiProblem, match="IMAGE_KEY") as problem:
        model(server).random(LABELS, rng())
    cause(problem)


def test_a_refused_key_is_named_by_its_variable(server):
    server.reply = lambda asked: failing(401, f"Incorrect API key provided: {KEY[:5]}***{KEY[-4:]}")
    with pytest.raises(ApiProblem, match=r"401.*IMAGE_KEY") as problem:
        model(server, concurrency=1).random(LABELS, rng())
    assert KEY[-4:] not in cause(problem)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_a_rejected_request_is_explained_by_the_api(server, status):
    said = f"Invalid size for {KEY}: 3x3"
    server.reply = lambda asked: failing(status, said, code="invalid_value")
    with pytest.raises(ApiProblem) as problem:
        model(server, concurrency=1).random(LABELS, rng())
    assert cause(problem) == f"{server.url}/v1: HTTP {status}: Invalid size for [key]: 3x3"
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>\nBad gateway</html>", b"", {"detail": "gone"}])
def test_an_error_that_is_not_the_api_s_own_is_shown(server, body):
    server.reply = lambda asked: Reply(404, body)
    with pytest.raises(ApiProblem, match="HTTP 404") as problem:
        model(server).random(LABELS[:1], rng())
    cause(problem)


def test_a_server_that_is_not_there():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ApiProblem, match=f"{url}/v1: no connection") as problem:
            RemoteModel(CLASSES, entry(url, retries=0)).random(LABELS, rng())
    cause(problem)


def test_a_server_that_does_not_answer(server):
    done = threading.Event()

    def never(asked):
        done.wait(10)
        return answer(asked)

    server.reply = never
    with pytest.raises(ApiProblem, match=r"no answer within 0.2 s, after 0 retries"):
        model(server, timeout=0.2, retries=0).random(LABELS[:1], rng())
    done.set()


# Refusals


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_refused_image_is_asked_for_again(server, code):
    server.first = [failing(400, "unsafe", code=code)] * (ATTEMPTS - 1)
    images = model(server).random(LABELS[:1], rng()).images
    assert len(server.asked) == ATTEMPTS and (images[..., 0] == 30).all()


def test_a_prompt_that_is_always_refused_is_named(server):
    server.reply = lambda asked: REFUSAL
    with pytest.raises(ApiProblem) as problem:
        model(server).random(LABELS[:1], rng())
    message = cause(problem)
    assert "rejected by the safety system" in message and "'a photo of class 3'" in message
    assert len(server.asked) == ATTEMPTS


def test_a_refused_variation_keeps_its_parent_for_good(server, tmp_path, capsys):
    population = parents()
    server.reply = lambda asked: REFUSAL if asked.colour == 10 else answer(asked)
    varied = model(server, tmp_path).vary(population, {}, rng())
    refused = LABELS == 1
    assert np.array_equal(varied.images[refused], population.images[refused])
    assert (varied.images[~refused, ..., 0] == 10 * LABELS[~refused, None, None]).all()
    assert len(server.asked) == 6 + 2 * ATTEMPTS
    assert (costs(tmp_path)["refused"], costs(tmp_path)["images"]) == (2, 6)
    assert "2 variations refused" in capsys.readouterr().out
    # Once kept, the parent stays, even if the API has changed its mind.
    server.reply = answer
    again = model(server, tmp_path).vary(population, {}, rng())
    assert np.array_equal(again.images, varied.images)
    assert len(server.asked) == 6 + 2 * ATTEMPTS


# Answers of other kinds


WRONG = [
    Reply(body=b"<html>Welcome</html>"),
    Reply(body=b"{broken", headers={"Content-Type": "application/json"}),
    Reply(body=b"[1, 2]", headers={"Content-Type": "application/json"}),
    Reply(body={"created": 0, "data": []}),
    Reply(body={"created": 0, "data": None}),
    Reply(body={"created": 0, "data": [{"revised_prompt": "x"}]}),
    Reply(body={"created": 0, "data": [{"b64_json": 12}]}),
    Reply(body={"created": 0, "data": [{"b64_json": "????"}]}),
    Reply(body={"created": 0, "data": [{"url": "ftp://127.0.0.1/x.png"}]}),
    with_image(b"not a picture"),
    with_image(image_file(0)[:40]),
    # A format that Pillow reads, but that no API sends: there are some that start a program.
    with_image(image_file(0, form="TIFF")),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_an_answer_without_an_image_is_asked_for_again(server, tmp_path, wrong):
    server.first = [wrong]
    images = model(server, tmp_path).random(LABELS[:1], rng()).images
    assert len(server.asked) == 2 and (images[..., 0] == 30).all()


def test_a_server_that_never_gives_an_image_is_named(server, tmp_path):
    server.reply = lambda asked: with_image(b"not a picture")
    with pytest.raises(ApiProblem, match="asked 3 times: 13 bytes that are no image"):
        model(server, tmp_path).vary(parents(LABELS[:1]), {}, rng())
    assert not entries(tmp_path)
    # What came was paid for.
    assert costs(tmp_path)["images"] == ATTEMPTS


def test_a_model_that_knows_no_response_format_is_asked_without(server):
    def modern(asked):
        time.sleep(0.05)
        if "response_format" in asked.fields:
            said = "Unknown parameter: 'response_format'."
            return failing(400, said, code="unknown_parameter", param="response_format")
        return answer(asked)

    server.reply = modern
    generator = model(server, concurrency=4)
    images = generator.random(LABELS, rng()).images
    assert (images[..., 0] == 10 * LABELS[:, None, None]).all()
    generator.vary(parents(), {}, rng())
    # Only those that were under way together found out.
    assert len(server.asked) <= 2 * len(LABELS) + 4


def with_address(server) -> Reply:
    address = f"{server.url}/files/x.png?signature=hidden"
    return Reply(body={"created": 0, "data": [{"url": address}]})


def test_an_image_may_lie_elsewhere_where_the_key_is_not_sent(server, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_ORG_ID", "org-hidden")
    server.reply = lambda asked: with_address(server)
    server.files = [
        Reply(503, headers=SOON),
        Reply(body=image_file((77, 0, 0), form="JPEG"), headers={"Content-Type": "image/jpeg"}),
    ]
    images = model(server, tmp_path).random(LABELS[:1], rng()).images
    assert np.abs(images[..., 0].astype(int) - 77).max() <= 3
    assert len(server.downloads) == 2 and len(server.asked) == 1
    assert not [name for headers in server.downloads for name in headers if "auth" in name.lower()]
    assert "hidden" not in str(server.downloads)
    # A download is no request to the API.
    assert (costs(tmp_path)["requests"], costs(tmp_path)["retries"]) == (1, 0)


def test_an_image_that_is_gone_is_asked_for_again(server):
    server.first = [with_address(server)]
    assert (model(server).random(LABELS[:1], rng()).images[..., 0] == 30).all()
    server.reply = lambda asked: with_address(server)
    with pytest.raises(ApiProblem, match=r"its address cannot be fetched \(404\)") as problem:
        model(server).random(LABELS[:1], rng())
    assert "hidden" not in cause(problem)


# Image files


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_format_is_read(form, channels):
    image = fitted(image_file((200, 100, 50), size=(40, 25), form=form), 8, channels)
    expected = [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)] if channels == 1 else [200, 100, 50]
    assert image.shape == (8, 8, channels)
    # JPEG and WebP lose some of the colour.
    assert np.abs(image.astype(int) - expected).max() <= (1 if form == "PNG" else 4)


@settings(deadline=None, max_examples=50)
@given(
    side=st.integers(1, 40),
    margin=st.integers(0, 10),
    upright=st.booleans(),
    size=st.integers(1, 24),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 100),
)
def test_the_middle_square_is_resized_bicubically(side, margin, upright, size, channels, seed):
    middle = rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    # Around the square stands what must leave no trace.
    around = ((margin, margin), (0, 0)) if upright else ((0, 0), (margin, margin))
    whole = np.pad(middle, (*around, (0, 0)), constant_values=255)
    file = io.BytesIO()
    Image.fromarray(whole).save(file, "PNG")
    expected = Image.fromarray(middle)
    if channels == 1:
        expected = expected.convert("L")
    expected = np.asarray(expected.resize((size, size), Image.Resampling.BICUBIC))
    assert np.array_equal(
        fitted(file.getvalue(), size, channels), expected.reshape(size, size, channels)
    )


def test_an_image_of_the_right_shape_is_untouched():
    image = parents().images[0]
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    assert np.array_equal(fitted(file.getvalue(), 8, 3), image)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (10, 255), (10, 10, 10)),
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x8000, (128, 128, 128)),
    ],
)
def test_transparency_becomes_white_and_depth_is_scaled(mode, colour, expected):
    image = fitted(image_file(colour, mode=mode), 8, 3)
    assert (image == expected).all()


@given(st.binary(max_size=64))
def test_what_is_no_image_is_said_so(data):
    with pytest.raises(Unreadable, match="no image"):
        fitted(data, 8, 3)


# Costs


def test_a_bill_is_added_once(tmp_path):
    bill = Bill(tmp_path / "cost.json", price=0.1)
    bill.settle()
    assert not (tmp_path / "cost.json").exists()
    for _ in range(3):
        bill.add(requests=1, images=1)
        bill.settle()
        bill.settle()
    other = Bill(tmp_path / "cost.json", price=1)
    other.add(cached=4, images=1)
    other.settle()
    assert costs(tmp_path) == {
        "requests": 3,
        "retries": 0,
        "cached": 4,
        "refused": 0,
        "images": 4,
        "money": 1.3,
    }


def test_a_damaged_cost_file_is_named_and_the_answer_kept(server, tmp_path):
    (tmp_path / "cost.json").write_text("{")
    with pytest.raises(FileProblem, match=r"cost\.json: not valid JSON"):
        model(server, tmp_path).random(LABELS[:1], rng())
    assert len(entries(tmp_path)) == 1


SHARD = """
import json, sys
import numpy as np
from workflow_scripts.generators.api import RemoteModel
entry, cache, seed, n = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
model = RemoteModel(["class 0"], entry, cache)
model.random(np.zeros(n, int), np.random.default_rng(seed))
"""


def test_two_processes_share_answers_costs_and_no_key(server, tmp_path):
    together = threading.Barrier(2)
    n = 30

    def meet(asked):
        # The first two requests wait for each other: both processes then run at once.
        if asked.number < 2:
            together.wait(60)
        return answer(asked)

    server.reply = meet
    arguments = json.dumps(entry(server.url, concurrency=1)), str(tmp_path)
    shards = [
        subprocess.Popen(
            [sys.executable, "-c", SHARD, *arguments, str(seed), str(n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"OPENAI_LOG": "debug"},
        )
        for seed in (1, 2)
    ]
    said = [shard.communicate(timeout=120)[0].decode() for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], said
    assert len(server.asked) == len(entries(tmp_path)) == 2 * n
    assert costs(tmp_path) == {
        "requests": 2 * n,
        "retries": 0,
        "cached": 0,
        "refused": 0,
        "images": 2 * n,
        "money": n / 2,
    }
    assert all(KEY not in text and f"{n} images paid: {n / 4:g}" in text for text in said)
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert KEY.encode() not in path.read_bytes()


def test_a_killed_process_pays_only_for_what_is_missing(server, tmp_path):
    half, killed = threading.Event(), threading.Event()

    def stall(asked):
        if asked.number >= 5:
            half.set()
            killed.wait(60)
        return answer(asked)

    server.reply = stall
    settings = entry(server.url, concurrency=1)
    shard = subprocess.Popen(
        [sys.executable, "-c", SHARD, json.dumps(settings), str(tmp_path), "1", "8"], cwd=ROOT
    )
    assert half.wait(60)
    shard.kill()
    shard.wait()
    killed.set()
    assert len(entries(tmp_path)) == 5 and costs(tmp_path)["images"] == 5
    server.reply = answer
    RemoteModel(["class 0"], settings, tmp_path).random(np.zeros(8, int), rng(1))
    assert len(server.asked) == 6 + 3 and costs(tmp_path)["cached"] == 5


# Settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": None}, "give either prompt"),
        ({"prompts": {"a": "b"}}, "give either prompt"),
        ({"prompt": "a {clas}"}, r"found \{clas\}; allowed: \{class\}"),
        ({"variation_prompt": "like {}"}, r"found \{\}"),
        ({"base_url": "api.example.org/v1"}, "base_url: allowed: http"),
        ({"base_url": "https://user:word@example.org/v1"}, "without user"),
        ({"base_url": "https://example.org/v1?key=1"}, "query"),
        ({"request_size": "256"}, "found '256'; allowed: auto or WIDTHxHEIGHT"),
        ({"variation": "variations", "strength_parameter": "x"}, "strength_parameter: .* edits"),
        ({"variation": "variations", "variation_prompt": "x"}, "variation_prompt: .* edits"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, said):
    with pytest.raises(ConfigurationProblem, match=said):
        entry(**changes)


def test_a_key_in_place_of_its_variable_is_not_repeated():
    with pytest.raises(ConfigurationProblem, match="the name of a variable") as problem:
        entry(api_key_variable=KEY)
    assert "secret" not in str(problem.value)


def test_the_documented_entry_is_valid_and_has_every_key():
    page = (ROOT / "docs/generators/api.md").read_text(encoding="utf-8")
    [example] = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]).values()
    validate(ApiGenerator, example, "docs/generators/api.md")
    assert {*example, "prompts"} == set(ApiGenerator.model_fields)


def test_the_strength_is_a_degree_where_the_api_takes_one():
    assert not validate(ApiGenerator, entry(), "x").degrees
    degrees = validate(ApiGenerator, entry(strength_parameter="strength"), "x").degrees
    assert degrees["strength"].problem(0) and degrees["strength"].problem(1.1)
    assert degrees["strength"].problem(0.5) is None
