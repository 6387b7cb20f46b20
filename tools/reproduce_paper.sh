#!/usr/bin/env bash
# Runs all rows of the paper's Tables 2 to 5 on a dataset and writes the tables beside the paper's figures.
# usage: tools/reproduce_paper.sh DATASET [options]
# DATASET: vggsound, kinetics_sounds, epic_kitchens or all; --help lists the options. All of it on made clips, on a CPU:
# tools/reproduce_paper.sh all --miniature
set -euo pipefail
if [ $# -lt 1 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/analysis_tools/reproduce_paper.py" "$@"
