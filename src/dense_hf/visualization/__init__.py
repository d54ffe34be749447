"""Pictures of what a model found, of the size of the image."""

from .counts import draw_density, draw_points
from .heat import draw_attention
from .labels import draw_labels, label_palette

__all__ = ["draw_attention", "draw_density", "draw_labels", "draw_points", "label_palette"]
