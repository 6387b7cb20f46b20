#!/usr/bin/env bash
# Tests with N processes on this machine, one per GPU; without GPUs, N CPU processes.
# usage: tools/dist_test.sh CONFIG CHECKPOINT N [arguments of tools/test.py]
# Several machines: set NNODES, NODE_RANK, MASTER_ADDR and PORT, the same PORT everywhere.
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
PROCESSES=$3
shift 3
# shellcheck source=tools/torchrun.sh
source "$(dirname "${BASH_SOURCE[0]}")/torchrun.sh"
launch "$PROCESSES" test.py "$CONFIG" "$CHECKPOINT" "$@"
