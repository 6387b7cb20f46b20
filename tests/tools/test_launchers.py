"""The launchers, with stand-ins for Slurm's programs and for Python that write down how they were called.

Processes that really train together are in tests/test_distributed.py.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.toys import ROOT

# Starts each task as srun does. It hands SIGUSR1 on to the tasks; on SIGTERM it kills them (Slurm's srun_job.c).
SRUN = r"""#!/usr/bin/env bash
echo "$*" >> "$RECORD/srun"
per_node=1
while [[ $1 == --* ]]; do
    case $1 in
        --ntasks=*) export SLURM_NTASKS=${1#*=} ;;
        --ntasks-per-node=*) per_node=${1#*=} ;;
        --cpus-per-task=*) export SLURM_CPUS_PER_TASK=${1#*=} ;;
    esac
    shift
done
tasks=()
trap 'kill -USR1 "${tasks[@]}"' USR1
trap 'kill -KILL "${tasks[@]}"' TERM
for ((i = 0; i < SLURM_NTASKS; i++)); do
    SLURM_STEP_ID=0 SLURM_PROCID=$i SLURM_LOCALID=$((i % per_node)) "$@" &
    tasks+=($!)
done
worst=0
for task in "${tasks[@]}"; do
    while :; do
        status=0
        wait "$task" || status=$?
        kill -0 "$task" 2>/dev/null || break
    done
    ((status <= worst)) || worst=$status
done
exit "$worst"
"""
SCONTROL = r"""#!/usr/bin/env bash
case "$1 $2" in
    'show hostnames') printf '%s\n' first second ;;
    'show job') echo "JobId=$3 JobName=mmav JobState=$JOB_STATE Reason=None" ;;
    *) echo "$*" >> "$RECORD/scontrol" ;;
esac
"""
# Runs a copy of the script somewhere else, as Slurm does, with its options as the allocation.
SBATCH = r"""#!/usr/bin/env bash
export SLURM_JOB_ID=12345 SLURM_JOB_NUM_NODES=1 SLURM_SUBMIT_DIR=$PWD SLURM_PROCID=0 SLURM_LOCALID=0
options=()
while [[ $1 == --* ]]; do
    options+=("$1")
    shift
done
script=$1
shift
while read -r option; do
    case $option in
        --nodes=*) export SLURM_JOB_NUM_NODES=${option#*=} SLURM_JOB_NODELIST='[first,second]' ;;
        --ntasks-per-node=*) export SLURM_NTASKS_PER_NODE=${option#*=} ;;
        --cpus-per-task=*) export SLURM_CPUS_PER_TASK=${option#*=} ;;
        --gpus-per-node=0) unset SLURM_GPUS_ON_NODE ;;
        --gpus-per-node=*) export SLURM_GPUS_ON_NODE=${option#*=} ;;
    esac
    echo "$option" >> "$RECORD/options"
done < <(sed -n 's/^#SBATCH //p' "$script"; printf '%s\n' "${options[@]}")
export SLURM_CPUS_ON_NODE=$((SLURM_NTASKS_PER_NODE * SLURM_CPUS_PER_TASK))
cp "$script" "$RECORD/slurm_script"
exec "$RECORD/slurm_script" "$@"
"""
# In place of Python. With LONG it trains until a SIGUSR1 comes, then takes a while to save.
TOOL = r"""#!/usr/bin/env bash
echo "$RANK $LOCAL_RANK $WORLD_SIZE $MASTER_ADDR:$MASTER_PORT device $SLURM_LOCALID threads $OMP_NUM_THREADS" \
    > "$RECORD/env.${RANK:-0}"
echo "$*" > "$RECORD/call.${RANK:-0}"
echo "${MMAV_CORES:-none}" > "$RECORD/cores.${RANK:-0}"
if [ -n "${LONG:-}" ]; then
    trap 'sleep 0.3; touch "$RECORD/saved.$RANK"; exit 0' USR1
    touch "$RECORD/up.$RANK"
    while :; do sleep 0.05; done
fi
exit "${STATUS:-0}"
"""


@pytest.fixture
def place(tmp_path):
    """A folder for what the stand-ins write down, with the stand-ins in bin/."""
    (tmp_path / 'bin').mkdir()
    for name, text in dict(srun=SRUN, scontrol=SCONTROL, sbatch=SBATCH, python=TOOL).items():
        path = tmp_path / 'bin' / name
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path


def environment(place: Path, **variables: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(('SLURM_', 'MASTER_', 'CUDA_', 'OMP_', 'MKL_', 'MMAV_'))
        and name not in ('PORT', 'RANK', 'PYTHON')
    }
    return dict(clean, PATH=f'{place / "bin"}:{os.environ["PATH"]}', RECORD=str(place), JOB_STATE='RUNNING') | variables


def call(place: Path, *command: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=ROOT, env=environment(place, **variables), capture_output=True, text=True, timeout=60
    )


def recorded(place: Path, name: str) -> list[str]:
    path = place / name
    return path.read_text().splitlines() if path.is_file() else []


def test_a_batch_job_trains_with_one_task_for_each_gpu_of_all_nodes(place):
    options = ['--nodes=2', '--gpus-per-node=4']
    done = call(place, 'sbatch', *options, 'tools/slurm_train.sh', 'cfg.py', '--amp')
    assert done.returncode == 0, done.stderr
    # what the script itself asks for stands before what the user asks for
    assert {'--requeue', '--signal=B:USR1@180', '--open-mode=append', *options} <= set(recorded(place, 'options'))
    (srun,) = recorded(place, 'srun')
    # 64 cores a node are for 8 GPUs: with 4, each has twice as many
    assert srun == (
        '--nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=16 --gpu-bind=none --kill-on-bad-exit=1 '
        f'{ROOT}/tools/slurm_train.sh cfg.py --amp'
    )
    for rank in range(8):
        (env,) = recorded(place, f'env.{rank}')
        assert env == f'{rank} {rank % 4} 8 first:22345 device {rank % 4} threads 16'
        (tool,) = recorded(place, f'call.{rank}')
        assert tool == f'{ROOT}/tools/train.py cfg.py --resume --amp --launcher slurm'
    assert not recorded(place, 'scontrol')  # it was not cut off


def test_without_gpus_the_tasks_are_those_that_were_asked_for(place):
    options = ['--gpus-per-node=0', '--ntasks-per-node=2', '--cpus-per-task=3']
    done = call(place, 'sbatch', *options, 'tools/slurm_test.sh', 'cfg.py', 'a.pth', PORT='4000', SRUN_ARGS='--a --b=1')
    assert done.returncode == 0, done.stderr
    (srun,) = recorded(place, 'srun')
    assert srun.startswith('--nodes=1 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=3 --gpu-bind=none ')
    assert f' --a --b=1 {ROOT}/tools/slurm_test.sh cfg.py a.pth' in srun
    assert recorded(place, 'call.1') == [f'{ROOT}/tools/test.py cfg.py a.pth --launcher slurm']
    assert recorded(place, 'env.1') == ['1 1 2 127.0.0.1:4000 device 1 threads 3']
    assert recorded(place, 'cores.1') == ['3']


def test_under_srun_the_script_is_the_task(place):
    task = dict(SLURM_JOB_ID='77', SLURM_STEP_NUM_NODES='2', SLURM_STEP_NODELIST='[first,second]')
    command = ['srun', '--ntasks=2', 'tools/slurm_train.sh', 'cfg.py', '--cfg-options', 'a=1']
    # bound to one GPU each: it is the first that a task sees
    done = call(place, *command, **task, CUDA_VISIBLE_DEVICES='5', OMP_NUM_THREADS='1')
    assert done.returncode == 0, done.stderr
    assert len(recorded(place, 'srun')) == 1
    assert recorded(place, 'call.1') == ['tools/train.py cfg.py --resume --cfg-options a=1 --launcher slurm']
    assert recorded(place, 'env.1') == ['1 0 2 first:10077 device 0 threads 1']
    assert recorded(place, 'cores.1') == ['none']  # the user's own number stands


def test_a_restarted_job_goes_on_where_it_was(place):
    command = ['sbatch', '--gpus-per-node=1', 'tools/slurm_train.sh', 'cfg.py', '--resume', 'old.pth']
    for restarts, end in (('0', ''), ('1', ' --resume')):
        assert call(place, *command, SLURM_RESTART_COUNT=restarts).returncode == 0
        (tool,) = recorded(place, 'call.0')
        assert tool.endswith(f'train.py cfg.py --resume --resume old.pth{end} --launcher slurm')  # the last one counts


@pytest.mark.parametrize(
    ('number', 'state', 'requeued'),
    [(signal.SIGUSR1, 'RUNNING', True), (signal.SIGTERM, 'RUNNING', True), (signal.SIGTERM, 'CANCELLED', False)],
    ids=['time limit', 'preempted', 'cancelled'],
)
def test_a_signal_lets_the_training_save_and_puts_the_job_back(number, state, requeued, place):
    command = ['sbatch', '--gpus-per-node=2', 'tools/slurm_train.sh', 'cfg.py']
    env = environment(place, LONG='1', JOB_STATE=state)
    # the fake sbatch becomes the batch script
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as job:
        wait_for(place / 'up.0', place / 'up.1')
        job.send_signal(number)
        errors = job.communicate(timeout=30)[1]
    assert job.returncode == 0, errors
    assert (place / 'saved.0').exists() and (place / 'saved.1').exists()
    assert recorded(place, 'scontrol') == (['requeue 12345'] if requeued else [])
    assert ('goes back into the queue' if requeued else 'not requeued') in errors


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, f'waited in vain for {paths}'
        time.sleep(0.02)


def test_training_that_fails_by_itself_is_not_put_back(place):
    done = call(place, 'sbatch', '--gpus-per-node=2', 'tools/slurm_train.sh', 'cfg.py', STATUS='2')
    assert done.returncode == 2 and not recorded(place, 'scontrol')


def test_torchrun_on_one_machine_looks_for_a_free_port(place):
    assert call(place, 'tools/dist_train.sh', 'cfg.py', '2', '--amp', OMP_NUM_THREADS='3').returncode == 0
    (torchrun,) = recorded(place, 'call.0')
    assert torchrun == (
        '-m torch.distributed.run --nnodes 1 --nproc_per_node 2 --standalone tools/train.py cfg.py --amp '
        '--launcher pytorch'
    )
    assert recorded(place, 'env.0')[0].endswith('threads 3')
    call(place, 'tools/dist_test.sh', 'cfg.py', 'a.pth', '999')
    assert recorded(place, 'env.0')[0].endswith('threads 1')  # there are not so many cores
    call(place, 'tools/dist_test.sh', 'cfg.py', 'a.pth', '2', PORT='4000')
    (torchrun,) = recorded(place, 'call.0')
    assert torchrun == (
        '-m torch.distributed.run --nnodes 1 --nproc_per_node 2 --node_rank 0 --master_addr 127.0.0.1 '
        '--master_port 4000 tools/test.py cfg.py a.pth --launcher pytorch'
    )


def test_torchrun_on_several_machines(place):
    nodes = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='10.0.0.1')
    assert call(place, 'tools/dist_train.sh', 'cfg.py', '8', **nodes).returncode == 0
    assert recorded(place, 'call.0')[0].startswith(
        '-m torch.distributed.run --nnodes 2 --nproc_per_node 8 --node_rank 1 --master_addr 10.0.0.1 '
        '--master_port 29500'
    )


MISTAKES = dict(
    slurm_train=('tools/slurm_train.sh', {}, 'usage: sbatch [options of sbatch] tools/slurm_train.sh CONFIG'),
    slurm_test=('tools/slurm_test.sh cfg.py', {}, 'usage: sbatch [options of sbatch] tools/slurm_test.sh CONFIG CHECK'),
    dist_train=('tools/dist_train.sh cfg.py', {}, 'usage: tools/dist_train.sh CONFIG N'),
    dist_test=('tools/dist_test.sh cfg.py a.pth', {}, 'usage: tools/dist_test.sh CONFIG CHECKPOINT N'),
    no_slurm=('tools/slurm_train.sh cfg.py', {}, 'without Slurm take tools/dist_train.sh'),
    no_slurm_test=('tools/slurm_test.sh cfg.py a.pth', {}, 'without Slurm take tools/dist_test.sh'),
    not_a_number=(
        'tools/dist_train.sh cfg.py --amp',
        {},
        "N must be the number of processes on this machine, got '--a",
    ),
    which_node=('tools/dist_train.sh cfg.py 2', dict(NNODES='2', MASTER_ADDR='a'), 'NNODES=2 needs NODE_RANK'),
    where=('tools/dist_train.sh cfg.py 2', dict(NNODES='2', NODE_RANK='0'), 'NNODES=2 needs NODE_RANK'),
)


@pytest.mark.parametrize(('command', 'variables', 'message'), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told(command, variables, message, place):
    done = call(place, *command.split(), **variables)
    assert done.returncode == 2 and message in done.stderr and not recorded(place, 'call.0')


def test_a_port_in_use_is_told_where_it_would_be_opened(place):
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        port = str(other.getsockname()[1])
        nodes = dict(PORT=port, NNODES='2', MASTER_ADDR='127.0.0.1')
        for variables in (dict(PORT=port), dict(nodes, NODE_RANK='0')):
            done = call(place, 'tools/dist_train.sh', 'cfg.py', '2', **variables)
            assert done.returncode == 2 and not recorded(place, 'call.0')
            assert done.stderr.startswith(f'error: port {port} of this machine is in use: set PORT to another one')
            assert done.stderr.count('\n') == 1
        # the second machine joins what the first one opened
        assert call(place, 'tools/dist_train.sh', 'cfg.py', '2', **nodes, NODE_RANK='1').returncode == 0
    assert call(place, 'tools/dist_train.sh', 'cfg.py', '2', PORT=port).returncode == 0


def test_sbatch_outside_the_repository_is_told(place):
    script = place / 'elsewhere.sh'
    script.write_text((ROOT / 'tools' / 'slurm_train.sh').read_text())
    done = subprocess.run(
        ['bash', script, 'cfg.py'], cwd=place, env=environment(place, SLURM_JOB_ID='1', SLURM_SUBMIT_DIR=str(place)),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and 'in the root of the repository' in done.stderr
