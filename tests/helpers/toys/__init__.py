"""Three models from outside of the package, as a stranger would add them: the files of each, and one row."""

from dense_hf.methods import COUNTING, VIDEO, WEAK, Method, add_method

ROWS = (
    Method(
        "toy_counter",
        "Toy Counter",
        COUNTING,
        config="toys.toy_counter.configuration_toy_counter:ToyCounterConfig",
        model="toys.toy_counter.modeling_toy_counter:ToyCounterForObjectCounting",
        processor="dense_hf.counting.image_processing_iocformer:IOCFormerImageProcessor",
        training="dense_hf.training.counting.options:CountingTrainingArguments",
        auto_classes=("dense_hf.auto:AutoModelForObjectCounting",),
        limits=("It sees nothing but colors.",),
    ),
    Method(
        "toy_video",
        "Toy Video",
        VIDEO,
        config="toys.toy_video.configuration_toy_video:ToyVideoConfig",
        model="toys.toy_video.modeling_toy_video:ToyVideoForVideoSemanticSegmentation",
        processor="dense_hf.video_segmentation.image_processing_clip:CFFMImageProcessor",
        training="dense_hf.training.video.options:VideoTrainingArguments",
        auto_classes=(
            "transformers.models.auto.modeling_auto:AutoModelForSemanticSegmentation",
            "dense_hf.auto:AutoModelForVideoSemanticSegmentation",
        ),
        encoder="encoder",
    ),
    Method(
        "toy_classifier",
        "Toy Classifier",
        WEAK,
        config="toys.toy_classifier.configuration_toy_classifier:ToyClassifierConfig",
        model="toys.toy_classifier.modeling_toy_classifier:ToyClassifierForImageClassification",
        processor="dense_hf.weak_segmentation.image_processing_mcis:MCISImageProcessor",
        training="dense_hf.training.classifier.options:MCISTrainingArguments",
        auto_classes=("transformers.models.auto.modeling_auto:AutoModelForImageClassification",),
    ),
)


def add_toys() -> None:
    """Add the three rows."""
    for row in ROWS:
        add_method(row)
