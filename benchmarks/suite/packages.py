"""The packages that carry the pretrained models: are they here, where are their files."""

from importlib import metadata, util
from pathlib import Path

from .keep import PrepareError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def require_all() -> None:
    """Refuse to start while a package of `requirements.txt` is missing.

    Raises:
        PrepareError: naming what is missing and the command that installs it.
    """
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    missing = [line for line in wanted if not _installed(line.replace(">=", "==").split("==")[0])]
    if missing:
        raise PrepareError(
            f"Not installed here: {', '.join(missing)}. Type: pip install -r benchmarks/suite/requirements.txt"
        )


def carried(module: str, path: str) -> Path:
    """Return the file at `path` inside the importable package `module`, without importing it.

    Raises:
        PrepareError: if the package or the file is not there.
    """
    spec = util.find_spec(module)
    places = spec.submodule_search_locations if spec is not None else None
    found = Path(next(iter(places))) / path if places else None
    if found is None or not found.is_file():
        raise PrepareError(
            f"The package {module} carries no {path} here. "
            "Type: pip install --force-reinstall -r benchmarks/suite/requirements.txt"
        )
    return found


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
