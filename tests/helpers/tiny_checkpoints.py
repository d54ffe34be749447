"""A small checkpoint of each model, with its processor and the tasks of its pipelines."""

import torch
from tiny_cffm import tiny_model as tiny_cffm
from tiny_cffm_plus import tiny_plus
from tiny_deeplab import tiny_segmenter
from tiny_iocformer import tiny_model as tiny_iocformer
from tiny_mcis import tiny_model as tiny_mcis
from tiny_mrcfa import tiny_model as tiny_mrcfa
from tiny_video import TINY_ENCODER
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from dense_hf import CFFMImageProcessor, IOCFormerImageProcessor, MCISImageProcessor, MRCFAImageProcessor
from dense_hf.weak_segmentation import DeepLabLargeFOVImageProcessor

FRAME = {"shortest_edge": 64, "longest_edge": 96}


def tiny_segformer() -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=5, decoder_hidden_size=16, **TINY_ENCODER))


# model, processor, tasks of its pipelines separated by commas; a new model is one line
CHECKPOINTS = {
    "iocformer": (tiny_iocformer, IOCFormerImageProcessor(tile_size=32), "object-counting"),
    "cffm": (tiny_cffm, CFFMImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "cffm_plus": (tiny_plus, CFFMImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "mrcfa": (tiny_mrcfa, MRCFAImageProcessor(size=FRAME), "video-semantic-segmentation"),
    "mcis": (
        tiny_mcis,
        MCISImageProcessor(size={"height": 64, "width": 64}),
        "weakly-supervised-segmentation,image-classification",
    ),
    "deeplab": (tiny_segmenter, DeepLabLargeFOVImageProcessor(), "image-segmentation"),
    "segformer": (tiny_segformer, SegformerImageProcessor(size={"height": 64, "width": 64}), "image-segmentation"),
}
