"""Fetching a pipeline from a hub: one commit, weights in safetensors only, whole or not at all.

A token of the environment (`HF_TOKEN`) is used by the hub's client itself; nothing of it, and no
address that could hold a signature, is said in a message.
"""

import shutil
from pathlib import Path, PurePosixPath

from workflow_scripts.fetch import FetchProblem
from workflow_scripts.files import read_json, write_json
from workflow_scripts.folders import write_folder
from workflow_scripts.problems import Problem

INDEX = "model_index.json"
SOURCE = "source.json"
SETTINGS = (".json", ".txt", ".model")
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx")
# Large, and never run: see `generators.pipelines.loading`.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


def fetch_pipeline(pipeline: str, revision: str | None, folder: str | Path) -> str:
    """Fetch a pipeline of the hub into a folder, with `source.json`: where it came from.

    Parameters
    ----------
    pipeline : str
        `owner/name`.
    revision : str or None
        A branch, a tag or a commit; None is the hub's default branch.
    folder : path
        Appears whole or not at all.

    Returns
    -------
    str
        The commit that the revision stood for.

    Raises
    ------
    FetchProblem
        If the hub cannot be reached, does not give the pipeline, or has its weights only in
        formats that run code when they are read.
    """
    from huggingface_hub import HfApi, snapshot_download

    where = f"{pipeline} at {revision or 'its default revision'}"

    def write(temporary: Path) -> None:
        def download(*names: str) -> None:
            snapshot_download(
                pipeline, revision=commit, allow_patterns=list(names), local_dir=temporary
            )

        download(INDEX)
        download(*wanted_files(files, read_json(temporary / INDEX), where))
        # The client's notes: they hold the time.
        shutil.rmtree(temporary / ".cache", ignore_errors=True)
        source = {"pipeline": pipeline, "revision": revision, "commit": commit}
        write_json(temporary / SOURCE, source)

    try:
        found = HfApi().model_info(pipeline, revision=revision)
        commit, files = found.sha, [file.rfilename for file in found.siblings]
        if INDEX not in files:
            raise FetchProblem(f"{where}: no {INDEX} there; allowed: a pipeline of diffusers")
        write_folder(folder, write)
    except Problem:
        raise
    except Exception as error:  # of the network, the hub, the client's libraries, the disk
        raise FetchProblem(
            f"{where}: could not be fetched ({type(error).__name__}). It may be misspelt, or need "
            "a token in HF_TOKEN; without a network, give a folder instead"
        ) from None  # its text may hold a signed address
    return commit


def wanted_files(files: list[str], index: dict, where: str) -> list[str]:
    """The files of a pipeline that are fetched: settings, vocabularies, full-precision weights.

    Parameters
    ----------
    files : list of str
        All that there is.
    index : dict
        The pipeline's list of its parts.
    where : str
        Of the pipeline, for messages.
    """
    wanted = [file for file in (INDEX, "classes.json") if file in files]
    for part, value in sorted(index.items()):
        if not isinstance(value, list) or part in UNUSED:
            continue
        own = [file for file in files if PurePosixPath(file).parent == PurePosixPath(part)]
        weights = [file for file in own if file.endswith(WEIGHTS)]
        # A name with a further dot is a variant, in half precision for example.
        safe = [file for file in weights if PurePosixPath(file).name.count(".") == 1]
        safe = [file for file in safe if file.endswith(".safetensors")]
        if weights and not safe:
            raise FetchProblem(
                f"{where}: {part}: found {', '.join(sorted(weights))}; allowed: safetensors in "
                "full precision"
            )
        wanted += [file for file in own if file.endswith(SETTINGS)] + safe
    return wanted
