#!/usr/bin/env bash
# Trains under Slurm with one task for each GPU; a job that its time limit cuts off goes on by itself.
# usage: sbatch [options of sbatch] tools/slurm_train.sh CONFIG [arguments of tools/train.py]
#    or: srun [options of srun] tools/slurm_train.sh CONFIG [arguments of tools/train.py]
# Call it in the root of the repository. Options: --nodes=2 --gpus-per-node=8 --time=1-0 ...; see docs/distributed.md.
#SBATCH --job-name=mmav
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@180
set -euo pipefail
if [ $# -lt 1 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
TOOLS=$(dirname "$0")
# Slurm runs a copy of a batch script, whose place does not tell where the repository is
[ -f "$TOOLS/slurm_run.sh" ] || TOOLS=${SLURM_SUBMIT_DIR:-.}/tools
if [ ! -f "$TOOLS/slurm_run.sh" ] || [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "error: call sbatch or srun in the root of the repository; without Slurm take tools/dist_train.sh" >&2
    exit 2
fi
# shellcheck source=tools/slurm_run.sh
source "$TOOLS/slurm_run.sh"

set_address
if in_task; then
    CONFIG=$1
    shift
    if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then
        # goes on where it was, also if it was once started with --resume CKPT
        set -- "$@" --resume
    fi
    run_task "$TOOLS/train.py" "$CONFIG" --resume "$@"
fi
compose "$TOOLS/slurm_train.sh"
run_requeued "${COMMAND[@]}" "$@"
