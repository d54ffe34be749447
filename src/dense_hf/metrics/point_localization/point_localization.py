"""`LocalizationMetrics` as a module of the `evaluate` library, which copies this one file and imports the copy."""

import datasets
import evaluate

from dense_hf.metrics import LocalizationMetrics


class PointLocalization(evaluate.Metric):
    """Precision, recall and F1 of points; see `dense_hf.metrics.LocalizationMetrics` for keys and rules."""

    def _info(self) -> evaluate.MetricInfo:
        points = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description="Precision, recall and F1 of points, matched one to one within given distances in pixels.",
            citation="",
            inputs_description=LocalizationMetrics.__doc__ or "",
            features=datasets.Features({"predictions": points, "references": points}),
        )

    def _compute(  # ty: ignore[incompatible-method-override]  as the metrics of the evaluate library do
        self, predictions: list, references: list, distances: tuple[float, ...] = (4, 8)
    ) -> dict[str, float]:
        return LocalizationMetrics(distances).update(predictions, references).compute()
