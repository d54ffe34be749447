"""`MeanIoU` as a module of the `evaluate` library, which copies this one file and imports the copy."""

import datasets
import evaluate

from dense_hf.metrics import MeanIoU


class MeanIntersectionOverUnion(evaluate.Metric):
    """Overlap of label maps; see `dense_hf.metrics.MeanIoU` for keys and rules."""

    def _info(self) -> evaluate.MetricInfo:
        label_map = datasets.Sequence(datasets.Sequence(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description="Mean and weighted intersection over union and accuracies of label maps.",
            citation="",
            inputs_description=MeanIoU.__doc__ or "",
            features=datasets.Features({"predictions": label_map, "references": label_map}),
        )

    def _compute(  # ty: ignore[incompatible-method-override]  as the metrics of the evaluate library do
        self, predictions: list, references: list, num_labels: int, **options
    ) -> dict[str, float | list[float]]:
        return MeanIoU(num_labels, **options).update(predictions, references).compute()
