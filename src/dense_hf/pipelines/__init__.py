"""The tasks that dense_hf adds to `transformers.pipeline`, one file per task."""

from transformers import AutoModel, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation
from transformers.pipelines import PIPELINE_REGISTRY

from ..strict_auto_models import strict
from .object_counting import ObjectCountingPipeline
from .video_semantic_segmentation import VideoSemanticSegmentationPipeline
from .weakly_supervised_segmentation import WeaklySupervisedSegmentationPipeline


def register_pipelines() -> None:
    """Make the tasks known to `transformers.pipeline`. `import dense_hf` calls it.

    The model classes are those of transformers, because a saved pipeline stores their names and finds them there:
    `AutoModel` is what checkpoints with code of their own name, and of SegFormer it would leave out the classifier.
    Here they load strictly.
    """
    PIPELINE_REGISTRY.register_pipeline(
        "object-counting", pipeline_class=ObjectCountingPipeline, pt_model=strict(AutoModel), type="image"
    )
    PIPELINE_REGISTRY.register_pipeline(
        "video-semantic-segmentation",
        pipeline_class=VideoSemanticSegmentationPipeline,
        pt_model=tuple(map(strict, (AutoModelForSemanticSegmentation, AutoModel, AutoModelForUniversalSegmentation))),
        type="video",
    )
    PIPELINE_REGISTRY.register_pipeline(
        "weakly-supervised-segmentation",
        pipeline_class=WeaklySupervisedSegmentationPipeline,
        pt_model=strict(AutoModel),
        type="image",
    )


__all__ = [
    "ObjectCountingPipeline",
    "VideoSemanticSegmentationPipeline",
    "WeaklySupervisedSegmentationPipeline",
    "register_pipelines",
]
