"""A section of a page that `taskvec inspect --report` wrote, as the picture that the README shows.

    taskvec inspect BASE MODELS --report relations.html
    python scripts/make_picture.py relations.html docs/pictures/inspect.png --section relations --height 480

Needs chromium. The picture is the top of the section, 1,100 pixels wide.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

ALONE = (
    "<style>main>*:not(#{0}),header,nav,footer{{display:none!important}}"
    "main{{padding-top:0!important}}#{0}{{border:0!important;margin-top:0!important}}</style></head>"
)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--section", default="relations", help="its id")
    parser.add_argument("--height", type=int, default=480)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "alone.html"
        alone.write_text(args.page.read_text("utf-8").replace("</head>", ALONE.format(args.section), 1), "utf-8")
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        size = [f"--window-size=1100,{args.height}", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        command = ["chromium", *quiet, *size, f"--screenshot={args.picture.absolute()}", alone.as_uri()]
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
