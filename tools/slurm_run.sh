# shellcheck shell=bash
# Sourced by slurm_train.sh and slurm_test.sh: starts a tool under Slurm, one task for each GPU.
#
# Not torchrun on each node: srun hands signals to the tasks themselves, at once, and returns their status. Torchrun
# dies of SIGUSR1, kills its workers 30 s after a SIGTERM, and fails even if they have saved and ended well.

# Whether this is one of the tasks that srun has started, not the batch script or a shell on a login node.
in_task() {
    [ -n "${SLURM_STEP_ID:-}" ] && [ -n "${SLURM_PROCID:-}" ]
}

# Sets where the processes meet: the first node, and a port of this job's own, below those that the system gives away.
set_address() {
    local nodes=${SLURM_STEP_NUM_NODES:-${SLURM_JOB_NUM_NODES:-1}}
    if [ -z "${MASTER_ADDR:-}" ]; then
        MASTER_ADDR=127.0.0.1
        if [ "$nodes" != 1 ]; then
            read -r MASTER_ADDR < <(scontrol show hostnames "${SLURM_STEP_NODELIST:-$SLURM_JOB_NODELIST}")
        fi
    fi
    MASTER_PORT=${MASTER_PORT:-${PORT:-$((10000 + SLURM_JOB_ID % 20000))}}
    export MASTER_ADDR MASTER_PORT
}

# run_task TOOL ARGUMENTS...: becomes one process of the training or testing.
run_task() {
    # what the tool reads before it joins the others, to tell whose error a line is
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    if [[ ${CUDA_VISIBLE_DEVICES:-,} != *,* ]]; then
        # bound to one GPU, which is the first of those that this task sees
        export SLURM_LOCALID=0
    fi
    if [ -z "${OMP_NUM_THREADS:-}${MKL_NUM_THREADS:-}" ]; then
        # the tool takes those cores that its data workers leave
        export MMAV_CORES=${SLURM_CPUS_PER_TASK:-1}
    fi
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
    exec "${PYTHON:-python}" "$@" --launcher slurm
}

# compose SCRIPT: sets COMMAND to the srun command that runs SCRIPT as the tasks of this allocation.
compose() {
    local nodes=${SLURM_JOB_NUM_NODES:-1} tasks=${SLURM_GPUS_ON_NODE:-${SLURM_NTASKS_PER_NODE:-1}} cpus=
    if [ "$tasks" = "${SLURM_NTASKS_PER_NODE:-}" ] && [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
        cpus=$SLURM_CPUS_PER_TASK
    elif [ -n "${SLURM_CPUS_ON_NODE:-}" ]; then
        cpus=$((SLURM_CPUS_ON_NODE / tasks > 0 ? SLURM_CPUS_ON_NODE / tasks : 1))
    fi
    # A task sees all GPUs of its node and takes the one of its number. Where one task fails the others end, too.
    COMMAND=(srun "--nodes=$nodes" "--ntasks=$((nodes * tasks))" "--ntasks-per-node=$tasks"
        ${cpus:+"--cpus-per-task=$cpus"} --gpu-bind=none --kill-on-bad-exit=1)
    # shellcheck disable=SC2206 # several words
    COMMAND+=(${SRUN_ARGS:-} "$1")
}

# run_requeued COMMAND...: runs it to its end. Where a signal cuts it off it is told, and when it has ended the job goes
# back into the queue, unless somebody has cancelled it or Slurm has put it back itself.
run_requeued() {
    local step='' status signalled='' interrupted
    # As SIGUSR1 also where SIGTERM came: on SIGTERM srun kills its tasks, which could save nothing.
    trap 'signalled=1 interrupted=1; kill -USR1 "$step" 2>/dev/null || true' USR1 TERM
    "$@" &
    step=$!
    while :; do
        interrupted='' status=0
        wait "$step" || status=$?
        # a signal ends the waiting, not what is waited for
        [ -n "$interrupted" ] || break
    done
    trap - USR1 TERM
    if [ -z "$signalled" ]; then
        return "$status"
    fi
    if [[ $(scontrol show job "$SLURM_JOB_ID") != *JobState=RUNNING* ]]; then
        echo "job $SLURM_JOB_ID was cancelled, or put back by Slurm itself: not requeued" >&2
        return "$status"
    fi
    echo "job $SLURM_JOB_ID was cut off and goes back into the queue, to go on from its last checkpoint" >&2
    scontrol requeue "$SLURM_JOB_ID"
}
