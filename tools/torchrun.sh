# shellcheck shell=bash
# Sourced by dist_train.sh and dist_test.sh: starts a tool under torchrun.

# launch PROCESSES TOOL ARGUMENTS...
launch() {
    local processes=$1 tool
    tool=$(dirname "${BASH_SOURCE[0]}")/$2
    shift 2
    if ! [[ $processes =~ ^[1-9][0-9]*$ ]]; then
        echo "error: N must be the number of processes on this machine, got '$processes'" >&2
        exit 2
    fi
    local nodes=${NNODES:-1}
    local rendezvous
    if [ "$nodes" = 1 ] && [ -z "${PORT:-}" ]; then
        # torchrun looks for a free port itself, so that two jobs on one machine do not collide
        rendezvous=(--standalone)
    else
        if [ "$nodes" != 1 ] && { [ -z "${NODE_RANK:-}" ] || [ -z "${MASTER_ADDR:-}" ]; }; then
            # with a default, every machine would wait for itself
            echo "error: NNODES=$nodes needs NODE_RANK (0 on the first machine, 1 on the next, ...) and MASTER_ADDR" \
                "(the first machine's address)" >&2
            exit 2
        fi
        # torchrun answers a port in use with many lines; (...) as the redirection closes the shell where it fails
        if [ "${NODE_RANK:-0}" = 0 ] && (: <"/dev/tcp/127.0.0.1/${PORT:-29500}") 2>/dev/null; then
            echo "error: port ${PORT:-29500} of this machine is in use: set PORT to another one, the same on every" \
                "machine" >&2
            exit 2
        fi
        rendezvous=(--node_rank "${NODE_RANK:-0}" --master_addr "${MASTER_ADDR:-127.0.0.1}" --master_port "${PORT:-29500}")
    fi
    # as many threads a process as there are cores for it, at least one
    local cores
    cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
    local threads=$((cores / processes > 0 ? cores / processes : 1))
    if [ -z "${OMP_NUM_THREADS:-}${MKL_NUM_THREADS:-}" ]; then
        # torchrun would set one thread; the tool takes those cores that its data workers leave
        export MMAV_CORES=$threads
    fi
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$threads} MKL_NUM_THREADS=${MKL_NUM_THREADS:-$threads}
    exec "${PYTHON:-python}" -m torch.distributed.run --nnodes "$nodes" --nproc_per_node "$processes" \
        "${rendezvous[@]}" "$tool" "$@" --launcher pytorch
}
