"""Take the pictures of the pages that the documents show, with real photos and the bundled models.

    make demo                                     # fetches the photos
    python dataset_scripts/weak_crops.py demo_data/weak_crops
    python tests/spaces/take_screenshots.py       # writes docs/images/space_*.jpg

Look at them before you commit them.
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page
from space_server import ROOT, open_browser, serve_pages

from dense_hf.data import VideoWriter, open_image, read_labels_csv

DATA = ROOT / "demo_data"
WIDTH, HEIGHT = 1280, 960
MAX_BYTES = 150_000


def upload_and_run(page: Page, files: list[Path], ready: str) -> None:
    page.set_input_files("#upload input[type=file]", [str(file) for file in files])
    page.wait_for_selector("#upload img, #upload video")
    page.wait_for_timeout(1000)  # for the eye: thumbnails appear one by one
    page.click("#run")
    page.wait_for_selector(ready, timeout=300_000)
    page.wait_for_timeout(2000)


def show_count(page: Page, folder: Path) -> None:
    upload_and_run(page, [DATA / "trees" / "other_forests" / "images" / "OSBS_029.png"], "#points img")


def show_video(page: Page, folder: Path) -> None:
    frames = sorted((DATA / "street" / "street" / "data" / "frames_600_794" / "origin").iterdir())[40:100]
    video = folder / "street.mp4"
    with VideoWriter(video, Fraction(10), open_image(frames[0]).size) as writer:
        for frame in frames:
            writer.write(np.asarray(open_image(frame)))
    upload_and_run(page, [video], "#timeline img")
    page.fill("#frame input[type=number]", "30")
    page.press("#frame input[type=number]", "Enter")
    page.wait_for_timeout(2000)


def show_weak_labels(page: Page, folder: Path) -> None:
    crops = read_labels_csv(DATA / "weak_crops" / "test" / "labels.csv", DATA / "weak_crops" / "test" / "images")
    people = [image.path for image in crops.images if image.labels == (crops.class_names.index("person"),)]
    upload_and_run(page, people[:: len(people) // 6][:6], "#results img")


def main() -> int:
    """Write the pictures; returns the exit status."""
    shows = {"count": show_count, "video": show_video, "weak_labels": show_weak_labels}
    with tempfile.TemporaryDirectory() as name, open_browser() as browser, serve_pages(Path(name)) as addresses:
        for space, show in shows.items():
            if space not in addresses:
                print(f"{space} is left out: {(Path(name) / 'errors.txt').read_text()[-500:]}", file=sys.stderr)
                continue
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(addresses[space])
            show(page, Path(name))
            page.screenshot(path=Path(name) / "page.png")
            page.close()
            target = ROOT / "docs" / "images" / f"space_{space}.jpg"
            Image.open(Path(name) / "page.png").convert("RGB").save(target, quality=82, optimize=True)
            print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes, at most {MAX_BYTES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
