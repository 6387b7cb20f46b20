"""The command ``mmav``: every tool as a sub-command, with the tool's own options.

``mmav train CONFIG`` is ``python tools/train.py CONFIG``: the tool's file is run, so both always do the same.
PyTorch is imported by the tools that need it, not by ``mmav --help``.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType

from mmav import __version__
from mmav.errors import did_you_mean
from mmav.shipped import find_config, shipped_configs, shipped_root

_ANALYSIS, _CONVERT = 'tools/analysis_tools', 'tools/model_converters'
COMMANDS = {
    'train and test': {
        'train': 'tools/train.py',
        'test': 'tools/test.py',
        'submit': 'tools/submit.py',
        'train-folder': 'tools/train_folder.py',
        'extract-features': 'tools/extract_features.py',
        'import-features': 'tools/import_features.py',
        'demo': 'tools/demo.py',
    },
    'use a trained model': {
        'infer': 'demo/av_demo.py',
        'live': 'demo/av_live.py',
        'infer-many': 'tools/infer_many.py',
        'serve': 'tools/deployment/serve.py',
        'web-demo': 'demo/web_demo.py',
        'export': 'tools/deployment/export_onnx.py',
    },
    'prepare data': {
        'make-avsynth': 'tools/data/avsynth/make_avsynth.py',
        'make-miniature': 'tools/data/make_miniature.py',
        'prepare-vggsound': 'tools/data/vggsound/prepare_vggsound.py',
        'prepare-kinetics-sounds': 'tools/data/kinetics_sounds/prepare_kinetics_sounds.py',
        'prepare-epic-kitchens': 'tools/data/epic_kitchens/prepare_epic_kitchens.py',
        'prepare-audioset': 'tools/data/audioset/prepare_audioset.py',
        'prepare-segments': 'tools/data/segments/prepare_segments.py',
        'prepare-crema-d': 'tools/data/crema_d/prepare_crema_d.py',
        'prepare-ave': 'tools/data/ave/prepare_ave.py',
        'prepare-music21': 'tools/data/music21/prepare_music21.py',
        'prepare-ucf101': 'tools/data/ucf101/prepare_ucf101.py',
        'check': 'tools/data/check_media.py',
        'prepare': 'tools/data/prepare_media.py',
        'make-shards': 'tools/data/make_shards.py',
        'audio-stats': 'tools/data/audio_stats.py',
        'browse': f'{_ANALYSIS}/browse_dataset.py',
    },
    'weights': {
        'download': f'{_CONVERT}/download_weights.py',
        'convert': f'{_CONVERT}/convert_weights.py',
        'merge': f'{_CONVERT}/merge_checkpoints.py',
        'merge-lora': f'{_CONVERT}/merge_lora.py',
        'average-checkpoints': f'{_CONVERT}/average_checkpoints.py',
    },
    'see what a model learned': {
        'logs': f'{_ANALYSIS}/analyze_logs.py',
        'errors': f'{_ANALYSIS}/analyze_errors.py',
        'thresholds': f'{_ANALYSIS}/find_thresholds.py',
        'predictions': f'{_ANALYSIS}/plot_predictions.py',
        'average': f'{_ANALYSIS}/average_predictions.py',
        'compare': f'{_ANALYSIS}/compare_predictions.py',
        'grad-cam': f'{_ANALYSIS}/grad_cam.py',
        'evaluate-features': f'{_ANALYSIS}/evaluate_features.py',
        'evaluate-mteb': f'{_ANALYSIS}/run_mteb.py',
        'evaluate-vggsounder': f'{_ANALYSIS}/evaluate_vggsounder.py',
        'modality-report': f'{_ANALYSIS}/modality_report.py',
        'embeddings': f'{_ANALYSIS}/plot_embeddings.py',
        'clusters': f'{_ANALYSIS}/cluster_features.py',
        'ablation': f'{_ANALYSIS}/run_ablation.py',
        'reproduce-paper': f'{_ANALYSIS}/reproduce_paper.py',
    },
    'what it costs': {
        'flops': f'{_ANALYSIS}/get_flops.py',
        'plan-memory': f'{_ANALYSIS}/plan_memory.py',
        'benchmark-model': f'{_ANALYSIS}/benchmark_model.py',
        'benchmark-attention': f'{_ANALYSIS}/benchmark_attention.py',
        'benchmark-training': f'{_ANALYSIS}/benchmark_training.py',
        'benchmark-token-drop': f'{_ANALYSIS}/benchmark_token_drop.py',
        'benchmark-inference': f'{_ANALYSIS}/benchmark_inference.py',
        'benchmark-features': f'{_ANALYSIS}/benchmark_features.py',
        'benchmark-data': f'{_ANALYSIS}/benchmark_data.py',
        'benchmark-serve': f'{_ANALYSIS}/benchmark_serve.py',
        'benchmark-shards': f'{_ANALYSIS}/benchmark_shards.py',
        'benchmark-list': f'{_ANALYSIS}/benchmark_list.py',
        'benchmark-contention': f'{_ANALYSIS}/benchmark_contention.py',
        'compare-peers': f'{_ANALYSIS}/compare_peers.py',
        'check-gpu': f'{_ANALYSIS}/check_gpu.py',
    },
}
TOOLS = {name: path for group in COMMANDS.values() for name, path in group.items()}
_NAMES = {path: name for name, path in TOOLS.items()}
_CONFIGS = 'configs'
_USAGE = f"""usage: mmav COMMAND [arguments]        mmav COMMAND --help
       mmav {_CONFIGS} [TEXT]              list the configs that come with mmav, whose names have TEXT; --path: where
       mmav --version

`mmav COMMAND` does what the tool of the same table does in a checkout, e.g. `mmav train` is `python tools/train.py`.
A config is a file, or one that comes with mmav: mmav train mmt/mmt_tiny_avsynth.py
Several processes: torchrun --nproc_per_node 8 -m mmav train CONFIG --launcher pytorch"""


def main() -> None:
    """Runs the command that ``sys.argv`` names; exits with status 2 and one line where there is none of this name."""
    try:
        _dispatch(*(sys.argv[1:] or ['--help']))
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader of the output, such as head, has closed it; Python's flush at exit would complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(name: str, *arguments: str) -> None:
    if name in ('-h', '--help'):
        print(overview())
    elif name in ('-V', '--version'):
        print(f'mmav {__version__}')
    elif name == _CONFIGS:
        _list_configs(list(arguments))
    elif name.replace('_', '-') in TOOLS:
        _run(name.replace('_', '-'), list(arguments))
    else:
        known = [*TOOLS, _CONFIGS]
        _refuse(f'no command {name!r}{did_you_mean(name, known)} (`mmav --help` lists them)')


def overview() -> str:
    """The text of ``mmav --help``: the commands by group, with a line for each."""
    width = max(map(len, TOOLS))
    lines = [_USAGE]
    for title, group in COMMANDS.items():
        lines += ['', f'{title}:']
        lines += [f'  {name:{width}}  {_shorten(summary(name), 116 - width)}' for name in group]
    return '\n'.join(lines)


def summary(command: str) -> str:
    """The first sentence of a tool's docstring; the tool is not imported."""
    text = _docstring(shipped_root() / TOOLS[command])
    return re.split(r'(?<=\.)\s', text, maxsplit=1)[0]


def _shorten(text: str, width: int) -> str:
    return textwrap.shorten(text.split(': ')[0], width, placeholder=' ...')


def as_commands(text: str) -> str:
    """A tool's help with ``mmav COMMAND`` for every ``python tools/...``.

    >>> as_commands('python tools/train.py CONFIG; tools/dist_train.sh CONFIG 8')
    'mmav train CONFIG; torchrun --nproc_per_node 8 -m mmav train CONFIG --launcher pytorch'
    """
    text = re.sub(
        r'tools/dist_(train|test)\.sh (\S+(?: CHECKPOINT)?) (\d+)',
        r'torchrun --nproc_per_node \3 -m mmav \1 \2 --launcher pytorch',
        text,
    )
    tool = re.compile(r'(?:python )?((?:tools|demo)/[\w/]+\.py)')
    return tool.sub(lambda found: f'mmav {_NAMES[found[1]]}' if found[1] in _NAMES else found[0], text)


def _run(command: str, arguments: list[str]) -> None:
    path = shipped_root() / TOOLS[command]
    if not path.is_file():
        _refuse(f"'{path}' is missing: install mmav from a wheel, or a checkout with `pip install -e .`")
    sys.argv = [f'mmav {command}', *arguments]
    # as the main module, which is what processes that are started anew import
    tool = ModuleType('__main__')
    tool.__file__ = str(path)
    sys.modules['__main__'] = tool
    code = compile(path.read_bytes(), path, 'exec')
    if not {'-h', '--help'} & set(arguments):
        exec(code, vars(tool))
        return
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            exec(code, vars(tool))
    finally:
        print(as_commands(printed.getvalue()), end='')


def _list_configs(arguments: list[str]) -> None:
    if arguments == ['--path']:
        print(shipped_root() / 'configs')
        return
    if len(arguments) > 1 or any(word.startswith('-') for word in arguments):
        told = arguments == ['--help'] or arguments == ['-h']
        print(_USAGE) if told else _refuse(f'mmav {_CONFIGS} takes a text or --path, got {" ".join(arguments)}')
        return
    names = [name for name in shipped_configs() if not arguments or arguments[0] in name]
    if not names:
        _refuse(f'no config has {arguments[0]!r} in its name{did_you_mean(arguments[0], shipped_configs())}')
    width = max(map(len, names))
    for name in names:
        print(f'{name:{width}}  {_shorten(_docstring(find_config(name)), 118 - width)}')


def _docstring(path: Path) -> str:
    """First paragraph of a file's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    return ' '.join(text.split('\n\n')[0].split())


def _refuse(message: str) -> None:
    print(f'error: {message}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
    main()
