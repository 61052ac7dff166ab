"""Write envs/constraints.txt and envs/sweepmake.yaml from the requirements and this environment."""

import re
import sys
from importlib import metadata
from pathlib import Path

ENVS = Path(__file__).parent
NOT_PINNED = {"pip", "setuptools"}


def requirements(name: str) -> list[str]:
    """Lines `package==version` of a requirements file."""
    return [line for line in (ENVS / name).read_text().splitlines() if "==" in line]


def normal(package: str) -> str:
    """Name of a package as the index compares it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def main() -> None:
    """Write both files."""
    direct = requirements("requirements.txt") + requirements("requirements-dev.txt")
    named = {normal(re.split(r"==|\[", line)[0]) for line in direct} | NOT_PINNED
    brought = sorted(
        f"{normal(found.name)}=={found.version.split('+')[0]}"
        for found in metadata.distributions()
        if normal(found.name) not in named
    )
    head = "# Versions of what the requirements bring along; `make lock` writes this file.\n"
    (ENVS / "constraints.txt").write_text(head + "\n".join(brought) + "\n")
    (ENVS / "sweepmake.yaml").write_text(conda())


def conda() -> str:
    """Conda environment of the rules: the same versions, by pip."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [f"      - {line}" for line in requirements("requirements.txt")]
    return "\n".join(
        ["# For `snakemake --sdm conda`; `make lock` writes this file from requirements.txt.",
         "channels:", "  - conda-forge", "  - nodefaults", "dependencies:",
         f"  - python ={python}", "  - pip", "  - pip:", *lines, ""]
    )  # fmt: skip


if __name__ == "__main__":
    main()
