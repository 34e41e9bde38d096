"""Fetching a file whose hash is known: whole and right, or not there at all.

A file is downloaded beside its final place, compared with the hash that its publisher states, and
only then renamed. Nothing is unpacked and nothing in it is run.
"""

import shutil
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workflow_scripts.files import write_atomically
from workflow_scripts.privacy.zones import is_apart
from workflow_scripts.problems import Problem

CHUNK = 1 << 20
WEB = ("http://", "https://")


class FetchProblem(Problem):
    """A file that could not be had; the message names every place that was asked, and why not."""


def file_name(url: str) -> str:
    """The name of the file behind a URL or a path: its last part, without a query."""
    address = urlsplit(url).path if "://" in url else url
    return Path(address).name


def fetch(url: str, path: str | Path, hash: str, mirror: str | None = None) -> None:
    """Fetch a file to `path`, if its content has the expected hash.

    Parameters
    ----------
    url : str
        `https://…`, `http://…`, `file://…` or a local path.
    path : path
        Where it goes. It is written in its own folder under a temporary name, and renamed.
    hash : str
        `md5:…` or `sha256:…`, in lower-case hex.
    mirror : str, optional
        A folder, or a URL of one, where a file of the same name is tried first. One that is
        missing there, or has another hash, is fetched from `url`.

    Raises
    ------
    FetchProblem
        If no place has it: no connection, an HTTP status, a connection that broke off, a missing
        file, another hash.
    """
    path = Path(path)
    places = [url] if mirror is None else [f"{mirror.rstrip('/')}/{file_name(url)}", url]
    failures = []
    for place in places:
        try:
            write_atomically(path, partial(_get, place, hash))
            return
        except FetchProblem as problem:
            failures.append(str(problem))
    raise FetchProblem(f"{path} could not be fetched: {'; '.join(failures)}")


def _get(place: str, expected: str, temporary: Path) -> None:
    from pooch import file_hash

    if place.startswith(WEB):
        _download(place, temporary)
    else:
        _copy(place, temporary)
    algorithm = expected.split(":")[0]
    found = f"{algorithm}:{file_hash(str(temporary), alg=algorithm)}"
    if found != expected:
        size = temporary.stat().st_size
        raise FetchProblem(f"{place}: found {found} ({size} bytes), expected {expected}")


def _download(url: str, temporary: Path) -> None:
    from pooch import HTTPDownloader
    from requests import exceptions

    # The hash is that of the file as published: a server must not pack it on the way, and what it
    # labels as packed all the same is a .gz file that must not be unpacked here.
    download = HTTPDownloader(
        chunk_size=CHUNK,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": _keep_packed},
    )
    try:
        download(url, str(temporary), None)
    except exceptions.HTTPError as error:
        status = f"{error.response.status_code} {error.response.reason}".strip()
        raise FetchProblem(f"{url}: HTTP status {status}") from None
    except exceptions.Timeout:
        raise FetchProblem(f"{url}: no answer in time") from None
    except exceptions.ConnectionError as error:
        if temporary.stat().st_size:
            raise FetchProblem(_broken_off(url, temporary)) from None
        raise FetchProblem(f"{url}: no connection; is there a network? ({error})") from None
    except exceptions.ChunkedEncodingError:
        raise FetchProblem(_broken_off(url, temporary)) from None
    except exceptions.RequestException as error:
        raise FetchProblem(f"{url}: {error}") from None


def _keep_packed(response, **_) -> None:
    response.raw.headers.pop("Content-Encoding", None)


def _broken_off(url: str, temporary: Path) -> str:
    return f"{url}: the connection broke off after {temporary.stat().st_size} bytes"


def _copy(place: str, temporary: Path) -> None:
    source = Path(unquote(urlsplit(place).path) if place.startswith("file://") else place)
    if not is_apart(source):
        raise FetchProblem(f"{place}: lies in the workflow's own results")
    if not source.is_file():
        raise FetchProblem(f"{place}: no such file")
    try:
        shutil.copyfile(source, temporary)
    except OSError as error:
        raise FetchProblem(f"{place}: could not be copied ({error.strerror})") from None
