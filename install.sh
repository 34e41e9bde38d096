#!/bin/sh
# Build .venv from the pins of requirements.lock. `make` runs this before every target that needs
# the environment; when .venv is up to date it compares the stamp and returns at once.
#
# Nothing is needed but a Python that the pins have wheels for (3.11 to 3.14). uv installs if it
# is on PATH; otherwise pip does, from Python's ensurepip or, where Debian has split that off into
# python3-venv, from a wheel of pip whose SHA-256 is written below.
#
# .venv is built from nothing or not touched: pip and uv take a package that a killed run left
# half copied for an installed one. The stamp is written last, so a folder without it is rebuilt.
#
# PYTHON=/path/to/python chooses the interpreter, if the one found on PATH is not wanted.
set -eu
cd "$(dirname "$0")"
unset PYTHONPATH PYTHONHOME # another project's packages must not pass for ours

pip_wheel=pip-26.2.1-py3-none-any.whl
pip_sha256=71138adf1f4ca900cdb7d289c21b7494329f2332b6d85f0e1c42108c0384ed3e

say() { printf 'install.sh: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# The stamp holds the folder too, because the scripts of a virtual environment do not survive a
# move. The import fails when a system upgrade has replaced the Python that .venv was built on.
contents() { pwd -P; cat requirements.lock; }
ready() {
    contents | cmp -s - .venv/installed 2>/dev/null &&
        .venv/bin/python -I -c 'import packaging' 2>/dev/null
}

# Sets `python` and `version` to the first usable one of the given commands.
choose_python() {
    found=
    for python; do
        version=$("$python" -E -s -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
            continue
        case $version in 3.1[1-4]) return ;; esac
        found="$found${found:+, }$python is $version"
    done
    fail "Python 3.11, 3.12, 3.13 or 3.14 is needed; found: ${found:-none} (looked for: $*)." \
        "Install one, or name one: make demo PYTHON=/path/to/python3.12"
}

# Puts the pinned wheel of pip into .venv, with nothing but Python's standard library; the reason
# for a failure goes to standard output. The index and its certificate are those that pip would use.
fetch_pip() {
    "$python" -I - "$pip_wheel" "$pip_sha256" <<'EOF'
import configparser
import hashlib
import html
import os
import re
import ssl
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import urlopen

name, sha256 = sys.argv[1:]
home = Path.home()
files = ["/etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
config = configparser.RawConfigParser()


def setting(key, default):
    value = config.get("global", key, fallback=default)
    return os.environ.get("PIP_" + key.replace("-", "_").upper()) or value


try:
    config.read([*files, os.environ.get("PIP_CONFIG_FILE", os.devnull)])
    index = setting("index-url", "https://pypi.org/simple").rstrip("/") + "/pip/"
    if "@" in urlsplit(index).netloc:
        raise ValueError("an index with a user name is not supported here")
    certificates = ssl.create_default_context(cafile=setting("cert", None))
    with urlopen(index, timeout=60, context=certificates) as page:
        links = re.findall(r'href="([^"]+)"', page.read().decode())
        links = [urldefrag(urljoin(page.url, html.unescape(link))).url for link in links]
    links = [link for link in links if PurePosixPath(urlsplit(link).path).name == name]
    if not links:
        raise LookupError(f"the index does not list {name}")
    with urlopen(links[0], timeout=60, context=certificates) as file:
        wheel = file.read()
    if hashlib.sha256(wheel).hexdigest() != sha256:
        raise ValueError(f"{name} is not the file it should be (its SHA-256 differs)")
    Path(".venv", name).write_bytes(wheel)
except Exception as error:
    print(getattr(error, "reason", error))
    sys.exit(1)
EOF
}

build() {
    if [ -n "${PYTHON:-}" ]; then
        choose_python "$PYTHON"
    else
        choose_python python3 python3.14 python3.13 python3.12 python3.11
    fi
    case $python in python3.*) package=$python-venv ;; *) package=python3-venv ;; esac
    # An activated .venv comes first on PATH, and it is about to go: use the Python below it.
    python=$("$python" -I -c 'import sys
print(sys.argv[1] if sys.prefix == sys.base_prefix else sys._base_executable)' "$python")
    "$python" -I -c 'import venv' 2>/dev/null ||
        fail "this Python has no venv module. Run: sudo apt install $package"

    rm -rf .venv
    if command -v uv >/dev/null; then
        uv venv --quiet --seed --python "$python" .venv
        installer=uv
        install='uv pip install --python .venv/bin/python'
        export UV_COMPILE_BYTECODE=1
    else
        installer=pip
        install='.venv/bin/python -m pip install'
        export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
        if "$python" -I -c 'import ensurepip' 2>/dev/null; then
            "$python" -m venv .venv
        else
            "$python" -m venv --without-pip .venv
            reason=$(fetch_pip) ||
                fail "this Python has no ensurepip, and pip could not be fetched ($reason)." \
                    "Run: sudo apt install $package"
            .venv/bin/python ".venv/$pip_wheel/pip" install --quiet --no-index ".venv/$pip_wheel"
            rm ".venv/$pip_wheel"
        fi
        # The wheels are gigabytes, and /tmp may be a small file system in memory.
        mkdir .venv/tmp
        export TMPDIR="$PWD/.venv/tmp"
    fi

    say "building .venv with Python $version and $installer (6 GB, some minutes)"
    # immutables has no wheel for Python 3.14, and a fresh machine has no C compiler. Its C part
    # only makes it faster, so build it without: the compiler is `true`. The result is no use to
    # others, hence no cache. Where there is a wheel, this just installs it.
    if pin=$(grep '^immutables==' requirements.lock); then
        CC=true $install --quiet --no-deps --no-cache-dir "$pin"
    fi
    $install --no-deps -r requirements.lock
    rm -rf .venv/tmp
    contents >.venv/installed.new
    mv .venv/installed.new .venv/installed
}

ready && exit
# One installation at a time in this folder. The installer inherits the lock, so that this also
# waits for one whose parent was killed.
exec 9<>requirements.lock
if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another installation in this folder"
    flock 9 || :
fi
ready || build
