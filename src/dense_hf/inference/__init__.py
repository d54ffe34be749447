"""Running a trained model over a data set: loading, shares of processes, result folders, evaluation, outputs."""
