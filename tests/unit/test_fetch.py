"""Fetching: a file is whole and right, or not there; whatever the server or a signal does."""

import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from workflow_scripts.fetch import CHUNK, FetchProblem, fetch, file_name

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 1000
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
PACKED = gzip.compress(CONTENT)
OTHER = b"<html>Sign in to continue</html>"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: whole, other, short, unannounced, endless, packed, … or 404."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        behaviour = self.path.split("/")[1]
        if behaviour in ("whole", "other"):
            self.answer(CONTENT if behaviour == "whole" else OTHER)
        elif behaviour == "packed" and "gzip" in self.headers.get("Accept-Encoding", ""):
            self.answer(PACKED, ("Content-Encoding", "gzip"))
        elif behaviour == "packed":
            self.answer(CONTENT)
        elif behaviour == "labelled":
            self.answer(PACKED, ("Content-Encoding", "gzip"))
        elif behaviour == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "/whole/data.bin")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif behaviour in ("short", "unannounced"):
            self.send_response(200)
            if behaviour == "short":
                self.send_header("Content-Length", str(len(CONTENT)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            self.close_connection = True
        elif behaviour == "endless":
            self.send_response(200)
            self.send_header("Content-Length", str(3 * CHUNK))
            self.end_headers()
            self.wfile.write(bytes(2 * CHUNK))
            self.wfile.flush()
            self.server.released.wait(20)
            self.close_connection = True
        else:
            self.send_error(404)

    def answer(self, content: bytes, *headers: tuple[str, str]):
        self.send_response(200)
        for header in (("Content-Length", str(len(content))), *headers):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.released = [], threading.Event()
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "results/data.bin"


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("hash", [MD5, SHA256])
def test_a_file_is_fetched_to_where_it_belongs(server, target, hash, monkeypatch):
    # Nothing goes through the folder for temporary files: it may be small, or another disk.
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    fetch(f"{server.url}/whole/data.bin", target, hash)
    assert target.read_bytes() == CONTENT
    assert contents(target.parent) == ["data.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_is_fetched_from_where_the_server_sends_one(server, target):
    fetch(f"{server.url}/elsewhere/data.bin", target, MD5)
    assert target.read_bytes() == CONTENT


def test_a_server_that_packs_answers_is_asked_not_to(server, target):
    fetch(f"{server.url}/packed/data.bin", target, MD5)
    assert target.read_bytes() == CONTENT


def test_a_packed_file_is_kept_packed_whatever_the_server_calls_it(server, target):
    fetch(f"{server.url}/labelled/data.gz", target, f"md5:{hashlib.md5(PACKED).hexdigest()}")
    assert target.read_bytes() == PACKED


@pytest.mark.parametrize(
    ("behaviour", "parts"),
    [
        ("absent", ["HTTP status 404 Not Found"]),
        ("short", ["broke off", "bytes"]),
        ("unannounced", ["found md5:", f"({len(CONTENT) // 2} bytes)", f"expected {MD5}"]),
        ("other", [f"found md5:{hashlib.md5(OTHER).hexdigest()}", f"expected {MD5}"]),
    ],
)
def test_a_wrong_answer_is_named_and_leaves_nothing(server, target, behaviour, parts):
    url = f"{server.url}/{behaviour}/data.bin"
    with pytest.raises(FetchProblem) as problem:
        fetch(url, target, MD5)
    message = str(problem.value)
    assert str(target) in message and url in message and "\n" not in message
    for part in parts:
        assert part in message
    assert contents(target.parent) == []


def test_a_wrong_answer_leaves_the_file_that_is_there(server, target):
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    with pytest.raises(FetchProblem):
        fetch(f"{server.url}/short/data.bin", target, MD5)
    assert target.read_bytes() == b"earlier" and contents(target.parent) == ["data.bin"]


def test_no_network_is_named(target):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/data.bin"
        with pytest.raises(FetchProblem, match="no connection"):
            fetch(url, target, MD5)
    assert contents(target.parent) == []


def test_a_host_that_does_not_exist_is_named(target):
    with pytest.raises(FetchProblem, match=r"nowhere\.invalid/data\.bin: no connection"):
        fetch("https://nowhere.invalid/data.bin", target, MD5)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_local_file_is_copied_if_it_has_the_hash(tmp_path, target, form):
    source = tmp_path / "my data.bin"
    source.write_bytes(CONTENT)
    fetch(form.format(source).replace(" ", "%20" if "file" in form else " "), target, MD5)
    assert target.read_bytes() == CONTENT
    source.write_bytes(OTHER)
    with pytest.raises(FetchProblem, match=f"found md5:{hashlib.md5(OTHER).hexdigest()}"):
        fetch(str(source), target, MD5)
    source.unlink()
    with pytest.raises(FetchProblem, match="no such file"):
        fetch(str(source), target, MD5)


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_file_of_the_workflows_own_results_is_not_fetched(tmp_path, target, form, monkeypatch):
    monkeypatch.chdir(tmp_path)
    private = tmp_path / "results/sensitive/train"
    private.parent.mkdir(parents=True)
    private.write_bytes(b"private")
    expected = f"sha256:{hashlib.sha256(b'private').hexdigest()}"
    with pytest.raises(FetchProblem, match="lies in the workflow's own results"):
        fetch(form.format(private), target, expected)
    assert not target.exists()


# Mirrors


def test_a_mirror_is_asked_first_and_may_suffice(server, target, tmp_path):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/data.bin").write_bytes(CONTENT)
    for mirror in (str(tmp_path / "mirror"), f"file://{tmp_path}/mirror/", f"{server.url}/whole"):
        server.asked.clear()
        fetch(f"{server.url}/absent/data.bin", target, MD5, mirror=mirror)
        assert target.read_bytes() == CONTENT
        assert server.asked == (["/whole/data.bin"] if mirror.startswith("http") else [])
        target.unlink()


@pytest.mark.parametrize("content", [None, OTHER, CONTENT[:-1]])
def test_a_mirror_without_the_right_file_is_passed_over(server, target, tmp_path, content):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    if content is not None:
        (mirror / "data.bin").write_bytes(content)
    fetch(f"{server.url}/whole/data.bin", target, MD5, mirror=str(mirror))
    assert target.read_bytes() == CONTENT and server.asked == ["/whole/data.bin"]


def test_all_places_that_failed_are_named(server, target, tmp_path):
    with pytest.raises(FetchProblem) as problem:
        fetch(f"{server.url}/absent/data.bin", target, MD5, mirror=str(tmp_path / "mirror"))
    message = str(problem.value)
    assert f"{tmp_path}/mirror/data.bin: no such file" in message
    assert f"{server.url}/absent/data.bin: HTTP status 404" in message


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/b/train-images.gz", "train-images.gz"),
        ("https://example.org/records/1/files/EuroSAT_RGB.zip?download=1", "EuroSAT_RGB.zip"),
        ("file:///data/x.npz", "x.npz"),
        ("data/x.npz", "x.npz"),
    ],
)
def test_the_name_of_a_file_is_its_last_part(url, name):
    assert file_name(url) == name


# Killed half-way


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_fetch_that_is_killed_leaves_no_half_file(server, target, how):
    program = "import sys; from workflow_scripts.fetch import fetch; fetch(*sys.argv[1:])"
    url = f"{server.url}/endless/data.bin"
    child = subprocess.Popen([sys.executable, "-c", program, url, str(target), MD5], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not any(p.stat().st_size for p in target.parent.glob(".data.bin.*.part")):
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.01)
    finally:
        child.send_signal(how)
        child.wait()
    assert not target.exists()
    # Another file's, which is not to be touched.
    beside = target.parent / ".data.bin.gz.abcd_123.part"
    beside.write_bytes(b"")
    fetch(f"{server.url}/whole/data.bin", target, MD5)
    assert target.read_bytes() == CONTENT
    # What the killed one left is gone.
    assert contents(target.parent) == [beside.name, "data.bin"]
