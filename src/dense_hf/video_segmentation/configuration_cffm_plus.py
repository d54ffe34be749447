"""CFFM++ configuration: CFFM with a second branch that sees prototypes of the whole video (extension of chapter 4)."""

from huggingface_hub.dataclasses import strict

from .configuration_cffm import CFFMConfig


@strict
class CFFMPlusConfig(CFFMConfig):
    r"""
    Configuration of [`CFFMPlusForVideoSemanticSegmentation`]: the fields of [`CFFMConfig`] and those of the branch.

    Args:
        num_prototypes (`int`, defaults to 100): Cluster centres per video that `find_prototypes` makes.
        num_prototype_frames (`int`, defaults to 10): Frames, spread over the video, whose features are clustered.
        prototype_weight (`float`, defaults to 0.5): Weight of the branch's logits beside those of CFFM.
    """

    model_type = "cffm_plus"

    num_prototypes: int = 100
    num_prototype_frames: int = 10
    prototype_weight: float | int = 0.5

    def find_problems(self) -> list[str]:
        """As in the parent, and what the branch adds."""
        problems = super().find_problems()
        if self.num_mining_layers < 1 or not self.motional_contexts:
            problems.append(
                "the branch is added to a CFFM that looks at other frames: num_mining_layers must be at least 1 and "
                f"motional_contexts true, received {self.num_mining_layers} and {self.motional_contexts}"
            )
        return problems


__all__ = ["CFFMPlusConfig"]
