"""What both commands of this folder begin with: the binary, the packages, the clock on each line."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from harness import expect

HERE = Path(__file__).resolve().parent
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", file=sys.stderr, flush=True)


def binary_option(parser: argparse.ArgumentParser, what: str) -> None:
    """`--binary`, by default the release build of this repository; none but a program is taken."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent.parent / "target")
    binary = target / "release" / "portcullis"
    parser.add_argument("--binary", type=program, default=str(binary), help=f"{what} (default: %(default)s)")


def program(text: str) -> Path:
    path = Path(text)
    if not os.access(path, os.X_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no program; cargo build --release, or --binary PATH")
    return path.resolve()


def install(packages: dict[str, str]) -> None:
    """The programs that are missing, from Debian; no service is started."""
    missing = [package for program, package in packages.items() if not shutil.which(program)]
    if not missing:
        return
    say(f"installing {' '.join(missing)}")
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    quiet = ["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive"]
    apt = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    for command in [["apt-get", "update", "-qq"], [*quiet, *apt, *missing]]:
        done = subprocess.run([*as_root, *command], stdout=sys.stderr, timeout=600, check=False)
        expect(done.returncode == 0, f"cannot install {' '.join(missing)}: `{' '.join(command)}` ended with {done.returncode}")
