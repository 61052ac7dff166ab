"""Where sweepmake is and where its results go, also as a module of another workflow; no rules."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path


def home_of(rules):
    """Folder of the Snakefile, from the place of this file as Snakemake knows it.

    With `github()` and its like Snakemake reads a clone of the repository file by file; the
    programs need the files of that commit in a folder, which is made once beside the clone.
    """
    if rules.is_local and not hasattr(rules, "repo_path"):
        return str(Path(rules).parent)
    hosted = getattr(rules, "hosted_repo", None)
    clone = Path(hosted.repo_clone if hosted else rules.repo_path)
    git = ["git", "-C", str(clone)]
    commit = subprocess.check_output([*git, "rev-parse", f"{rules.ref}^{{commit}}"], text=True)
    folder = Path(workflow.sourcecache.cache_path, "sweepmake", commit.strip())
    if not folder.exists():
        made = folder.with_name(f"{folder.name}.{os.getpid()}")
        made.mkdir(parents=True)
        archive = subprocess.run([*git, "archive", commit.strip()], capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", str(made)], input=archive.stdout, check=True)
        try:
            made.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(made)
    return str(folder)


HOME = home_of(workflow.current_basedir)
if HOME not in sys.path:
    sys.path.insert(0, HOME)

IS_MODULE = not workflow.modifier.is_main_snakefile()
# The folder of results as the outer workflow names it: with the `prefix` of the module.
RESULTS = workflow.modifier.path_modifier.replace_prefix("results/").rstrip("/")


def results_folder(wildcards):
    """The folder of results, for programs that read or write many files of it."""
    return RESULTS


def python_with_programs():
    """Words of a command: the Python that finds sweepmake's programs from any working directory.

    It is the one that runs Snakemake, or the environment's with `--sdm conda`.
    """
    variables = {"PYTHONPATH": f"{shlex.quote(HOME)}${{PYTHONPATH:+:$PYTHONPATH}}"}
    variables["PYTHONSAFEPATH"] = "1"  # a folder `scripts` in the working directory hides nothing
    if not workflow.deployment_settings.deployment_method:
        variables["PATH"] = f"{shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    return " ".join(["env", *(f"{name}={value}" for name, value in variables.items()), "python"])


# Every program is called as `sweepmake_python -m scripts.NAME`. An exported function of bash, unlike
# `shell.prefix`, leaves the commands of a workflow alone that has sweepmake as a module.
function = f'() {{ {python_with_programs()} "$@"; }}'
os.environ.update({"BASH_FUNC_sweepmake_python%%": function})
