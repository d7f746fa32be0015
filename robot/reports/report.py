"""Write what a run leaves behind for a person: a folder with a learning curve, GIFs and one self-contained page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robot.core.data import Episode
from robot.core.files import write_whole
from robot.reports.pictures import (
    CurvePoint,
    contact_sheet,
    draw_learning_curve,
    imagined_beside_executed,
    plan_frame,
    succeeded,
    write_gif,
)
from robot.reports.statistics import interval_text
from robot.reports.templates import render


@dataclass(frozen=True, slots=True)
class ReportRow:
    """Hold one iteration as the report shows it.

    `successes` of `rollouts` with the true instruction; the same of exploration; `minutes` of wall time;
    `memory_gib`: the peak; `kept`: episodes the judge added to what is trained on.
    """

    iteration: int
    successes: int
    rollouts: int
    exploration_successes: int = 0
    exploration_rollouts: int = 0
    kept: int = 0
    minutes: float = 0.0
    memory_gib: float = 0.0

    @property
    def rate(self) -> str:
        """Return the success rate with its interval."""
        return interval_text(self.successes, self.rollouts)

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `HEADINGS`."""
        return (
            str(self.iteration),
            f"{self.successes}/{self.rollouts}",
            self.rate,
            f"{self.exploration_successes}/{self.exploration_rollouts}" if self.exploration_rollouts else "–",
            str(self.kept),
            f"{self.minutes:.1f}",
            f"{self.memory_gib:.1f}",
        )


HEADINGS = ("iteration", "success", "95 % interval", "exploration", "kept", "minutes", "memory (GiB)")


def chosen_examples(episodes: Sequence[Episode]) -> dict[str, Episode]:
    """Return the best, the median and a failed episode of several, under those names; fewer where there are fewer.

    Episodes are ranked with successes first, the shorter the better. The failed one is the middle of the failures, so
    that it is a usual one; where there is no success the best and the median are left out.
    """
    # With a key of length and seed the choice is the same each time the report is drawn.
    worked = sorted((episode for episode in episodes if succeeded(episode)), key=lambda e: (len(e), e.seed))
    failed = sorted((episode for episode in episodes if not succeeded(episode)), key=lambda e: (len(e), e.seed))
    chosen: dict[str, Episode] = {}
    if worked:
        chosen["best"] = worked[0]
    if len(worked) > 1:
        chosen["median"] = worked[len(worked) // 2]
    if failed:
        chosen["failed"] = failed[len(failed) // 2]
    return chosen


def write_report(
    folder: Path,
    task: str,
    instruction: str,
    rows: Sequence[ReportRow],
    examples: Mapping[str, Episode],
    config_yaml: str,
    command: str,
    revision: str,
    best: tuple[int, str] | None = None,
    camera: str = "",
) -> Path:
    """Write a report into `folder` and return its page, `index.html`.

    `best`: the iteration that did best and the command that uses its models, where there are any.

    Beside the page, which holds everything inside itself, stand `learning_curve.png`, `<name>.gif` for each of the
    `examples`, `<name>.png` contact sheets and `config.yaml`. `rows` may be empty: a run that was stopped before its
    first success rate still has a report. Whoever looks at the page while it is written sees the one before. Raises
    SailError or OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.yaml", config_yaml)
    curve = None
    points = [CurvePoint(row.iteration, row.successes, row.rollouts) for row in rows]
    if any(point.rollouts for point in points):
        subtitle = "success with the true instruction; shaded: Wilson 95 % interval"
        curve = draw_learning_curve({"sail": points}, task, folder / "learning_curve.png", subtitle)
    films = []
    for name, episode in examples.items():
        gif = write_gif(imagined_beside_executed(episode, camera), folder / f"{name}.gif")
        write_contact_sheet(episode, folder / f"{name}.png", camera)
        films.append(Film.of(name, episode, gif))
    scored = [row for row in rows if row.rollouts]
    text = render(
        "report.html",
        task=task,
        instruction=instruction,
        first=scored[0] if scored else None,
        last=scored[-1] if scored else None,
        curve=_inline(curve, "image/png") if curve else "",
        headings=HEADINGS,
        rows=rows,
        films=films,
        best=best,
        command=command,
        revision=revision,
        configuration=config_yaml,
    )
    page = folder / "index.html"
    write_whole(page, text)
    return page


def write_contact_sheet(episode: Episode, path: Path, camera: str = "", moments: int = 8) -> Path:
    """Write one PNG with imagined frames in the upper row and executed ones below, at evenly spaced moments."""
    camera = camera or next(iter(episode.frames))
    count = min(moments, len(episode) + 1)
    steps = [round(i * len(episode) / max(count - 1, 1)) for i in range(count)]
    start_s = float(episode.times_s[0])
    digits = 1 if float(episode.times_s[-1]) - start_s > 2 else 2
    labels = [f"{float(episode.times_s[step]) - start_s:.{digits}f} s" for step in steps]
    upper = [plan_frame(episode, step, camera)[0] for step in steps]
    lower = [episode.frames[camera][step] for step in steps]
    words = [f"imagined {label}" for label in labels] + [f"executed {label}" for label in labels]
    return contact_sheet([*upper, *lower], path, words, columns=count, title=episode.instruction)


@dataclass(frozen=True, slots=True)
class Film:
    """Hold an episode as the page shows it; `picture` is a data URL, `told` the words where they were borrowed."""

    name: str
    picture: str
    steps: int
    seconds: float
    plans: int
    seed: int
    told: str

    @classmethod
    def of(cls, name: str, episode: Episode, gif: Path) -> Film:
        """Return the film of an episode that `gif` shows."""
        return cls(
            name,
            _inline(gif, "image/gif"),
            len(episode),
            float(episode.times_s[-1] - episode.times_s[0]),
            len(episode.plans),
            episode.seed,
            "" if episode.spoken == episode.instruction else episode.spoken,
        )


def _inline(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
