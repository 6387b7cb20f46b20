"""What ``tools/analysis_tools/check_gpu.py`` measures, section by section, at full size or in miniature.

The miniature runs the same code on a CPU, so that no code runs for the first time on expensive hardware.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.attention import measure_attention
from benchmarks.gpu.processes import Report
from benchmarks.gpu.scale import FULL, HALF, Encoders, Scale
from benchmarks.gpu.training import make_data, read_training, train, training_options
from benchmarks.machine import matmul_peak, place
from benchmarks.model import own_dtype
from benchmarks.peer_memory import add_ratios, measure_memory
from benchmarks.peer_timing import compare
from benchmarks.peers import Case, require_peers
from benchmarks.sdpa_calls import taken_backend
from mmav.config.reading import load_config
from mmav.engine.memory.plan import plan_step
from mmav.engine.precision import DTYPES
from mmav.models.ops.attention import usable_forms
from mmav.models.ops.sdpa_backends import BACKENDS, expected_backend
from mmav.threads import cpu_count

# forms of attention that are measured last, as they compile for each size
_LAST = ('flex',)
_RESULT = '(PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)'
# how pytest -v reports a test: alone, and with parallel processes, which report its beginning in a line of its own
_ENDED = re.compile(rf'^(\S+::.*?) {_RESULT}\b|^\[gw\d+\] \[ *\d+%\] {_RESULT} (\S+::.*?) *$', re.MULTILINE)
_BEGUN = re.compile(rf'^(\S+::(?:(?! {_RESULT}).)*?) *$', re.MULTILINE)
_REASON = re.compile(r'^(?:FAILED|ERROR) (\S+\.py.*?)(?: - (.*))?$', re.MULTILINE)


def check_machine(report: Report, scale: Scale) -> None:
    """Properties of the GPU and PyTorch, the machine's peak, and the kernels of attention that run."""
    report.put(where=place(scale.device), torch=torch.__version__, cuda=torch.version.cuda)
    if scale.device == 'cuda':
        properties = torch.cuda.get_device_properties(0)
        report.put(
            memory=properties.total_memory,
            capability='.'.join(map(str, torch.cuda.get_device_capability())),
            multiprocessors=properties.multi_processor_count,
            cudnn=torch.backends.cudnn.version(),
        )
    kernels = {}
    for dtype in (HALF, FULL):
        # MViTv2's heads; folded for clips of 16 frames; the same with padded v
        for heads, widths in {'96': (96, 96), 'q and k 120, v 96': (120, 96), '120': (120, 120)}.items():
            what = f'{dtype}, {heads}'
            kernels[what] = report.part(f'kernels for {what}', partial(sdpa_kernels, scale.device, dtype, *widths))
    report.put(kernels=kernels)
    peaks = {
        dtype: report.part(
            f'peak in {dtype}', partial(matmul_peak, scale.device, DTYPES[dtype], sizes=scale.peak_sizes)
        )
        for dtype in (HALF, FULL)
    }
    report.put(peaks=peaks)


def sdpa_kernels(device: str, dtype: str, q_width: int, v_width: int) -> dict[str, Any]:
    """The kernels of ``scaled_dot_product_attention`` for heads of these widths.

    Returns:
        ``taken`` (PyTorch's choice), ``expected`` (the choice by our rules; None on a CPU, which has other rules) and
        ``run`` (all that run, forward and backward).

    >>> sdpa_kernels('cpu', 'float32', 96, 96)['taken']
    'flash'
    """
    q, k, v = (
        torch.randn(1, 2, 64, width, device=device, dtype=DTYPES[dtype], requires_grad=True)
        for width in (q_width, q_width, v_width)
    )
    gpu = device == 'cuda'
    expected = expected_backend(q, k, v, capability=torch.cuda.get_device_capability()) if gpu else None
    run = []
    for name in BACKENDS:
        with suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # PyTorch says why a kernel cannot run
            with sdpa_kernel(getattr(SDPBackend, 'MATH' if name == 'math' else f'{name.upper()}_ATTENTION')):
                F.scaled_dot_product_attention(q, k, v).sum().backward()
            run.append(name)
    return dict(taken=taken_backend(q, k, v), expected=expected, run=run)


def run_tests(report: Report, scale: Scale) -> None:
    """The tests that need a GPU, in a pytest process that imports only the files with such tests."""
    marker = 'mark.gpu'
    files = sorted(path for path in scale.tests.rglob('test_*.py') if marker in path.read_text(encoding='utf-8'))
    if not files:
        report.fail('pytest', f'no file below {scale.tests} has a test with {marker}')
        return
    log = report.scratch / 'pytest.log'
    options = ['-m', 'gpu', '-v', '--tb=short', '-p', 'no:cacheprovider', '-p', 'no:schemathesis']
    options.append('--continue-on-collection-errors')
    processes = min(scale.test_processes, cpu_count())
    if processes > 1 and find_spec('xdist') is not None:
        options += ['-n', str(processes), '--dist', 'worksteal']
    command = [sys.executable, '-m', 'pytest', *options, *map(str, files)]
    status = report.part('pytest', partial(_run_logged, command, scale.tests.parent, log))
    text = log.read_text(encoding='utf-8', errors='replace') if log.is_file() else ''
    print(text)
    found = read_pytest(text)
    for name in found['unfinished']:
        report.fail(name, 'came to no end')
    report.put(**found, files=[str(path.relative_to(scale.tests.parent)) for path in files])
    for name in found['failed']:
        report.fail(name, found['reasons'].get(name) or 'see the log')
    if status and not found['failed']:
        report.fail('pytest', f'exit status {status}: see the log')
    elif scale.device == 'cuda' and status is not None and not found['passed']:
        report.fail('pytest', 'not one test ran')


def _run_logged(command: list[str], folder: Path, log: Path) -> int:
    options: dict[str, Any] = dict(
        cwd=folder, env=dict(os.environ, PYTHONUNBUFFERED='1', OMP_NUM_THREADS='1'), stderr=subprocess.STDOUT
    )
    with open(log, 'wb') as file, subprocess.Popen(command, stdout=file, **options) as process:
        try:
            return process.wait()
        finally:
            process.kill()


def read_pytest(text: str) -> dict[str, Any]:
    """Reads the output of ``pytest -v``, which may be incomplete.

    Returns:
        ``passed`` and ``skipped`` (numbers), ``failed`` (tests, and files with errors), ``reasons`` (name -> line) and
        ``unfinished`` (tests that were running when pytest was killed).

    >>> read_pytest('a.py::test_b PASSED [ 50%]\\na.py::test_c FAILED [100%]\\nFAILED a.py::test_c - assert 0')
    {'passed': 1, 'skipped': 0, 'failed': ['a.py::test_c'], 'reasons': {'a.py::test_c': 'assert 0'}, 'unfinished': []}
    >>> read_pytest('a.py::test_b \\na.py::test_c \\n[gw0] [ 50%] PASSED a.py::test_b ')['unfinished']
    ['a.py::test_c']
    """
    results = [(alone or named, result or told) for alone, result, told, named in _ENDED.findall(text)]
    number = {word: sum(result == word for _, result in results) for word in ('PASSED', 'SKIPPED')}
    reasons = dict(_REASON.findall(text))  # files that cannot be imported included
    failed = [name for name, result in results if result in ('FAILED', 'ERROR', 'XPASS')]
    ended = {name for name, _ in results}
    return dict(
        passed=number['PASSED'],
        skipped=number['SKIPPED'],
        failed=list(dict.fromkeys([*failed, *reasons])),
        reasons=reasons,
        unfinished=[name for name, _ in _BEGUN.findall(text) if name not in ended],
    )


def run_training(report: Report, scale: Scale) -> None:
    """Iterations of the flagship's training by ``tools/train.py``: clips from files, the config's own settings."""
    config = scale.config(report.scratch)
    report.put(batch_size=scale.batch_size)
    rows = scale.batch_size * scale.iterations
    data = report.part('clips', partial(make_data, report.scratch / 'data', rows, **scale.clips))
    if data is None:
        return
    work_dir = report.scratch / 'work'
    report.part('training', partial(train, config, data, work_dir, training_options(scale.options)))
    # even if it failed, what it logged before
    found = report.part('log', partial(read_training, work_dir))
    if found is not None:
        report.put(**found)
    # last, as it would otherwise add to the memory of the process that is measured
    report.part('plan', lambda: report.put(planned=planned_bytes(config, scale)))


def planned_bytes(config: Path, scale: Scale) -> int:
    """The most bytes that PyTorch's allocator holds in an iteration, by the planner."""
    cfg = load_config(str(config))
    capability = torch.cuda.get_device_capability() if scale.device == 'cuda' else (8, 0)
    options: dict[str, Any] = dict(dtype=own_dtype(cfg, scale.device), capability=capability)
    return plan_step(cfg, batch_size=scale.batch_size, **options).peak_bytes


def time_attention(report: Report, scale: Scale) -> None:
    """The forms of attention at the sizes of the flagship's blocks, one by one, so that one can fail."""
    cfg = load_config(str(scale.config(report.scratch)))
    options: dict[str, Any] = dict(device=scale.device, batch_size=scale.attention_batch, rounds=scale.rounds)
    report.put(batch_size=scale.attention_batch)
    joined: dict[str, dict[str, Any]] = {}
    ways = [(dtype, form) for dtype in (HALF, FULL) for form in usable_forms(scale.device, DTYPES[dtype])]
    for dtype, form in sorted(ways, key=lambda way: way[1] in _LAST):
        measure = partial(measure_attention, cfg, forms=[form], dtype=dtype, **options)
        found = report.part(f'{form}, {dtype}', measure, least=5, most=60)
        if found is None:
            continue
        joined[dtype] = _joined(joined[dtype], found) if dtype in joined else found
        report.put(**joined)
        for line in filter(None, (result['forms'][form]['disagreement'] for result in found['results'])):
            report.fail(f'{form}, {dtype}', line)


def _joined(found: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Figures of one form added to those of others."""
    pairs = zip(found['results'], more['results'], strict=True)
    results = [dict(one, forms=one['forms'] | other['forms']) for one, other in pairs]
    return dict(found, results=results)


def compare_encoders(report: Report, scale: Scale) -> None:
    """MViTv2 beside torchvision's and beside explicit attention."""
    _compare(report, scale, scale.encoders)


def compare_forms(report: Report, scale: Scale) -> None:
    """Training steps of whole encoders in one form of attention and in another."""
    _compare(report, scale, scale.forms)


def _compare(report: Report, scale: Scale, cases: Sequence[Encoders]) -> None:
    results: list[dict[str, Any]] = []
    for one in cases:
        case = report.part(one.name, partial(_build, one), least=5, optional=True)
        if case is None:
            continue
        for dtype in one.dtypes:
            name = f'{one.name}, {dtype}'
            options: dict[str, Any] = dict(modes=one.modes, batch_size=one.batch_size, dtype=DTYPES[dtype])
            measure = partial(compare, case, rounds=scale.rounds, device=scale.device, **options)
            found = report.part(name, measure, least=5) or []
            about = dict(case=name, what=case.what, dtype=dtype, batch_size=one.batch_size)
            results += [about | result for result in found]
            report.put(results=results)
            for line in dict.fromkeys(line for result in found for line in result['disagreements']):
                report.fail(name, line)


def _build(one: Encoders) -> Case:
    require_peers([one.package] if one.package else [])
    return one.build()


def compare_memory(report: Report, scale: Scale) -> None:
    """MAT's training beside AST's: memory, and the time of a step."""
    for dtype in (HALF, FULL):
        results: list[dict[str, Any]] = []
        for setting in scale.settings:
            options: dict[str, Any] = dict(settings=[setting], device=scale.device, dtype=DTYPES[dtype])
            measure = partial(measure_memory, scale.memory_batches, **options)
            results = add_ratios(results + (report.part(f'{setting.name}, {dtype}', measure, least=5) or []))
            report.put(**{dtype: results})
