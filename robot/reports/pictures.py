"""Draw what a person looks at: learning curves, GIFs of imagined beside executed, and contact sheets.

Pictures go in and out as uint8 (H, W, 3) RGB arrays or Pillow images; nothing here reads an episode from disk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from robot.core.data import Episode, Image
from robot.core.text import visible
from robot.episodes.alignment import imagined_at
from robot.reports.statistics import wilson_interval

INK, PAPER, FAINT = (28, 32, 38), (250, 249, 246), (128, 134, 142)
GOOD, BAD, IMAGINED = (22, 128, 92), (178, 58, 46), (66, 92, 168)
CURVE_COLOURS = ("#16805c", "#425ca8", "#c07a1e", "#8b4a9c", "#b23a2e", "#5a6470")

LONGEST_TITLE = 64
"""Characters for which there is room above a learning curve."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Hold one point of a learning curve: `successes` of `rollouts` with the true instruction at an `iteration`."""

    iteration: int
    successes: int
    rollouts: int


def draw_learning_curve(curves: Mapping[str, Sequence[CurvePoint]], title: str, path: Path, subtitle: str = "") -> Path:
    """Draw success over iterations with shaded Wilson 95 % intervals, one line per named curve, as a PNG.

    Points without rollouts are left out. Raises ValueError when no curve has a point.
    """
    drawn = {name: [point for point in points if point.rollouts] for name, points in curves.items()}
    if not any(drawn.values()):
        raise ValueError("A learning curve needs at least one iteration with rollouts.")
    figure = Figure(figsize=(7.2, 4.4), dpi=160, facecolor="#faf9f6", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="#faf9f6")
    for colour, (name, points) in zip(CURVE_COLOURS * len(drawn), drawn.items(), strict=False):
        x = [point.iteration for point in points]
        y = [point.successes / point.rollouts for point in points]
        bounds = [wilson_interval(point.successes, point.rollouts) for point in points]
        if len(x) > 1:
            axes.fill_between(
                x, [low for low, _ in bounds], [high for _, high in bounds], color=colour, alpha=0.14, lw=0
            )
        axes.vlines(x, [low for low, _ in bounds], [high for _, high in bounds], color=colour, alpha=0.35, lw=1.4)
        axes.plot(
            x, y, color=colour, lw=2.2, marker="o", ms=5.5, label=visible(name, LONGEST_TITLE), clip_on=False, zorder=3
        )
        if len(drawn) == 1:
            for point, (low, high) in zip(points, bounds, strict=True):
                above = high < 0.96
                axes.annotate(
                    f"{point.successes}/{point.rollouts}",
                    (point.iteration, high if above else low),
                    xytext=(0, 4 if above else -14),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8.5,
                    color="#5a6470",
                )
    _dress(figure, axes, title, subtitle)
    if len(drawn) > 1:
        for text in axes.legend(frameon=False, fontsize=9, labelcolor="#1c2026").get_texts():
            text.set_parse_math(False)
    figure.savefig(path, metadata={"Software": ""})
    return path


def _dress(figure: Figure, axes, title: str, subtitle: str) -> None:  # type: ignore[no-untyped-def]
    """Set titles, axes and grid; matplotlib's axes are untyped here."""
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.06)
    axes.grid(axis="y", color="#1c2026", alpha=0.08, lw=0.8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#80868e")
    axes.tick_params(colors="#5a6470", length=0, labelsize=9)
    axes.set_xlabel("iteration", color="#5a6470", fontsize=9.5)
    text = axes.set_title(
        visible(title, LONGEST_TITLE),
        loc="left",
        fontsize=13,
        fontweight="bold",
        color="#1c2026",
        pad=24 if subtitle else 10,
    )
    text.set_parse_math(False)  # a dollar in a name begins no formula
    if subtitle:
        text = axes.text(
            0,
            1.02,
            visible(subtitle, 2 * LONGEST_TITLE),
            transform=axes.transAxes,
            fontsize=9,
            color="#5a6470",
            va="bottom",
        )
        text.set_parse_math(False)


def plan_frame(episode: Episode, step: int, camera: str) -> tuple[Image, int]:
    """Return the imagined frame of the instant at which observation `step` was made, and the number of its plan.

    Which frame that is says `imagined_at`. An episode without plans gives a black frame and plan −1.
    """
    number, index = imagined_at(episode, step)
    if number < 0:
        return np.zeros_like(episode.frames[camera][step]), -1
    placed = episode.plans[number]
    return (placed.plan.frames[index] if index >= 0 else episode.frames[camera][placed.step]), number


def imagined_beside_executed(
    episode: Episode, camera: str = "", every: int = 4, scale: int = 2
) -> list[PillowImage.Image]:
    """Return pictures of an episode, imagined on the left and executed on the right, one every `every` steps.

    Each is upscaled by `scale` and labelled with the instruction, what the planner was told where that differs, the
    time, the plan's number and, on the last one, how the episode ended. `camera`: the first one when empty.
    """
    camera = camera or next(iter(episode.frames))
    steps = [*range(0, len(episode), every), len(episode)]
    return [_pair(episode, step, camera, scale) for step in steps]


def _pair(episode: Episode, step: int, camera: str, scale: int) -> PillowImage.Image:
    executed = episode.frames[camera][step]
    imagined, number = plan_frame(episode, step, camera)
    height, width = executed.shape[0] * scale, executed.shape[1] * scale
    edge, head, foot = 8, 26, 46
    picture = PillowImage.new("RGB", (2 * width + 3 * edge, height + head + foot), PAPER)
    for place, pixels in enumerate((imagined, executed)):
        view = PillowImage.fromarray(pixels).resize((width, height), PillowImage.Resampling.BICUBIC)
        picture.paste(view, (edge + place * (width + edge), head))
    draw = ImageDraw.Draw(picture)
    draw.text((edge, 5), "imagined", IMAGINED, font=font(14, bold=True))
    draw.text((2 * edge + width, 5), "executed", INK, font=font(14, bold=True))
    time_s = float(episode.times_s[step] - episode.times_s[0])
    label = f"{time_s:.1f} s" + (f" · plan {number + 1} of {len(episode.plans)}" if number >= 0 else "")
    draw.text((2 * width + 2 * edge, 6), label, FAINT, font=font(12), anchor="ra")
    room = 2 * width + edge
    draw.text((edge, head + height + 7), shortened(episode.instruction, font(13), room - 90), INK, font=font(13))
    if episode.spoken and episode.spoken != episode.instruction:
        told = shortened(f"told: {episode.spoken}", font(12), room)
        draw.text((edge, head + height + 25), told, FAINT, font=font(12))
    if step == len(episode):
        worked = succeeded(episode)
        draw.text(
            (2 * width + 2 * edge, head + height + 7),
            "success" if worked else str(episode.outcome.value),
            GOOD if worked else BAD,
            font=font(13, bold=True),
            anchor="ra",
        )
        colour = GOOD if worked else BAD
        draw.rectangle(
            (2 * edge + width - 2, head - 2, 2 * edge + 2 * width + 1, head + height + 1), outline=colour, width=2
        )
    return picture


def succeeded(episode: Episode) -> bool:
    """Return whether the simulator called the episode a success at any step."""
    return episode.success is not None and bool(np.any(episode.success))


def write_gif(pictures: Sequence[PillowImage.Image], path: Path, frame_s: float = 0.1, hold_s: float = 1.6) -> Path:
    """Write pictures of one size as an endless GIF with one shared palette; the last picture is held for `hold_s`."""
    if not pictures:
        raise ValueError("A GIF needs at least one picture.")
    sample = pictures[:: max(1, len(pictures) // 8)]
    swatch = 24  # pixels of each label colour, so that the palette keeps them
    height = pictures[0].height
    montage = PillowImage.new("RGB", (pictures[0].width, height * len(sample) + swatch * 5))
    for place, picture in enumerate(sample):
        montage.paste(picture, (0, place * height))
    for place, colour in enumerate((INK, FAINT, GOOD, BAD, IMAGINED)):
        montage.paste(colour, (0, height * len(sample) + swatch * place, montage.width, montage.height))
    palette = montage.quantize(160, method=PillowImage.Quantize.MEDIANCUT)
    frames = [picture.quantize(palette=palette, dither=PillowImage.Dither.NONE) for picture in pictures]
    durations = [round(1000 * frame_s)] * (len(frames) - 1) + [round(1000 * hold_s)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    return path


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]],
    path: Path,
    labels: Sequence[str] = (),
    columns: int = 6,
    scale: int = 1,
    title: str = "",
) -> Path:
    """Write uint8 (H, W, 3) pictures of one size as a labelled grid, left to right and top to bottom, as a PNG.

    Raises ValueError when there is no picture, the sizes differ, or there are labels but not one for each picture.
    """
    if not pictures or any(picture.shape != pictures[0].shape for picture in pictures):
        raise ValueError("A contact sheet needs at least one picture, and all of one size.")
    if labels and len(labels) != len(pictures):
        raise ValueError(f"A contact sheet of {len(pictures)} pictures got {len(labels)} labels.")
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    edge, foot, head = 6, 20 if labels else 0, 32 if title else 0
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    size = (columns * (width + edge) + edge, head + rows * (height + foot + edge) + edge)
    sheet = PillowImage.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text(
            (edge, edge), shortened(title, font(15, bold=True), size[0] - 2 * edge), INK, font=font(15, bold=True)
        )
    for place, pixels in enumerate(pictures):
        left = edge + (place % columns) * (width + edge)
        top = head + edge + (place // columns) * (height + foot + edge)
        view = PillowImage.fromarray(np.ascontiguousarray(pixels)).resize(
            (width, height), PillowImage.Resampling.BICUBIC
        )
        sheet.paste(view, (left, top))
        if labels:
            draw.text((left, top + height + 3), shortened(labels[place], font(11), width), INK, font=font(11))
    sheet.save(path)
    return path


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which ships with matplotlib, in a size in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def shortened(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Return the text in one line, cut with an ellipsis where it would be wider than `width` pixels."""
    text = visible(text, max(int(width), 1))  # no letter is narrower than a pixel
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
