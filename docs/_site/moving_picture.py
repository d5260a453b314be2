"""The README's moving picture: a test scan of a run, moved from CN towards AD and back.

    python docs/_site/moving_picture.py --results results

It decodes one scan of the run's models, along the direction of its diagnosis probe, and writes
docs/images/manipulation.webp. Synthetic cohorts only: the picture is published.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import zoom

from ldae.application.bundle import Bundle
from ldae.errors import require
from ldae.files import atomic

REPO = Path(__file__).parents[2]
OUT = REPO / "docs/images/manipulation.webp"
DEMO = REPO / "config/demo.yaml"  # its figures.subjects name the healthy person that is moved
MOST = 3.0  # standard deviations of the training codes, either way
STEPS = 13  # codes that are decoded, from one end to the other
SCALE = 9  # pixels a voxel
FRAME = 90  # milliseconds
HOLD = 7  # frames at either end
QUALITY = 80  # of WebP's lossy compression
PLANES = ((2, 0.52), (1, 0.50), (0, 0.44))  # axis and place: axial, coronal, sagittal
BAR, MARGIN = 64, 16  # pixels
INK, PAPER, MARK = 235, 0, 255


def volumes(results: Path) -> np.ndarray:
    """The scan moved along the direction: (STEPS, X, Y, Z), from CN to AD.

    Raises:
        UserError: the models have seen others than synthetic brains.
    """
    bundle = Bundle.load(results / "models", device="cpu", threads=1)
    require(bundle.settings["synthetic"], f"{results} is no run on a synthetic cohort.")
    system, direction = bundle.system, bundle.direction()
    store = system.volume_store(results / "cache/volumes")
    subject = yaml.safe_load(DEMO.read_text())["figures"]["subjects"]["CN"]
    rows = store.index[store.index["participant_id"] == subject]
    require(len(rows) > 0, f"{results} has no scan of {subject}, whom {DEMO} shows.")
    x = store.volumes(rows.index.to_numpy()[:1])
    y = system.y_sem(x)
    steps = bundle.settings["ddim_steps"]
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    step = direction.step(bundle.settings["mode"])
    # Codes are placed about the middle between the classes, where the logit is 0.
    unit = bundle.training.logit_sd / float((step / direction.std) @ direction.w)
    middle = -float(direction(y)) / float((step / direction.std) @ direction.w)
    alphas = [middle + unit * sd for sd in np.linspace(-MOST, MOST, STEPS)]
    moved = torch.cat([direction.move(y, alpha, bundle.settings["mode"]) for alpha in alphas])
    images = system.images(z_T.expand(STEPS, -1, -1, -1, -1), moved, steps, batch_size=4)
    return images[:, 0].numpy()


def frame(volume: np.ndarray, place: float, height: int) -> Image.Image:
    """One picture: three planes, and a mark between CN and AD.

    Args:
        volume: (X, Y, Z), intensities 0 to 1, RAS.
        place: 0 at CN, 1 at AD.
        height: Of the planes in pixels.
    """
    panels = []
    for axis, where in PLANES:
        plane = volume.take(round(where * (volume.shape[axis] - 1)), axis)
        plane = zoom(plane, SCALE, order=3).T[::-1]
        grey = np.clip(plane * 245, 0, 255).astype(np.uint8)
        panel = Image.new("L", (grey.shape[1], height), PAPER)
        panel.paste(Image.fromarray(grey), (0, (height - grey.shape[0]) // 2))
        panels.append(panel)
    width = sum(panel.width for panel in panels) + MARGIN * (len(panels) + 1)
    whole = Image.new("L", (width, height + BAR), PAPER)
    left = MARGIN
    for panel in panels:
        whole.paste(panel, (left, 0))
        left += panel.width + MARGIN
    draw = ImageDraw.Draw(whole)
    font = ImageFont.load_default(17)
    y, start, end = height + BAR // 2, width // 2 - 150, width // 2 + 150
    draw.line((start, y, end, y), fill=120, width=3)
    x = start + place * (end - start)
    draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=MARK)
    draw.text((start - 22, y), "healthy", fill=INK, font=font, anchor="rm")
    draw.text((end + 22, y), "Alzheimer's disease", fill=INK, font=font, anchor="lm")
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=REPO / "results")
    images = volumes(parser.parse_args().results)
    height = max(images.shape[2:]) * SCALE
    places = np.linspace(0, 1, 2 * STEPS - 1)  # a frame between every two codes
    between = [
        (images[int(np.floor(n))] + images[int(np.ceil(n))]) / 2
        for n in np.linspace(0, STEPS - 1, 2 * STEPS - 1)
    ]
    frames = [frame(volume, p, height) for volume, p in zip(between, places, strict=True)]
    order = [*[frames[0]] * HOLD, *frames, *[frames[-1]] * HOLD, *frames[::-1]]
    with atomic(OUT) as temporary:
        order[0].save(
            temporary, format="WebP", save_all=True, append_images=order[1:], duration=FRAME,
            loop=0, quality=QUALITY, method=6,
        )  # fmt: skip
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB, {order[0].size}")


if __name__ == "__main__":
    main()
