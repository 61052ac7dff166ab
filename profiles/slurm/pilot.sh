#!/bin/bash
# One allocation that runs the workflow on its own node, over all of its devices: the better way for
# many short measurements, which would each wait in the queue and start Snakemake twice.
#
#   sbatch profiles/slurm/pilot.sh [--configfile config/examples/h200.yaml] [options of snakemake]
#
# Submit it from where the results shall be. Options of sbatch on the command line win over these:
#SBATCH --job-name=sweepmake
#SBATCH --partition=gpu
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --gpus-per-node=4
#SBATCH --time=8:00:00
#SBATCH --signal=B:INT@120
#SBATCH --output=sweepmake-%j.log
set -euo pipefail

# sbatch runs a copy of this file; Slurm knows where the original is, and with it the workflow.
script=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's|^ *Command=\(.*pilot\.sh\).*|\1|p')
root=$(cd "$SLURM_SUBMIT_DIR" && cd "$(dirname "$script")/../.." && pwd)
IFS=, read -ra devices <<< "${CUDA_VISIBLE_DEVICES:-}"
# What has not finished two minutes before the end is interrupted and stays for the next pilot. Job
# control gives the workflow a process group of its own, in which interrupts are not ignored.
set -m
"${SNAKEMAKE:-$root/.venv/bin/snakemake}" -s "$root/Snakefile" --cores "${SLURM_CPUS_ON_NODE:-all}" \
  --resources gpu="${#devices[@]}" "$@" &
workflow=$!
trap 'kill -INT -- -$workflow' INT TERM
wait "$workflow" || { code=$?; wait "$workflow" || code=$?; exit "$code"; }
