"""Builds the component: `python build.py` writes NAME.wasm, with the name and version of pyproject.toml in it."""

import pathlib
import shutil
import subprocess
import sys
import tomllib

here = pathlib.Path(__file__).parent
build = here / "build"
project = tomllib.loads((here / "pyproject.toml").read_text())["project"]
name, version = project["name"], project["version"]


def section(title: str, text: str) -> bytes:
    """A custom section: https://webassembly.github.io/spec/core/binary/modules.html#custom-section"""
    body = bytes([len(title)]) + title.encode() + text.encode()
    assert len(body) < 128, f"{text} is too long"
    return bytes([0, len(body)]) + body


shutil.rmtree(build, ignore_errors=True)
build.mkdir()
for source in ("check.py", "sdk.py", "ending.py"):
    shutil.copy(here / source, build)
(build / "package.py").write_text(
    f"NAME = {name!r}\nVERSION = {version!r}\nRUNBOOK = {(here / 'RUNBOOK.md').read_text()!r}\n"
)
tool = pathlib.Path(sys.executable).with_name("componentize-py")
out = build / "check.wasm"
command = [tool, "--quiet", "--wit-path", here / "wit", "--world", "check", "componentize", "check"]
if subprocess.run([*command, "--python-path", build, "--output", out]).returncode != 0:
    sys.exit(f"{name} is not built: componentize-py says why, above")
component = out.read_bytes() + section("pipeline:check/name", name) + section("version", version)
(here / f"{name}.wasm").write_bytes(component)
print(f"{name}.wasm")
