"""Pictures of pages for the docs: `python -m benchmarks.house.pictures runs/demo/report.html --out photos.webp`.

Needs Chromium (Debian: `apt-get install chromium`) and Pillow. The page is drawn at a width, cut to a height and saved
under 150 kB.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

MOST = 150_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, required=True, help=".webp or .png")
    parser.add_argument("--width", type=int, default=1280, help="a phone is 390 [1280]")
    parser.add_argument("--from", dest="top", type=int, default=0, help="first row of pixels [0]")
    parser.add_argument("--height", type=int, default=900, help="rows of pixels [900]")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder:
        shot, wrapper = Path(folder) / "shot.png", Path(folder) / "page.html"
        tall = options.top + options.height
        frame = f'style="border:0;width:{options.width}px;height:{tall}px"'  # a headless window cannot be 390 px narrow
        wrapper.write_text(
            f"<!DOCTYPE html><style>body{{margin:0}}</style><iframe src='{options.page.resolve().as_uri()}' {frame}>"
        )
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            "--hide-scrollbars",
        ]
        size = f"--window-size={max(500, options.width)},{tall}"
        subprocess.run(
            [chromium, *flags, size, f"--screenshot={shot}", wrapper.as_uri()], check=True, capture_output=True
        )
        with Image.open(shot) as whole:
            picture = whole.convert("RGB").crop((0, options.top, options.width, tall))
    save(picture, options.out)


def save(picture: Image.Image, out: Path) -> None:
    """As good as fits."""
    out.parent.mkdir(parents=True, exist_ok=True)
    for quality in (90, 80, 65, 50):
        picture.save(out, quality=quality)
        if out.stat().st_size <= MOST:
            break
    print(f"{out}: {picture.width} x {picture.height}, {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
