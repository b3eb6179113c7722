#!/usr/bin/env bash
# Submits an SFPO run to a running Ray cluster (`ray start --head` starts one with a single node):
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 NODES=2 recipes/verl/ray_job.sh model=ds-qwen-7b train_set=dapo-math
# The repository must have the same path on every node, and Ray's environment needs `pip install 'sfpo[verl]'`.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec ray job submit --address "${RAY_API_SERVER_ADDRESS:-http://127.0.0.1:8265}" -- \
  python -m verl.trainer.main_ppo --config-path "$PWD/recipes/verl" --config-name sfpo repository="$PWD" \
  trainer.nnodes="${NODES:-1}" trainer.n_gpus_per_node="${GPUS_PER_NODE:-8}" "$@"
