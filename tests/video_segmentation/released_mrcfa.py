"""What the authors' released MRCFA computed: `mrcfa_*` from pixels, `head_*` and `hyper_*` from encoder maps."""

from functools import partial
from types import SimpleNamespace

import released_video
import torch
from released_video import FeaturesGoIn, official_tensor
from safetensors.torch import load_file

from dense_hf.convert_mrcfa import rename_checkpoint
from dense_hf.video_segmentation.configuration_mrcfa import MRCFAConfig
from dense_hf.video_segmentation.frame_decoder import halve
from dense_hf.video_segmentation.modeling_mrcfa import MRCFAForVideoSemanticSegmentation
from dense_hf.video_segmentation.video_segmenter import FrameFeatures

__all__ = ["FIXTURES", "features_of", "from_features", "from_pixels", "official_state_dict", "official_tensor"]

FIXTURES = released_video.FIXTURES / "mrcfa"
meta_of = partial(released_video.meta_of, "mrcfa")
official_state_dict = partial(released_video.official_state_dict, "mrcfa")
from_pixels = partial(released_video.from_pixels, "mrcfa")
DECODERS = {  # by the flag of the released code
    "b1": {"affinity_depth": 2, "affinity_width": 2, "affinity_kernel_sizes": [3, 3, 5]},
    "b0": {},
}


def from_features(name: str, **fields) -> SimpleNamespace:
    """`model`, `pixels` (only their shape matters), `labels`, `golden` and `meta` of a case that starts at maps."""
    meta, golden = meta_of(name), load_file(FIXTURES / f"{name}.safetensors")
    config = MRCFAConfig(
        encoder_config={"hidden_sizes": meta["channels"], "num_attention_heads": [1, 1, 1, 1]},
        decoder_hidden_size=meta.get("embed_dim", 16),
        num_labels=meta.get("num_classes", 2),
        frame_offsets=[3 * n for n in range(meta["T"] - 1, 0, -1)],
        token_selection_ratio=meta["p"],
        importance_topk=meta["k_top"],
        reference_stride=int(meta["reference_size"].removeprefix("1_")),
        **DECODERS[meta["backbone_flag"]],
        **fields,
    )
    model = MRCFAForVideoSemanticSegmentation(config).eval()
    weights = {f"decode_head.{k.removeprefix('weight.')}": v for k, v in golden.items() if k.startswith("weight.")}
    left_over = model.load_state_dict(rename_checkpoint(weights), strict=False)
    assert not left_over.unexpected_keys
    absent = [key for key in left_over.missing_keys if not key.startswith("encoder.") and "tracked" not in key]
    # of `hyper_*`, only what refines affinities was written down
    assert not [key for key in absent if "embed_dim" in meta or (key.startswith("mining") and "values" not in key)]
    model.encoder = FeaturesGoIn([golden[f"in.c{n}"].flatten(0, 1) for n in range(1, 5)], meta["T"])
    targets = golden["in.labels"].squeeze(2) if "in.labels" in golden else None
    size = [4 * side for side in meta["c1_hw"]]
    pixels = torch.zeros(meta["B"], meta["T"], 3, *size)
    return SimpleNamespace(model=model, pixels=pixels, labels=targets, golden=golden, meta=meta)


def features_of(case: SimpleNamespace) -> list[FrameFeatures]:
    """Features of each frame; fused ones only where the case has weights for them."""
    golden, model, num_frames = case.golden, case.model, case.meta["T"]
    maps = tuple(golden[f"in.c{n}"].flatten(0, 1) for n in range(1, 5))
    fused = model.decoder(maps)
    features = FrameFeatures(maps, fused, halve(fused))
    return [features.of_frame(index, num_frames) for index in range(num_frames)]
