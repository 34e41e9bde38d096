"""What is audited: the code as it stands, so that another version is audited anew."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def audit_settings() -> dict:
    """Of the steps that audit: noise as users get it, and the code that is audited."""
    return {"noise_source": "os", "code": code_digest()}


def code_digest(package: Path = PACKAGE) -> str:
    """SHA-256, in hex, over the names and contents of all Python files of the package."""
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(package)} {content}\n".encode())
    return whole.hexdigest()
