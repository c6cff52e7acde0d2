"""Fetches a Flink job server for the tests: ``python tests/flink/fetch.py FOLDER``, which `make flink` calls.

Maven resolves the jars that ``pom.xml`` names; each must have the digest that ``jars.sha256`` pins. ``job-server.jar``
only points at them: it is what Beam's ``--flink_job_server_jar`` takes.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
PINS = HERE / "jars.sha256"
JOB_SERVER = "job-server.jar"
MAIN_CLASS = "org.apache.beam.runners.flink.FlinkJobServerDriver"
# Flink reaches into these packages of Java 17.
OPENS = "java.lang java.lang.reflect java.net java.nio java.time java.util java.util.concurrent sun.nio.ch"


def main(folder: Path) -> None:
    """Fetches and checks the jars and writes the job server's own; leaves a folder that is complete or absent."""
    if (folder / JOB_SERVER).exists():
        return
    if not shutil.which("mvn"):
        sys.exit("make flink needs Maven (mvn) and Java")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".flink-") as temporary:
        jars = Path(temporary) / "jars"
        command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
        command += [f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
        if subprocess.run(command).returncode:
            sys.exit("Maven could not fetch the jars of tests/flink/pom.xml; see above")
        check(jars)
        write_job_server(Path(temporary) / JOB_SERVER, sorted(jars.iterdir()))
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(temporary, folder)
    print(f"wrote {folder / JOB_SERVER}")


def check(jars: Path) -> None:
    """Compares the jars with their pins and exits with what differs."""
    pinned = {name: digest for digest, name in (line.split() for line in PINS.read_text().splitlines())}
    fetched = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    if differing := sorted(name for name in pinned.keys() | fetched.keys() if pinned.get(name) != fetched.get(name)):
        sys.exit(f"these jars are not those that {PINS.name} pins: {', '.join(differing)}")


def write_job_server(path: Path, jars: list[Path]) -> None:
    """A jar of a manifest alone, with the others, relative to it, as its class path."""
    attributes = {
        "Manifest-Version": "1.0",
        "Main-Class": MAIN_CLASS,
        "Add-Opens": " ".join(f"java.base/{package}" for package in OPENS.split()),
        "Class-Path": " ".join(f"jars/{jar.name}" for jar in jars),
    }
    with zipfile.ZipFile(path, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "".join(map(_folded, attributes.items())))


def _folded(attribute: tuple[str, str]) -> str:
    """A line of a manifest: at most 72 bytes, continued after a space."""
    text = ": ".join(attribute)
    return "\r\n ".join([text[:70], *(text[i : i + 69] for i in range(70, len(text), 69))]) + "\r\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
