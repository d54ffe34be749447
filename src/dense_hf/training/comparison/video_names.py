"""Names of the video models that are compared, for the command line: this file imports nothing that takes time."""

# name -> title in the table, and what it is
NAMES: dict[str, tuple[str, str]] = {
    "per_frame": ("Per frame", "the decoder of CFFM, each frame alone"),
    "per_frame_mean3": ("Per frame, mean of 3", "the model above; probabilities of the last three frames averaged"),
    "static": ("CFFM, static contexts", "the target in the place of its references: as many parameters, no memory"),
    "static_mean3": ("CFFM, static contexts, mean of 3", "the model above; probabilities averaged likewise"),
    "cffm": ("CFFM", "cross-frame feature mining"),
    "cffm_plus": ("CFFM++", "a branch on top of the row cffm, which learns as long again; sees all of a video first"),
    "mrcfa": ("MRCFA", "relations of cross-frame affinities"),
    "mrcfa_together": ("MRCFA, affinities together", "affinity_norm=reference, affinity_scale=4"),
    "mrcfa_ref16": ("MRCFA, finer references", "reference_stride=16"),
    "pspnet": ("PSPNet", "pyramid pooling, each frame alone; backbone at stride 8"),
    "ocrnet": ("OCRNet", "object contexts, each frame alone; backbone at stride 8"),
    "tcb_ppm": ("TCB, PPM", "temporal context blending by pyramid pooling; backbone at stride 8"),
    "tcb_ocr": ("TCB, OCR", "temporal context blending by object contexts; backbone at stride 8"),
    "upernet": ("UperNet of transformers", "a pyramid of poolings and maps, each frame alone"),
    "deeplabv3plus": (
        "DeepLabv3+ of segmentation_models_pytorch",
        "atrous poolings and a decoder, each frame alone; backbone at stride 16",
    ),
    "netwarp": ("NetWarp", "features moved along the flow of torchvision's RAFT, whose weights are downloaded"),
    "netwarp_dis": ("NetWarp, DIS flow", "the same along OpenCV's flow, which has no weights; needs dense_hf[flow]"),
}
DEFAULT_METHODS = ("per_frame", "per_frame_mean3", "static", "static_mean3", "cffm", "mrcfa")
# rows that learn nothing of their own, or go on from another: they need that one
BASES = {"per_frame_mean3": "per_frame", "static_mean3": "static", "cffm_plus": "cffm"}
