"""Names of the ways from image labels to masks that are compared, for the command line: no import that takes time."""

# name -> title in the table, and what it is
NAMES: dict[str, tuple[str, str]] = {
    "basic": ("Basic classifier, single-round", "class maps of a classifier that sees each picture alone"),
    "basic_scaled": (
        "Basic classifier, scaled features",
        "the same with feature_scale, which is known for the weights of the package; with others it is basic",
    ),
    "co_attention": ("Co-attention, multi-round", "without the contrastive loss; maps of what pictures share"),
    "mcis": ("MCIS, single-round", "the full classifier; maps of each picture alone"),
    "mcis_multi": ("MCIS, multi-round", "the classifier of mcis; maps of what pictures share"),
    "mcis_contrastive_maps": ("MCIS, multi-round, contrastive maps too", "the classifier of mcis; both kinds of maps"),
    "mcis_scaled": ("MCIS, scaled features, single-round", "the full classifier with feature_scale"),
    "mcis_scaled_multi": ("MCIS, scaled features, multi-round", "the classifier of mcis_scaled"),
    "mcis_cosine": ("MCIS, cosine, single-round", "affinity=cosine, affinity_scale=20, feature_scale"),
    "mcis_cosine_multi": ("MCIS, cosine, multi-round", "the classifier of mcis_cosine"),
    "mcis_gate": ("MCIS, gate, single-round", "co_attention_gate=similarity"),
    "mcis_gate_multi": ("MCIS, gate, multi-round", "the classifier of mcis_gate"),
    "mcis_cosine_gate": ("MCIS, cosine and gate, single-round", "mcis_cosine with co_attention_gate=similarity"),
    "mcis_cosine_gate_multi": ("MCIS, cosine and gate, multi-round", "the classifier of mcis_cosine_gate"),
    "mcis_one_head": (
        "MCIS, cosine and one head, single-round",
        "one layer makes all class maps, as in the thesis: shared_class_head, affinity_scale=100, else mcis_cosine",
    ),
    "mcis_one_head_multi": ("MCIS, cosine and one head, multi-round", "the classifier of mcis_one_head"),
}
# basic_scaled has the features of mcis_one_head: without it those would be taken for what comparing pictures gains
DEFAULT_METHODS = (
    "basic",
    "basic_scaled",
    "co_attention",
    "mcis",
    "mcis_multi",
    "mcis_one_head",
    "mcis_one_head_multi",
)
# rows that make other maps with the classifier of another row: they need that one
BASES = {
    "mcis_multi": "mcis",
    "mcis_contrastive_maps": "mcis",
    "mcis_scaled_multi": "mcis_scaled",
    "mcis_cosine_multi": "mcis_cosine",
    "mcis_gate_multi": "mcis_gate",
    "mcis_cosine_gate_multi": "mcis_cosine_gate",
    "mcis_one_head_multi": "mcis_one_head",
}
