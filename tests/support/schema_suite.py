"""The JSON-Schema-Test-Suite, as the source archive of the package jsonschema carries it."""
import json
import pathlib
import subprocess
import sys
import tarfile

PACKAGE = "jsonschema==4.26.0"
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build" / "test-data"


def _archive():
    found = list(FOLDER.glob("jsonschema-*.tar.gz"))
    if not found:
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--no-binary", "jsonschema", "--dest", str(FOLDER), PACKAGE], check=True, timeout=300)
        found = list(FOLDER.glob("jsonschema-*.tar.gz"))
    return found[0]


def cases(draft="draft2020-12"):
    """[{"description", "schema", "tests": [{"description", "data", "valid"}]}] of all files of a draft."""
    result = []
    with tarfile.open(_archive()) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            path = pathlib.PurePosixPath(member.name)
            if path.parent.name == draft and path.parent.parent.name == "tests" and path.suffix == ".json":
                result += json.load(archive.extractfile(member))
    return result
