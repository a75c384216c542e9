"""`python -m demo`: parse, check that everything is here, run."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from .errors import DemoError
from .packages import require_all
from .settings import Settings

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the demo; 0 if all went well, 2 with one sentence if something is missing."""
    arguments = parser().parse_args()
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    document = ROOT / "docs" / "demo.md" if arguments.write_docs else None
    try:
        require_all()
        from .run import run  # needs transformers, which may be what is missing

        run(nearby(arguments.cache), document, console, Settings())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"demo: a file cannot be read or written: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; what was finished is kept, and the next run goes on from there.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """Return what the command line understands."""
    asked = argparse.ArgumentParser(prog="python -m demo", description="Fine-tune, merge and score real models.")
    asked.add_argument("--cache", type=Path, default=ROOT / ".cache" / "demo", help="where everything is kept")
    asked.add_argument("--write-docs", action="store_true", help="write the result to docs/demo.md as well")
    return asked


def nearby(path: Path) -> Path:
    """Return `path` as seen from here where that is shorter, so that printed commands can be read."""
    whole = path.resolve()
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


if __name__ == "__main__":
    sys.exit(main())
