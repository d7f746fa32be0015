"""Plan with a small in-domain model adapted by a general one: neither is trained, their scores are composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from planners.autoencoder import Autoencoder
from planners.compose import PriorStrength, check_normalisation
from planners.imagining import Imagining
from planners.latent_video import LatentVideoPlanner
from planners.parametrisation import Flow, Parametrisation
from planners.samplers import build_scheduler
from planners.scores import VideoScore, check_composable, model_from
from robot.core.checkpoints import ABOUT
from robot.core.errors import CheckpointError

ADAPTATIONS = ("pa", "ipa", "in_domain", "general")


class AdaptedPlanner(Imagining):
    """Imagine with the composed scores of an in-domain and a general model. A `Planner`.

    `adaptation`: `pa`, the in-domain model with the general one added; `ipa`, the general model with the in-domain one
    added; `in_domain` or `general`, that one alone. `strength`: how much what is added counts. `normalisation`: see
    `planners.compose.text_weights`. `finetuned`: the adaptation from when the loop has fine-tuned the in-domain model;
    empty: the same. The in-domain planner encodes, decodes and says what camera, frames and sampling there are; it
    alone is what the loop fine-tunes.
    """

    def __init__(
        self,
        in_domain: LatentVideoPlanner,
        general: VideoScore | None,
        adaptation: str = "ipa",
        strength: PriorStrength = PriorStrength(),  # noqa: B008 (frozen)
        normalisation: str = "text",
        finetuned: str = "in_domain",
    ) -> None:
        """Put two models together; only `in_domain` can do without the general one.

        Raises ValueError for an unknown adaptation or normalisation, CheckpointError where the two do not fit.
        """
        check_adaptation(adaptation, normalisation, finetuned)
        for each in (adaptation, finetuned or adaptation):
            if general is None and each != "in_domain":
                raise ValueError(f"The adaptation {each!r} needs a general model.")
        if general is not None:
            check_composable(in_domain, general)
        self.in_domain = in_domain
        self.autoencoder, self.camera, self.stride_s = in_domain.autoencoder, in_domain.camera, in_domain.stride_s
        self.settings, self.image_size = in_domain.settings, in_domain.image_size
        self._device, self._bf16 = in_domain.device, in_domain.bf16
        self.guidance_interval = in_domain.guidance_interval
        self.general = general
        self.adaptation = adaptation
        self.strength = strength
        self.normalisation = normalisation
        self.finetuned = finetuned
        self.base, self.other = self._roles()
        build_scheduler(self.terms, in_domain.settings)  # raises for settings that cannot work

    @classmethod
    def load(
        cls,
        planner: str | Path,
        autoencoder: str | Path | Autoencoder,
        general: str | Path | VideoScore | Callable[[], VideoScore] | None,
        adaptation: str = "ipa",
        strength: float = 0.3,
        strength_schedule: str = "constant",
        strength_range: Sequence[float] = (-4.0, 4.0),
        normalisation: str = "text",
        finetuned: str = "in_domain",
        adapters: str | Path | None = None,
        **overrides: Any,
    ) -> AdaptedPlanner:
        """Build from the folder of an in-domain planner and that of a general one, or any `VideoScore`, or its maker.

        The general planner's folder is not read, and its maker not asked, where it is not needed; None will do there.
        `adapters` are the in-domain planner's; `overrides` are for both: see `LatentVideoPlanner.load`.
        Raises CheckpointError where a folder holds no planner or the two differ in latent space, frames or stride,
        ValueError for what is no general model and makes none.
        """
        check_adaptation(adaptation, normalisation, finetuned)
        if not isinstance(strength_range, Sequence) or isinstance(strength_range, str) or len(strength_range) != 2:
            raise ValueError(f"strength_range is two log-SNRs, such as [-4, 4], got {strength_range}.")
        low, high = (float(end) for end in strength_range)
        prior = PriorStrength(float(strength), strength_schedule, (low, high))
        in_domain = LatentVideoPlanner.load(planner, autoencoder, adapters=adapters, **overrides)
        found: VideoScore | None
        if isinstance(general, VideoScore):
            found = general
        elif general is None or adaptation == (finetuned or adaptation) == "in_domain":
            found = None
        elif isinstance(general, (str, Path)):
            found = load_general(general, in_domain, **overrides)
        else:
            found = model_from(general)
        return cls(in_domain, found, adaptation, prior, normalisation, finetuned)

    @property
    def models(self) -> tuple[VideoScore, VideoScore | None]:
        """Return the model that is sampled from and the one that is added to it."""
        return self.base, self.other

    @property
    def terms(self) -> Parametrisation:
        """Return in which terms is sampled: those of the model that is sampled from, for a flow the in-domain one's."""
        terms = self.base.parametrisation
        return self.in_domain.parametrisation if isinstance(terms.schedule, Flow) else terms

    @property
    def frames(self) -> int:
        """Return how many frames a plan has."""
        return self.in_domain.frames

    def with_in_domain(self, planner: LatentVideoPlanner) -> AdaptedPlanner:
        """Return the planner that is in force once `planner`, its in-domain half, has been fine-tuned."""
        adaptation = self.finetuned or self.adaptation
        return AdaptedPlanner(planner, self.general, adaptation, self.strength, self.normalisation, self.finetuned)

    def with_adaptation(self, adaptation: str) -> AdaptedPlanner:
        """Return another adaptation of the same two models."""
        return AdaptedPlanner(
            self.in_domain, self.general, adaptation, self.strength, self.normalisation, self.finetuned
        )

    def _roles(self) -> tuple[VideoScore, VideoScore | None]:
        in_domain, general = self.in_domain, self.general
        if general is None or self.adaptation == "in_domain":
            return in_domain, None
        if self.adaptation == "general":
            return general, None
        return (in_domain, general) if self.adaptation == "pa" else (general, in_domain)


def check_adaptation(adaptation: str, normalisation: str, finetuned: str = "") -> None:
    """Raise ValueError for an adaptation or a normalisation that there is not."""
    for each, when in ((adaptation, ""), (finetuned or adaptation, " for what is finetuned")):
        if each not in ADAPTATIONS:
            raise ValueError(f"There is no adaptation {each!r}{when}; known are {', '.join(ADAPTATIONS)}.")
    check_normalisation(normalisation)


def load_general(folder: str | Path, in_domain: LatentVideoPlanner, **overrides: Any) -> LatentVideoPlanner:
    """Load the general planner to compose an in-domain one with; it has to share that one's autoencoder.

    Raises CheckpointError where there is none, saying what makes it.
    """
    if not (Path(folder) / ABOUT).is_file():
        raise CheckpointError(
            f"There is no general planner in {folder}: `make starter-general` makes the one of the project; name "
            "another with planner.general=FOLDER (planner.planner.general inside best_of_n and turns), or plan without "
            "by planner=starter."
        )
    general = LatentVideoPlanner.load(folder, in_domain.autoencoder, **overrides)
    if general.text_encoder.config == in_domain.text_encoder.config:
        general.text_encoder = in_domain.text_encoder  # one cache of encoded texts
    return general
