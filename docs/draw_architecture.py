"""Draw `architecture.svg`: the rooms of the house, floor upon floor. Run it again when a room moves."""

from __future__ import annotations

from pathlib import Path

WIDTH, EDGE, GAP, HEIGHT = 960, 24, 10, 74
FLOORS = (
    (
        "command",
        "#fff",
        "#1c2026",
        [("robot/cli", "the sail command; alone knows Hydra"), ("configs", "every setting, as YAML")],
    ),
    (
        "programs",
        "#f6efe2",
        "#c07a1e",
        [("robot/speed", "benchmarks"), ("robot/recipes", "how what ships was made")],
    ),
    (
        "loop",
        "#f6efe2",
        "#c07a1e",
        [("robot/learn", "rounds of attempts, verdicts and training, over one journal; exploration")],
    ),
    (
        "work",
        "#e6f1ec",
        "#16805c",
        [
            ("robot/rollouts", "attempts, deployments"),
            ("robot/labelling", "the label page"),
            ("robot/reports", "statistics, pages"),
        ],
    ),
    (
        "parts",
        "#e9edf8",
        "#425ca8",
        [
            ("planners", "text, frame → video"),
            ("policies", "video → actions"),
            ("sim", "MetaWorld"),
            ("hardware", "arms, by wire"),
            ("robot/judges", "did it work?"),
        ],
    ),
    (
        "record",
        "#e9edf8",
        "#425ca8",
        [("robot/episodes", "what was done and what was said of it; whose word counts; what is learnt from")],
    ),
    (
        "foundation",
        "#fff",
        "#1c2026",
        [("robot/core", "the nouns (observation, plan, episode, verdict), the contracts, files, training, provenance")],
    ),
)
"""Each floor's name, colours of its rooms, and the rooms, each with what is in it; the topmost first."""


def draw() -> str:
    """Return the picture as SVG."""
    top, left = 58, EDGE + 104
    height = top + len(FLOORS) * (HEIGHT + GAP) + 14
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="DejaVu Sans, Segoe UI, Helvetica, Arial, sans-serif" role="img" '
        'aria-label="The rooms of the house: each imports only what lies below it">',
        f'<rect width="{WIDTH}" height="{height}" fill="#faf9f6"/>',
        f'<text x="{EDGE}" y="36" font-size="15" fill="#5a6470">Each room imports only from the floors below it; rooms '
        "of one floor do not know each other.</text>",
    ]
    for number, (name, fill, stroke, rooms) in enumerate(FLOORS):
        y = top + number * (HEIGHT + GAP)
        lines.append(f'<text x="{EDGE}" y="{y + HEIGHT / 2 + 5}" font-size="13" fill="#80868e">{name}</text>')
        width = (WIDTH - EDGE - left - (len(rooms) - 1) * GAP) / len(rooms)
        for place, (room, words) in enumerate(rooms):
            x = left + place * (width + GAP)
            small = 11 if len(rooms) > 3 else 12.5
            lines += [
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{HEIGHT}" rx="8" fill="{fill}" '
                f'stroke="{stroke}" stroke-width="1.5"/>',
                f'<g text-anchor="middle"><text x="{x + width / 2:.1f}" y="{y + 32}" font-size="{small + 2.5}" '
                f'font-weight="bold" fill="#1c2026">{room}</text>',
                f'<text x="{x + width / 2:.1f}" y="{y + 54}" font-size="{small}" fill="#5a6470">{words}</text></g>',
            ]
    return "\n".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    Path(__file__).with_name("architecture.svg").write_text(draw(), encoding="utf-8")
