"""`VideoConsistency` as a module of the `evaluate` library, which copies this one file and imports the copy."""

import datasets
import evaluate

from dense_hf.metrics import VideoConsistency


class VideoConsistencyOfLabels(evaluate.Metric):
    """VC_n of label maps, one video per example; see `dense_hf.metrics.VideoConsistency` for keys and rules."""

    def _info(self) -> evaluate.MetricInfo:
        video = datasets.Sequence(datasets.Sequence(datasets.Sequence(datasets.Value("int64"))))
        return evaluate.MetricInfo(
            description="How constant predictions are where annotations are constant, in windows of a video.",
            citation="",
            inputs_description=VideoConsistency.__doc__ or "",
            features=datasets.Features({"predictions": video, "references": video}),
        )

    def _compute(  # ty: ignore[incompatible-method-override]  as the metrics of the evaluate library do
        self, predictions: list, references: list, **options
    ) -> dict[str, float]:
        metrics = VideoConsistency(**options)
        for predicted, annotated in zip(predictions, references):
            metrics.update(predicted, annotated)
        return metrics.compute()
