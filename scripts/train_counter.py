"""Train any counter, by its name (thesis chapter 2 and its baselines). This text is the manual.

    python scripts/train_counter.py --help                          # this text, and the names
    python scripts/train_counter.py --method iocformer --help       # all options of one

Try it, less than a minute on a CPU, with synthetic images:

    python -c "from dense_hf.data import generate_miniature_set; generate_miniature_set('data/miniature')"
    python scripts/train_counter.py --method iocformer --config scripts/configs/iocformer/smoke.yaml \\
        --output_dir runs/smoke
    torchrun --standalone --nproc_per_node 2 scripts/train_counter.py ...   # 2 processes, also on a CPU

--method comes from the command line, all else from the file or the command line, which wins: the section `model` has
the fields of the method's configuration, and the recipe that holds without a file is the method's own. What
train_iocformer.py says about options, several processes, stopping and going on (--resume_from_checkpoint auto),
uploading and own images holds for every counter.

The rows of Table 2.3 are files of scripts/configs/counting; those of CSRNet, CAN, BL, NoisyCC, DM-Count, GL and KDMG
are trained with --method density_counter, those of MCNN, MAN, DSSI-Net, MPS, LCFCN and P2PNet with --method mcnn, man,
dssinet, mspsnet, lcfcn and p2pnet. They learn from crops (crop_size, crop_share) or whole images:

    accelerate launch scripts/train_counter.py --method density_counter --data_dir data/iocfish5k \\
        --config scripts/configs/counting/table_2.3_dmcount.yaml --backbone_weights vgg19.pth --output_dir runs/dmcount

A model of your own is its files and a row (`dense_hf.methods.add_method`); a script of three lines that adds the row
and then runs this one trains it. CONTRIBUTING.md tells how.

OUTPUT_DIR gets the model, its processor, README.md (the card) and results.json. evaluate_counting.py prints its row of
the tables.
"""

from dense_hf.inference.processes import closes_process_group, one_line_errors
from dense_hf.methods import COUNTING
from dense_hf.training.counting.options import parse_counting_run
from dense_hf.training.counting.run import train_counter
from dense_hf.training.run_options import take_method


@closes_process_group
@one_line_errors
def main() -> None:
    """Train with the options of the file and of the command line."""
    method, options = take_method(COUNTING, __doc__)
    train_counter(parse_counting_run(method, manual=__doc__, arguments=options))


if __name__ == "__main__":
    main()
