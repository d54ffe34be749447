"""A CFFM and a SegFormer that train in milliseconds, as sections of a configuration file."""

import copy

ENCODER = {
    "hidden_sizes": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 1, 2, 2],
    "mlp_ratios": [2, 2, 2, 2],
}
CFFM = {"encoder_config": ENCODER, "decoder_hidden_size": 16, "num_mining_layers": 1, "num_attention_heads": 2}
SEGFORMER = {**ENCODER, "decoder_hidden_size": 16}
DATA = {
    "scale": [48, 36],
    "crop_size": [32, 32],
    "test_scale": [48, 36],
    "samples_per_video": 4,
    "frame_cache_size": 60,
}
TRAINING = {
    "per_device_train_batch_size": 2,
    "learning_rate": 1.0e-3,
    "max_steps": 6,
    "warmup_steps": 2,
    "save_steps": 1,
    "save_total_limit": 99,
    "logging_steps": 1,
    "disable_tqdm": True,
}
# words that make two steps of any file of scripts/configs
SHORT = ["--max_steps", "2", "--save_steps", "2", "--crop_size", "32", "32", "--scale", "48", "36"]
SHORT += ["--test_scale", "48", "36", "--samples_per_video", "4", "--disable_tqdm", "true", "--report_to", "none"]


def sections(method: str, data_dir: object, **training) -> dict[str, dict]:
    """What a YAML file of a tiny run says."""
    model = {"cffm": CFFM, "segformer": SEGFORMER}[method]
    return copy.deepcopy(
        {
            "model": model,
            "data": {**DATA, "data_dir": str(data_dir)},
            "training": {**TRAINING, **training},
        }
    )
