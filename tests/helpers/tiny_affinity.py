"""An AffinityNet small enough for tests, and a ResNet-38 of all its layers with two channels in the first."""

import torch
from torch import nn

from dense_hf.weak_segmentation.configuration_affinity_net import AffinityNetConfig
from dense_hf.weak_segmentation.modeling_affinity_net import AffinityNetModel

TINY_RESNET38 = {"model_type": "resnet38", "width": 2}
# the part `refinement` of a tiny run
SECTIONS = {
    "labels": {"high_power": 16, "crf": False},
    "model": {
        "backbone_config": None,
        "vgg_hidden_sizes": [4, 4, 6, 8],
        "projection_sizes": [3, 4, 5],
        "radius": 3,
    },
    "data": {"crop_size": 48, "image_cache_size": 100},
    "training": {
        "per_device_train_batch_size": 2,
        "learning_rate": 0.01,
        "num_train_epochs": 2,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 99,
        "logging_steps": 1,
        "disable_tqdm": True,
    },
    "walk": {"num_steps": 3},
}


def tiny_affinity_config(**fields) -> AffinityNetConfig:
    return AffinityNetConfig(
        **({"backbone_config": dict(TINY_RESNET38), "projection_sizes": [3, 4, 5], "radius": 3} | fields)
    )


def tiny_affinity_net(seed: int = 0, **fields) -> AffinityNetModel:
    torch.manual_seed(seed)
    return AffinityNetModel(tiny_affinity_config(**fields)).eval()


def randomise_norms(module: nn.Module, seed: int = 0) -> None:
    """Statistics and factors as if something had been learned, of batch norms frozen or not."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if hasattr(part, "running_var"):
                for name, low in (("weight", 0.5), ("bias", -0.1), ("running_mean", -0.1), ("running_var", 0.5)):
                    values = getattr(part, name)
                    values.copy_(low + torch.rand(values.shape, generator=generator))
