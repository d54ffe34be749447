"""What the model returns. B pairs, K classes, C channels, h x w features of the image, h2 x w2 of its partner."""

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class MCISImageClassificationOutput(ModelOutput):
    """Output of [`MCISForImageClassification`]. Logits are the means of the maps; `None` is what has no input.

    Args:
        loss (`torch.Tensor` of shape `(1,)`, *optional*):
            Eq. 3.10, when `labels` are given.
        loss_dict (`dict[str, torch.Tensor]`, *optional*):
            Its terms, whose sum it is: `loss_basic`, `loss_co_attention`, `loss_contrastive`,
            `loss_paired_contrastive`, and `loss_view_0_basic`, `loss_view_0_co_attention`, ... of the views;
            `loss_equivariance`, if `config.equivariance_weight` is not 0.
        logits, paired_logits (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
            Scores before the sigmoid of the image and of its partner, each on its own (s_m and s_n).
        co_attention_logits, paired_co_attention_logits (`torch.Tensor` of shape `(batch_size, num_labels)`,
            *optional*):
            Scores of the classes that both have.
        contrastive_logits, paired_contrastive_logits (`torch.Tensor` of shape `(batch_size, num_labels)`, *optional*):
            Scores of the classes that only the image, or only its partner, has.
        activation_maps (`torch.Tensor` of shape `(batch_size, num_labels, h, w)`, *optional*):
            S_m of the image on its own: with VGG-16, h and w are the image's sides / 8. The other five sets of maps
            belong to the logits of the same name; those of the partner are h2 x w2.
        last_hidden_state, paired_last_hidden_state (`torch.Tensor` of shape `(batch_size, hidden_size, h, w)`,
            *optional*): Features F.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Feature maps of the backbone and F of the image, with `output_hidden_states=True`.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    paired_logits: Tensor | None = None
    co_attention_logits: Tensor | None = None
    paired_co_attention_logits: Tensor | None = None
    contrastive_logits: Tensor | None = None
    paired_contrastive_logits: Tensor | None = None
    activation_maps: Tensor | None = None
    paired_activation_maps: Tensor | None = None
    co_attention_maps: Tensor | None = None
    paired_co_attention_maps: Tensor | None = None
    contrastive_maps: Tensor | None = None
    paired_contrastive_maps: Tensor | None = None
    last_hidden_state: Tensor | None = None
    paired_last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
