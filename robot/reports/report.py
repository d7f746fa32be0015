"""Write what a run leaves behind for a person: a folder with a learning curve, GIFs and one self-contained page."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robot.core.data import Episode
from robot.core.text import visible
from robot.reports.pictures import (
    CurvePoint,
    contact_sheet,
    draw_learning_curve,
    imagined_beside_executed,
    plan_frame,
    succeeded,
    write_gif,
)
from robot.reports.statistics import Counts, mean_interval, mean_over_tasks, wilson_interval


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

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `HEADINGS`."""
        return (
            str(self.iteration),
            f"{self.successes}/{self.rollouts}",
            interval_text(self.successes, self.rollouts),
            f"{self.exploration_successes}/{self.exploration_rollouts}" if self.exploration_rollouts else "–",
            str(self.kept),
            f"{self.minutes:.1f}",
            f"{self.memory_gib:.1f}",
        )


HEADINGS = ("iteration", "success", "95 % interval", "exploration", "kept", "minutes", "memory (GiB)")


def interval_text(successes: int, rollouts: int) -> str:
    """Return a success rate with its Wilson 95 % interval: "40 % (22–61)"."""
    if not rollouts:
        return "–"
    low, high = wilson_interval(successes, rollouts)
    return f"{100 * successes / rollouts:.0f} % ({100 * low:.0f}–{100 * high:.0f})"


def mean_text(counts: Counts, emphasis: str = "") -> str:
    """Return a mean over tasks with its bootstrap 95 % interval: "40.4 % (36–45)"; `emphasis` stands around the mean.

    Raises ValueError as `mean_over_tasks` does.
    """
    counts = list(counts)
    low, high = mean_interval(counts)
    return f"{emphasis}{100 * mean_over_tasks(counts):.1f} %{emphasis} ({100 * low:.0f}–{100 * high:.0f})"


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
    first success rate still has a report. Raises OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config_yaml, encoding="utf-8")
    curve = None
    points = [CurvePoint(row.iteration, row.successes, row.rollouts) for row in rows]
    if any(point.rollouts for point in points):
        subtitle = "success with the true instruction; shaded: Wilson 95 % interval"
        curve = draw_learning_curve({"sail": points}, task, folder / "learning_curve.png", subtitle)
    figures = []
    for name, episode in examples.items():
        gif = write_gif(imagined_beside_executed(episode, camera), folder / f"{name}.gif")
        write_contact_sheet(episode, folder / f"{name}.png", camera)
        figures.append((name, episode, gif))
    page = folder / "index.html"
    text = _page(task, instruction, rows, curve, figures, config_yaml, command, revision, best)
    page.write_text(text, encoding="utf-8")
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


def _page(
    task: str,
    instruction: str,
    rows: Sequence[ReportRow],
    curve: Path | None,
    figures: Sequence[tuple[str, Episode, Path]],
    config_yaml: str,
    command: str,
    revision: str,
    best: tuple[int, str] | None,
) -> str:
    parts = [
        f"<h1>{_quoted(task)}</h1>",
        f"<p class=lead>“{_quoted(instruction)}”{_verdict(rows)}</p>",
    ]
    if curve is not None:
        parts.append(f'<img class=curve alt="learning curve" src="{_inline(curve, "image/png")}">')
    if rows:
        parts.append(_table(rows))
    if figures:
        parts.append("<h2>Imagined beside executed</h2><div class=films>")
        for name, episode, gif in figures:
            told = f" Told: “{_quoted(episode.spoken)}”." if episode.spoken not in ("", episode.instruction) else ""
            seconds = float(episode.times_s[-1] - episode.times_s[0])
            parts.append(
                f'<figure><img alt="{_quoted(name)} rollout" src="{_inline(gif, "image/gif")}">'
                f"<figcaption><b>{_quoted(name)}</b>: "
                f"{len(episode)} steps, {seconds:.1f} s, {len(episode.plans)} plans, seed {episode.seed}.{told}"
                "</figcaption></figure>"
            )
        parts.append("</div>")
    if best is not None:
        parts.append(
            f"<h2>Use what it learnt</h2><p>Iteration {best[0]} did best, with what was learnt before it. The same "
            f"models again:</p><pre>{_quoted(best[1])}</pre>"
        )
    configuration = "\n".join(map(_quoted, config_yaml.split("\n")))
    parts.append(
        f"<h2>How it was made</h2><p><code>{_quoted(command)}</code><br>revision "
        f"<code>{_quoted(revision)}</code></p><details><summary>configuration</summary>"
        f"<pre>{configuration}</pre></details>"
    )
    before, between, after = _FRAME.split("{}")
    return "".join([before, _quoted(f"{task} · SAIL"), between, "\n".join(parts), after])


def _quoted(text: str) -> str:
    """Return text as HTML shows it, in one line."""
    return html.escape(visible(text))


def _verdict(rows: Sequence[ReportRow]) -> str:
    scored = [row for row in rows if row.rollouts]
    if not scored:
        return ""
    first, last = scored[0], scored[-1]
    now = f"<b>{interval_text(last.successes, last.rollouts)}</b>"
    if len(scored) == 1:
        return f" – success {now}."
    return f" – from {interval_text(first.successes, first.rollouts)} to {now} after {last.iteration} iterations."


def _table(rows: Sequence[ReportRow]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in HEADINGS)
    lines = ("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row.cells()) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def _inline(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


_FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{}</title>
<style>
:root { --ink: #1c2026; --soft: #5a6470; --paper: #faf9f6; --line: #e2e0da; color-scheme: light; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
.lead { color: var(--soft); font-size: 1.1rem; margin: .25rem 0 1.5rem; } .lead b { color: var(--ink); }
.curve { width: 100%; max-width: 44rem; height: auto; display: block; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .9rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figure img { width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--line); }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; } figcaption b { color: var(--ink); }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .85rem; }
pre { background: #f1efe9; padding: 1rem; border-radius: 6px; overflow-x: auto; }
summary { cursor: pointer; color: var(--soft); }
</style></head><body>
{}
</body></html>
"""
