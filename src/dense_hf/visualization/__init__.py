"""Pictures of what a model found, of the size of the image, and of a whole video."""

from .counts import draw_density, draw_points
from .heat import draw_attention
from .labels import draw_labels, label_palette
from .timeline import draw_timeline

__all__ = ["draw_attention", "draw_density", "draw_labels", "draw_points", "draw_timeline", "label_palette"]
