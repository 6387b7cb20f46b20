#!/usr/bin/env bash
# Trains with N processes on this machine, one per GPU; without GPUs, N CPU processes.
# usage: tools/dist_train.sh CONFIG N [arguments of tools/train.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT, the same PORT everywhere.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2
shift 2
# shellcheck source=tools/torchrun.sh
source "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh"
launch "$PROCESSES" train.py "$CONFIG" "$@"
