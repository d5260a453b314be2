"""Training in several processes: launcher, process group, signals, Slurm."""
