"""The tasks that dense_hf adds to `transformers.pipeline`, one file per task."""

from transformers import AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .object_counting import ObjectCountingPipeline


def register_pipelines() -> None:
    """Make the tasks known to `transformers.pipeline`. `import dense_hf` calls it.

    The model class is `AutoModel`, because a saved pipeline stores its name and finds it in transformers.
    """
    PIPELINE_REGISTRY.register_pipeline(
        "object-counting", pipeline_class=ObjectCountingPipeline, pt_model=AutoModel, type="image"
    )


__all__ = ["ObjectCountingPipeline", "register_pipelines"]
