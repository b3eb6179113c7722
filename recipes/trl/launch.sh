#!/usr/bin/env bash
# Runs a TRL recipe on one node of eight GPUs: RECIPE [ENGINE [further options of sfpo train]]. ENGINE is the name of a file
# in recipes/accelerate:
#   recipes/trl/launch.sh ds-qwen-1.5b-dapo-math fsdp2
# Rollouts share the training's GPUs. With SERVER=HOST they come from a vLLM server instead, which you start on other GPUs with
#   trl vllm-serve --model MODEL --data_parallel_size GPUS
set -euo pipefail
cd "$(dirname "$0")/../.."
recipe=${1:?which recipe? the name of a file in recipes/trl without .yaml}
engine=${2:-fsdp2}
rollouts=()
if [[ -n ${SERVER:-} ]]; then
  rollouts=(--vllm_mode server --vllm_server_host "$SERVER")
fi
exec accelerate launch --config_file "recipes/accelerate/$engine.yaml" --num_processes "${GPUS:-8}" \
  -m sfpo.cli train --config "recipes/trl/$recipe.yaml" "${rollouts[@]}" "${@:3}"
