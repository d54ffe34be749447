"""What the authors' released CFFM computed: `cffm_*` from pixels, `head_*` from encoder maps, with gradients."""

from functools import partial
from types import SimpleNamespace

import released_video
import torch
from released_video import FeaturesGoIn, official_tensor
from safetensors.torch import load_file

from dense_hf.convert_cffm import rename_checkpoint
from dense_hf.video_segmentation.configuration_cffm import CFFMConfig
from dense_hf.video_segmentation.modeling_cffm import CFFMForVideoSemanticSegmentation

__all__ = ["FIXTURES", "from_features", "from_pixels", "official_state_dict", "official_tensor"]

FIXTURES = released_video.FIXTURES / "cffm"
meta_of = partial(released_video.meta_of, "cffm")
official_state_dict = partial(released_video.official_state_dict, "cffm")
from_pixels = partial(released_video.from_pixels, "cffm")


def from_features(name: str) -> SimpleNamespace:
    """`model`, `pixels` (only their shape matters), `labels`, `golden` and `meta` of one of the `head_*` cases."""
    meta, golden = meta_of(name), load_file(FIXTURES / f"{name}.safetensors")
    config = CFFMConfig(
        encoder_config={"hidden_sizes": meta["in_channels"], "num_attention_heads": [1, 1, 1, 1]},
        decoder_hidden_size=meta["embed_dim"],
        num_mining_layers=meta["depths"],
        num_labels=meta["num_classes"],
    )
    model = CFFMForVideoSemanticSegmentation(config).eval()
    ours = rename_checkpoint({f"decode_head.{k[2:]}": v for k, v in golden.items() if k.startswith("w.")})
    left_over = model.load_state_dict(ours, strict=False)
    assert not left_over.unexpected_keys
    assert all(key.startswith("encoder.") or key.endswith("tracked") for key in left_over.missing_keys)
    maps = [golden[f"in.c{n}"].requires_grad_(n in (1, 4)) for n in range(1, 5)]
    model.encoder = FeaturesGoIn(maps, meta["num_clips"])
    targets = golden["in.labels"].squeeze(2)
    pixels = torch.zeros(*targets.shape[:2], 3, *targets.shape[2:])
    return SimpleNamespace(model=model, pixels=pixels, labels=targets, golden=golden, meta=meta, maps=maps)
