#!/usr/bin/env bash
# Starts a Ray cluster on the nodes of a Slurm job and runs SFPO on it; one node or several, from the repository's root:
#   sbatch --nodes=2 recipes/verl/slurm.sh model=ds-qwen-7b train_set=dapo-math
#SBATCH --job-name=sfpo
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# The first line without a pipe: `head` may close one before scontrol has written its last line, and the job would end there.
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
port=6379
# Each `ray start --block` lives until the job ends.
srun --nodes=1 --ntasks=1 -w "$head" --overlap ray start --head --node-ip-address="$head" --port=$port --block &
sleep 20
if ((SLURM_JOB_NUM_NODES > 1)); then
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" --overlap \
    ray start --address="$head:$port" --block &
  sleep 20
fi
gpus=${SLURM_GPUS_PER_NODE:-8}  # what was asked for, such as 8 or h100:8
RAY_ADDRESS="$head:$port" srun --nodes=1 --ntasks=1 -w "$head" --overlap \
  python -m verl.trainer.main_ppo --config-path "$PWD/recipes/verl" --config-name sfpo repository="$PWD" \
  trainer.nnodes="$SLURM_JOB_NUM_NODES" trainer.n_gpus_per_node="${gpus##*:}" "$@"
