"""Draw docs/label-page.png: the label page in front of a real episode.

    python -m tests.integration.draw_label_page runs/…/episodes EPISODE STEP [docs/label-page.png]

The store is copied first; it gets no labels from here.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image as PillowImage
from selenium.webdriver.common.keys import Keys

from robot.episodes.store import EpisodeStore
from tests.integration.browser import chromium
from tests.unit.robot.episodes.labelling.serving import serving


def draw(folder: Path, name: str, step: int, path: Path) -> None:
    """Write the page as a PNG of 256 colours, at `step` of the episode, with some labels given."""
    with tempfile.TemporaryDirectory() as made, chromium(Path(made) / "profile") as browser:
        store = EpisodeStore(Path(made) / "episodes")
        shutil.copytree(folder, store.folder, ignore=shutil.ignore_patterns(".*"))
        browser.theme("dark")
        with serving(store) as served:
            browser.open(served.address)
            shown = "document.querySelector('#about b').textContent"
            for _ in store.ids():
                if browser.run(f"return {shown}") == name:
                    break
                before = browser.run(f"return {shown}")
                browser.press(Keys.ARROW_DOWN)
                browser.wait_for(f"return {shown} !== '{before}'")
            first = max(0, step - 9)
            browser.press(Keys.HOME, *[Keys.ARROW_RIGHT] * first, "[", *[Keys.ARROW_RIGHT] * (step - first), "]")
            browser.press("approach", Keys.ENTER, "3")
            browser.run(f"document.getElementById('store').textContent = '{folder.name} · ada'")
            browser.wait_for("return document.querySelector('[data-quality=\"3\"]').ariaPressed === 'true'")
            browser.driver.save_screenshot(str(path))
    quantised(PillowImage.open(path).convert("RGB")).save(path, optimize=True)


def quantised(picture: PillowImage.Image) -> PillowImage.Image:
    """Return a picture in 256 colours; the panel counts thrice, or the photographs would take all colours for them."""
    panel = picture.crop((950, 0, picture.width, picture.height)).resize((990, 800), PillowImage.Resampling.NEAREST)
    both = PillowImage.new("RGB", (picture.width, 1600))
    both.paste(picture)
    both.paste(panel, (0, 800))
    return picture.quantize(palette=both.quantize(256, kmeans=4), dither=PillowImage.Dither.FLOYDSTEINBERG)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path((sys.argv[4:] or ["docs/label-page.png"])[0]))
