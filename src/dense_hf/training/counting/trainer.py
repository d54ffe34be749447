"""The trainer of IOCFormer and CLTR: validation counts whole images by tiles (thesis section 2.5.1)."""

from typing import TYPE_CHECKING, Any

from ...inference.counts import evaluate_counting
from ..optimizers import RecipeTrainer

if TYPE_CHECKING:
    from ...counting.image_processing_iocformer import IOCFormerImageProcessor


class CountingTrainer(RecipeTrainer):
    """[`RecipeTrainer`] whose `evaluate` returns the counting errors of whole images.

    Args:
        processor: Cuts images into tiles; it is saved beside the model.
        threshold: Least score that counts.
        kwargs: As for [`RecipeTrainer`]; `eval_dataset` is a list of `CountingExample`.
    """

    def __init__(
        self,
        *,
        processor: "IOCFormerImageProcessor",
        threshold: float = 0.35,
        **kwargs: Any,
    ):
        self.processor = processor
        self.threshold = threshold
        super().__init__(processing_class=processor, **kwargs)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Count every image once, whatever the number of processes; all of them get the same numbers.

        Args:
            eval_dataset: List of `CountingExample`; default is that of the trainer.
            ignore_keys: Not used here.
            metric_key_prefix: Start of every key of the result.

        Returns:
            `{prefix}_mae`, `{prefix}_mse` (the root), `{prefix}_nae` and what else `CountingMetrics` computes.
        """
        examples: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        with self.accelerator.autocast():
            values = evaluate_counting(
                self.accelerator.unwrap_model(self.model),
                self.processor,
                examples,
                threshold=self.threshold,
                batch_size=self.args.eval_batch_size,
                progress=not self.args.disable_tqdm,
                description=metric_key_prefix,
            )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(dict(metrics))  # adds the epoch
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
