"""How long a training step takes on a CPU that is shared with other processes, with settings of the compute threads.

Threads wait for each other after each operation. OpenMP's threads spin meanwhile: that is fastest if each has its own
core, but on a shared core they waste the time of the thread that they wait for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor
from tqdm import tqdm

from benchmarks.measure import TimedPass, quartiles, ratio
from mmav.config.reading import load_config
from mmav.errors import ConfigError, MmavError
from mmav.models.backbones.base import input_shape
from mmav.registry import MODELS
from mmav.tables import markdown_table
from mmav.threads import CORES, COUNTS, WAITING

# what controls threads; a setting is measured without those that it does not name
VARIABLES = (*COUNTS, *WAITING, CORES)


def measure_contention(
    config: str, settings: Sequence[str], *, busy: int = 2, batch_size: int = 16, rounds: int = 7, steps: int = 3
) -> list[dict[str, Any]]:
    """Times forward pass, backward pass and fused AdamW with each setting, on an idle machine and beside busy loops.

    Each setting has its own process, which sleeps while others are timed; they take turns in each round.

    Args:
        config: Config file of an :class:`~mmav.models.AVClassifier` for one label per clip.
        settings: Environment variables, joined by commas, such as ``GOMP_SPINCOUNT=0,OMP_NUM_THREADS=2``; ``default``
            for none. The others are compared with the first.
        busy: Number of busy loops.
        batch_size: Clips per step.
        rounds: How often each setting is timed, after a warm-up round.
        steps: Steps per round, whose mean counts.

    Returns:
        For each number of loops, 0 and ``busy``, and each setting: ``busy``, ``setting``, ``threads``, ``seconds``
        (median and quartiles) and ``ratio`` to the first setting within the rounds.

    Raises:
        ConfigError: A setting is not of that form.
        MmavError: A process failed.
    """
    environments = [_environment(setting) for setting in settings]
    results = []
    with ExitStack() as stack:
        steppers = [stack.enter_context(_stepper(config, batch_size, one)) for one in environments]
        for loops in (0, busy):
            with busy_loops(loops):
                times: list[list[float]] = [[] for _ in steppers]
                for number in tqdm(range(rounds + 1), desc=f'{loops} busy loops', unit='round'):
                    for seconds, stepper in zip(times, steppers, strict=True):
                        answer = _ask(stepper, steps)
                        if number:
                            seconds.append(answer['seconds'])
            for setting, seconds, stepper in zip(settings, times, steppers, strict=True):
                found = dict(seconds=quartiles(seconds), ratio=ratio(seconds, times[0]))
                results.append(dict(busy=loops, setting=setting, threads=_ask(stepper, 0)['threads'], **found))
    return results


def contention_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of what :func:`measure_contention` found, one row per setting and number of loops."""
    rows = [['busy loops', 'setting', 'threads', 'step, median (quartiles)', 'to the first (quartiles)']]
    for result in results:
        spread = [
            f'{values["median"] * unit:{form}} ({values["low"] * unit:{form}} to {values["high"] * unit:{form}}){name}'
            for values, unit, form, name in ((result['seconds'], 1e3, '.0f', ' ms'), (result['ratio'], 1, '.2f', ''))
        ]
        rows.append([str(result['busy']), result['setting'], str(result['threads']), *spread])
    return markdown_table(rows)


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Processes that loop forever while the body runs."""
    loops = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _environment(setting: str) -> dict[str, str]:
    pairs = [] if setting == 'default' else [word.partition('=') for word in setting.split(',')]
    wrong = [name for name, equals, _ in pairs if not equals or name not in VARIABLES]
    if wrong:
        raise ConfigError(
            f"setting {setting!r}: give 'default' or NAME=VALUE, joined by commas, of {', '.join(VARIABLES)}"
        )
    rest = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return rest | {name: value for name, _, value in pairs}


@contextmanager
def _stepper(config: str, batch_size: int, environment: Mapping[str, str]) -> Iterator[subprocess.Popen]:
    command = [sys.executable, '-m', 'benchmarks.contention', config, str(batch_size)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, env=dict(environment), **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _ask(stepper: subprocess.Popen, steps: int) -> dict[str, Any]:
    assert stepper.stdin is not None and stepper.stdout is not None
    try:
        stepper.stdin.write(f'{steps}\n')
        stepper.stdin.flush()
        answer = stepper.stdout.readline()
    except BrokenPipeError:
        answer = ''
    if not answer:
        raise MmavError('a process that was to be timed has failed; its own message stands above')
    return json.loads(answer)


def _serve(config: str, batch_size: int) -> None:
    """Runs as many steps as each line of the standard input says, and answers with their mean time."""
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)  # answers must not mix with what else is printed
    init_default_scope('mmav')
    cfg = load_config(config).model
    model = MODELS.build(dict(cfg, head=dict(type='ClsHead', num_classes=2))).train()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    inputs = {name: torch.randn(batch_size, 1, *input_shape(backbone)) for name, backbone in model.backbones.items()}
    labels = dict(label=torch.arange(batch_size) % 2)

    def loss() -> Tensor:
        return sum(loss for name, loss in model.losses(inputs, labels, labels).items() if 'loss' in name)

    step = TimedPass(loss, 'step', [model], inputs=list(inputs.values()), optimizer=optimizer)
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            step()
            step.drop_gradients()
        seconds = (time.perf_counter() - begin) / max(int(line), 1)
        print(json.dumps(dict(seconds=seconds, threads=torch.get_num_threads())), file=answers, flush=True)


if __name__ == '__main__':
    _serve(sys.argv[1], int(sys.argv[2]))
