"""`CountingMetrics` as a module of the `evaluate` library, which copies this one file and imports the copy."""

import datasets
import evaluate

from dense_hf.metrics import CountingMetrics


class CountingError(evaluate.Metric):
    """MAE, MSE (the root) and NAE of counts; see `dense_hf.metrics.CountingMetrics` for keys and rules."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean absolute, root mean squared and normalized absolute error of counts per image.",
            citation="",
            inputs_description=CountingMetrics.__doc__ or "",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(  # ty: ignore[incompatible-method-override]  as the metrics of the evaluate library do
        self, predictions: list[float], references: list[float]
    ) -> dict[str, float]:
        return CountingMetrics().update(predictions, references).compute()
