"""Names of files that are made of settings."""

import re


def file_name(text: str) -> str:
    """Write a text as a part of a file's name: neither a path, nor an option, nor hidden."""
    return re.sub(r"[^\w.-]", "_", text, flags=re.ASCII).lstrip("-.")
