#!/usr/bin/env bash
# Tests under Slurm with one task for each GPU.
# usage: sbatch [options of sbatch] tools/slurm_test.sh CONFIG CHECKPOINT [arguments of tools/test.py]
#    or: srun [options of srun] tools/slurm_test.sh CONFIG CHECKPOINT [arguments of tools/test.py]
# Call it in the root of the repository. Options: --nodes=2 --gpus-per-node=8 --time=60 ...; see docs/distributed.md.
#SBATCH --job-name=mmav-test
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
TOOLS=$(dirname "$0")
# Slurm runs a copy of a batch script, whose place does not tell where the repository is
[ -f "$TOOLS/slurm_run.sh" ] || TOOLS=${SLURM_SUBMIT_DIR:-.}/tools
if [ ! -f "$TOOLS/slurm_run.sh" ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: call sbatch or srun in the root of the repository; without Slurm take tools/dist_test.sh" >&2
    exit 2
fi
# shellcheck source=tools/slurm_run.sh
source "$TOOLS/slurm_run.sh"

set_address
if in_task; then
    run_task "$TOOLS/test.py" "$@"
fi
compose "$TOOLS/slurm_test.sh"
exec "${COMMAND[@]}" "$@"
