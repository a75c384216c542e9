"""Entries of catalogues among other paths: 'folder#name'."""

from pathlib import Path

MARKER = "catalog.json"
"""The file by which a folder is a catalogue."""

BETWEEN = "#"
"""What stands between a catalogue and the entry that is meant: catalogue#math."""


def catalogued(path: str | Path) -> bool:
    """Tell an entry of a catalogue, 'folder#name', from other paths.

    >>> catalogued("nothing-here#math"), catalogued("math")
    (False, False)
    """
    folder, name = folder_and_name(path)
    return bool(name) and (Path(folder) / MARKER).is_file()


def folder_and_name(path: str | Path) -> tuple[str, str]:
    """Take apart 'folder#name'; no name is an empty text.

    >>> folder_and_name("vectors/known#math"), folder_and_name("math")
    (('vectors/known', 'math'), ('math', ''))
    """
    folder, _, name = str(path).rpartition(BETWEEN)
    return (folder, name) if folder else (str(path), "")
