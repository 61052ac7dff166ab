"""Checkpoints and tokenizers in folders of this machine: the files that they consist of."""

from pathlib import Path

# Ends of the names of files with weights.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")


def files_in(name: str | None) -> list[str]:
    """Return the files in a folder, sorted; none for the name of a model on the hub.

    A file that begins with a dot is no part of a checkpoint.
    """
    if not name or not Path(name).is_dir():
        return []
    files = (path for path in Path(name).iterdir() if path.is_file())
    return sorted(str(path) for path in files if not path.name.startswith("."))
