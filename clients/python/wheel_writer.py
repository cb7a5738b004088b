"""Builds the wheel of leash.py and leash_pool.py: a build backend (PEP 517, PEP 660) that needs nothing.

A machine without network often has a Python without setuptools. Each module becomes a
package, because only a package can say that it is typed (PEP 561).
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict, Optional

HERE = Path(__file__).resolve().parent
SOURCES = ["pyproject.toml", "leash.py", "leash_pool.py", "py.typed", "wheel_writer.py"]


def project() -> Dict[str, str]:
    """The plain strings of pyproject.toml. Python has a parser for it only from 3.11 on."""
    text = (HERE / "pyproject.toml").read_text(encoding="utf-8")
    return dict(re.findall(r'^([a-z-]+) = "([^"]*)"$', text, re.MULTILINE))


def metadata() -> str:
    """The core metadata."""
    known = project()
    return (
        f"Metadata-Version: 2.1\nName: {known['name']}\nVersion: {known['version']}\n"
        f"Summary: {known['description']}\nLicense: Apache-2.0\nRequires-Python: {known['requires-python']}\n"
    )


def build_wheel(
    wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None, metadata_directory: Optional[str] = None
) -> str:
    """Write the wheel and return its name."""
    del config_settings, metadata_directory
    modules = {}
    for name in ("leash", "leash_pool"):
        modules[f"{name}/__init__.py"] = (HERE / f"{name}.py").read_bytes()
        modules[f"{name}/py.typed"] = b""
    return write_wheel(wheel_directory, modules)


def build_editable(
    wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None, metadata_directory: Optional[str] = None
) -> str:
    """Write a wheel that only points here."""
    del config_settings, metadata_directory
    return write_wheel(wheel_directory, {"leash.pth": f"{HERE}\n".encode()})


def write_wheel(directory: str, files: Dict[str, bytes]) -> str:
    """Add what describes the files, and zip it all."""
    name, version = project()["name"], project()["version"]
    info = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{info}/METADATA"] = metadata().encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: leash\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{path},sha256={digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(Path(directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path)  # of a fixed date: the same source, the same wheel
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return wheel


def digest(data: bytes) -> str:
    """A hash as RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    """Write the source archive and return its name."""
    del config_settings
    top = f"{project()['name']}-{project()['version']}"
    with tarfile.open(Path(sdist_directory) / f"{top}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in SOURCES:
            archive.add(HERE / path, f"{top}/{path}")
        text = metadata().encode()
        entry = tarfile.TarInfo(f"{top}/PKG-INFO")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return f"{top}.tar.gz"
