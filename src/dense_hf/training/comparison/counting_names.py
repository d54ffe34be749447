"""Names of the counters that are compared, for the command line: this file imports nothing that takes time."""

# name -> title in the table, and what it is
NAMES: dict[str, tuple[str, str]] = {
    "iocformer": ("IOCFormer, local readout", "points by queries that start with what is at their place"),
    "iocformer_by_density": ("IOCFormer, local readout, points by density", "its density branch says how many"),
    "iocformer_thesis": ("IOCFormer", "points by queries, as in the thesis"),
    "regression": ("IOCFormer without its density branch", "with local readout"),
    "cltr": ("CLTR", "points by queries"),
    "density_branch": ("Density branch of IOCFormer alone", "a density map that learns the count"),
    "p2pnet": ("P2PNet", "points by proposals, whose offsets are trained, too"),
    "csrnet": ("CSRNet", "dilated convolutions, adaptive Gaussians"),
    "can": ("CAN", "context of several sizes, as its authors have it"),
    "can_commissarma": ("CAN, second form", "context of several sizes, the reimplementation"),
    "bl": ("BL", "Bayesian loss"),
    "noisycc": ("NoisyCC", "annotation noise"),
    "dmcount": ("DM-Count", "distribution matching"),
    "gl": ("GL", "generalized loss"),
    "kdmg": ("KDMG", "generated kernels"),
    "mcnn": ("MCNN", "three columns, from random weights"),
    "man": ("MAN", "attention in learned regions"),
    "mps": ("MPS", "dots at four resolutions; narrow, from random weights"),
    "dssinet": ("DSSI-Net", "structural similarity; narrow, from random weights"),
    "lcfcn": ("LCFCN", "a blob on each object; narrow, from random weights"),
}
# quick ones, of each kind
DEFAULT_METHODS = ("iocformer_by_density", "cltr", "density_branch", "p2pnet", "dmcount", "bl")
