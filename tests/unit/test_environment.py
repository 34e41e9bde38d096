"""Pins are complete, conda and pip get the same ones, and `install.sh` builds all or nothing."""

import hashlib
import http.server
import importlib.metadata
import shutil
import subprocess
import sys
import threading
import tomllib
from functools import partial
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from workflow_scripts.environment import conda_environment, pins_of

ROOT = Path(__file__).resolve().parents[2]
DIRECT = [
    "snakemake",
    "torch",
    "torchvision",
    "diffusers",
    "clean-fid",
    "open_clip_torch",
    "faiss-cpu",
    "scikit-learn",
    "pyyaml",
    "safetensors",
    "dp-accounting",
    "opacus",
    "pydantic",
]


def locked() -> list[Requirement]:
    """Read the lock in the plainest way: whatever is left of a ``#`` is a requirement."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def versions(**machine: str) -> dict[str, set[Version]]:
    """Return which versions of each package the lock asks for on a machine."""
    found: dict[str, set[Version]] = {}
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate(machine):
            (specifier,) = pin.specifier
            found.setdefault(canonicalize_name(pin.name), set()).add(Version(specifier.version))
    return found


# The lock


def test_every_line_of_the_lock_is_an_exact_pin():
    for pin in locked():
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert "*" not in str(pin.specifier) and pin.url is None, pin


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_machine_gets_one_version_of_each_direct_dependency(python, machine):
    found = versions(
        python_version=python,
        python_full_version=f"{python}.1",
        platform_machine=machine,
        sys_platform="linux",
    )
    assert [name for name, choices in found.items() if len(choices) > 1] == []
    assert [name for name in DIRECT if canonicalize_name(name) not in found] == []


def test_lock_satisfies_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = versions()
    for text in project["project"]["dependencies"] + project["dependency-groups"]["dev"]:
        asked = Requirement(text)
        (version,) = found[canonicalize_name(asked.name)]
        assert asked.specifier.contains(version, prereleases=True), f"{text}: locked {version}"


def test_torch_and_torchvision_are_of_one_release():
    found = versions()
    (torch,), (torchvision,) = found["torch"], found["torchvision"]
    assert torch != Version("2.13.0")  # a CPU-only build without its torchvision may turn up
    # torchvision 0.n belongs to torch 2.(n - 15): 0.20 came with 2.5, 0.22 with 2.7.
    assert (torch.major, torch.minor, torch.micro) == (
        2,
        torchvision.minor - 15,
        torchvision.micro,
    )


def test_installed_packages_are_the_locked_ones():
    installed = {name: importlib.metadata.version(name) for name in versions()}
    # A build may add a local label to its version, as torch 2.14.1+cu130 does.
    assert {name: {Version(text.partition("+")[0])} for name, text in installed.items()} == (
        versions()
    )


# environment.yml


def test_conda_environment_holds_the_pins_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    assert environment["channels"][0] == "conda-forge"
    assert [package.partition("=")[0] for package in packages] == ["python", "pip"]
    assert list(pip) == ["pip"]  # the table {"pip": [...]}, not the package
    assert [Requirement(pin) for pin in pip["pip"]] == locked()


def test_conda_environment_keeps_markers_and_drops_comments():
    lock = "a==1 ; sys_platform == 'linux' or os_name != 'nt'\n    # via\n    #   b\nb==2.0rc1\n"
    environment = yaml.safe_load(conda_environment("some-name", pins_of(lock)))
    pins = ["a==1 ; sys_platform == 'linux' or os_name != 'nt'", "b==2.0rc1"]
    assert environment["name"] == "some-name"
    assert environment["dependencies"][-1] == {"pip": pins}


# install.sh, in a folder of its own, with stand-ins for Python and uv

TOOLS = [
    "sh",
    "cat",
    "cmp",
    "cp",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "mv",
    "rm",
    "touch",
]
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)
UV = """
case $1 in
venv) # --quiet --seed --python PYTHON .venv
    "$5" -m venv --without-pip .venv ;;
pip)
    case $* in *requirements.lock) ;; *) exit ;; esac
    echo installed >>log
    touch .venv/half
    [ ! -e crash ] || kill -9 $PPID
    cp packaging.py .venv/lib/python*/site-packages/
    rm .venv/half ;;
esac
"""


class Machine:
    """A folder with `install.sh` and a PATH that holds a few tools and what a test adds."""

    def __init__(self, folder: Path):
        self.folder = folder / "clone"
        self.bin = folder / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        for tool in TOOLS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        shutil.copy(ROOT / "install.sh", self.folder)
        (self.folder / "requirements.lock").write_text("immutables==0.21\npackaging==25.0\n")
        (self.folder / "packaging.py").touch()
        self.environment = {"PATH": str(self.bin), "HOME": str(folder)}

    def add(self, name: str, script: str) -> None:
        """Put a shell script on PATH."""
        (self.bin / name).write_text("#!/bin/sh\n" + script)
        (self.bin / name).chmod(0o755)

    def install(self, **environment: str) -> subprocess.CompletedProcess:
        """Run `install.sh`."""
        return subprocess.run(
            [self.bin / "sh", self.folder / "install.sh"],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def finished(self) -> bool:
        return (self.folder / ".venv/installed").exists()

    @property
    def installations(self) -> int:
        log = self.folder / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def machine_with_uv(machine):
    machine.add("python3", f'exec "{BASE_PYTHON}" "$@"')
    machine.add("uv", UV)
    return machine


def one_message(result: subprocess.CompletedProcess) -> str:
    """Check that a run failed with one line and no traceback; return the line."""
    assert result.returncode == 1
    assert result.stdout == "" and result.stderr.count("\n") == 1, result
    return result.stderr.strip()


def test_an_old_python_is_named(machine):
    machine.add("python3", "echo 3.9")
    machine.add("python3.12", "exit 127")  # a shim with no Python behind it
    message = one_message(machine.install())
    assert "python3 is 3.9" in message and "3.11" in message
    assert "python3.12 is" not in message


def test_no_python_at_all(machine):
    assert "found: none" in one_message(machine.install())


def test_the_chosen_python_is_the_only_one_tried(machine):
    machine.add("python3", "echo 3.12")
    machine.add("old", "echo 3.10")
    assert "old is 3.10" in one_message(machine.install(PYTHON="old"))


def test_second_run_installs_nothing(machine_with_uv):
    for _ in range(2):
        result = machine_with_uv.install()
        assert result.returncode == 0, result.stderr
    assert result.stderr == "" and machine_with_uv.installations == 1


def test_killed_installation_is_done_again(machine_with_uv):
    (machine_with_uv.folder / "crash").touch()
    assert machine_with_uv.install().returncode == -9
    assert not machine_with_uv.finished
    (machine_with_uv.folder / "crash").unlink()
    (machine_with_uv.folder / ".venv/debris").touch()
    assert machine_with_uv.install().returncode == 0
    assert machine_with_uv.finished and machine_with_uv.installations == 2
    assert not (machine_with_uv.folder / ".venv/debris").exists()


@pytest.mark.parametrize(
    "change", ["other pin", "moved folder", "python gone", "python of another version"]
)
def test_outdated_environment_is_built_again(machine_with_uv, change):
    machine_with_uv.install()
    folder = machine_with_uv.folder
    match change:
        case "other pin":
            (folder / "requirements.lock").write_text("immutables==0.21\npackaging==25.1\n")
        case "moved folder":
            machine_with_uv.folder = folder.rename(folder.with_name("elsewhere"))
        case "python gone":
            (folder / ".venv/bin/python").unlink()
        case "python of another version":  # it looks for the packages in another folder
            (packages,) = (folder / ".venv/lib").glob("python*")
            packages.rename(packages.with_name("python3.0"))
    assert machine_with_uv.install().returncode == 0
    assert machine_with_uv.installations == 2 and machine_with_uv.finished


def test_environment_can_be_rebuilt_from_within(machine_with_uv):
    machine_with_uv.install()
    (machine_with_uv.folder / "requirements.lock").write_text("immutables==0.21\nothers==1\n")
    (machine_with_uv.bin / "python3").unlink()  # .venv's own is the only one left on PATH
    path = f"{machine_with_uv.folder}/.venv/bin:{machine_with_uv.bin}"
    result = machine_with_uv.install(PATH=path)
    assert result.returncode == 0, result.stderr
    assert machine_with_uv.installations == 2 and machine_with_uv.finished


@pytest.fixture
def machine_without_ensurepip(machine):
    """Debian's python3 without python3-venv."""
    script = f'case $* in *"import ensurepip"*) exit 1 ;; esac\nexec "{BASE_PYTHON}" "$@"'
    machine.add("python3", script)
    return machine


def test_without_ensurepip_and_network_says_what_to_install(machine_without_ensurepip):
    result = machine_without_ensurepip.install(PIP_INDEX_URL="http://127.0.0.1:9/simple")
    message = one_message(result)
    assert "Connection refused" in message and message.endswith("sudo apt install python3-venv")
    assert not machine_without_ensurepip.finished


@pytest.fixture
def index(tmp_path):
    """Serve a folder as a package index; yields its address and the folder."""
    folder = tmp_path / "index"
    (folder / "simple/pip").mkdir(parents=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple", folder
    server.shutdown()
    server.server_close()


def publish(folder: Path, content: bytes) -> None:
    """Put a wheel under the pinned name into the index."""
    script = (ROOT / "install.sh").read_text()
    (name,) = [line.split("=")[1] for line in script.splitlines() if line.startswith("pip_wheel=")]
    (folder / name).write_bytes(content)
    page = f'<a href="../../other.whl">other</a>\n<a href="../../{name}#sha256=0">{name}</a>\n'
    (folder / "simple/pip/index.html").write_text(page)


def test_a_wheel_with_other_bytes_is_refused(machine_without_ensurepip, index):
    address, folder = index
    publish(folder, b"not pip")
    message = one_message(machine_without_ensurepip.install(PIP_INDEX_URL=address))
    assert "SHA-256 differs" in message
    assert list((machine_without_ensurepip.folder / ".venv").glob("*.whl")) == []


@pytest.mark.parametrize("where", ["variable", "pip.conf"])
def test_pip_is_fetched_from_the_users_index(machine_without_ensurepip, index, where):
    address, folder = index
    clone = machine_without_ensurepip.folder
    # A stand-in for pip's wheel: Python runs the folder `pip` inside, which notes its arguments.
    wheel = clone.parent / "stand-in.whl"
    import_path = clone.parent / "stand-in/pip"
    import_path.mkdir(parents=True)
    (import_path / "__main__.py").write_text("import sys; print('pip', *sys.argv[1:])")
    archive = shutil.make_archive(str(wheel), "zip", import_path.parent)
    content = Path(archive).read_bytes()
    publish(folder, content)
    script = (clone / "install.sh").read_text().splitlines()
    digest = hashlib.sha256(content).hexdigest()
    script = [f"pip_sha256={digest}" if s.startswith("pip_sha256=") else s for s in script]
    (clone / "install.sh").write_text("\n".join(script) + "\n")

    environment = {"PIP_INDEX_URL": address}
    if where == "pip.conf":
        environment = {"PIP_CONFIG_FILE": str(clone / "pip.conf")}
        (clone / "pip.conf").write_text(f"[global]\nindex-url = {address}\n")
    result = machine_without_ensurepip.install(**environment)
    assert "pip install --quiet --no-index .venv/pip-" in result.stdout
    assert not machine_without_ensurepip.finished  # the stand-in installed nothing
