import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.runner import CheckpointLoader, save_checkpoint
from yapf.yapflib.yapf_api import FormatCode

from mmav.engine import patches
from mmav.errors import CheckpointError
from tests.toys import tool_environment

pytestmark = pytest.mark.usefixtures('formatted_configs')
STYLE = dict(based_on_style='pep8', split_before_expression_after_opening_paren=True)
TEXT = 'a = dict( ' + ', '.join(f'b{k}=1' for k in range(14)) + ')\n'


def test_gives_what_yapf_gives():
    assert patches.format_code(TEXT, style_config=STYLE) == FormatCode(TEXT, style_config=STYLE)
    other = dict(STYLE, column_limit=120)
    assert patches.format_code(TEXT, style_config=other) == FormatCode(TEXT, style_config=other)
    assert patches.format_code(TEXT, style_config=other) != patches.format_code(TEXT, style_config=STYLE)


def test_a_config_is_formatted_once_until_it_changes(monkeypatch):
    patches.apply()
    calls = []

    def counted(text, **options):
        calls.append(text)
        return FormatCode(text, **options)

    monkeypatch.setattr(patches, 'FormatCode', counted)
    cfg = Config(dict(model=dict(type='A'), steps=[1, 2]))
    text = cfg.pretty_text
    assert cfg.pretty_text == cfg.copy().pretty_text == text and len(calls) == 1
    cfg.model.type = 'B'
    assert cfg.pretty_text == text.replace('A', 'B') and len(calls) == 2


def test_mmengine_writes_atomically(tmp_path, monkeypatch):
    patches.apply()
    replaced = []
    replace = os.replace
    monkeypatch.setattr(os, 'replace', lambda a, b: (replaced.append(Path(b).name), replace(a, b)))
    save_checkpoint(dict(state_dict={}), str(tmp_path / 'a.pth'))
    get_file_backend(str(tmp_path)).put_text('x', tmp_path / 'b.txt')
    assert replaced == ['a.pth', 'b.txt']


def test_mmengine_reads_checkpoints_through_ours(tmp_path):
    patches.apply()
    save_checkpoint(dict(state_dict={}), str(tmp_path / 'a.pth'))
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth')) == dict(state_dict={})
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nowhere\.pth'"):
        CheckpointLoader.load_checkpoint('nowhere.pth')
    for address in ('torchvision://resnet50', 'pavi://a', 's3://a/b.pth', 'open-mmlab://a'):
        with pytest.raises(CheckpointError, match='download the file'):
            CheckpointLoader.load_checkpoint(address)


def test_importing_every_module_of_mmav_changes_nothing_in_mmengine():
    """In a process of its own, in which nothing was imported before; then what ``apply`` changes, and no more."""
    run = subprocess.run([sys.executable, '-c', CODE], env=tool_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    by_import, by_apply, again, modules = json.loads(run.stdout.splitlines()[-1])
    assert by_import == again == [] and 'mmav.engine.runner' in modules and 'mmav.web' in modules
    # dicts are known to several modules of MMEngine
    assert {name.rpartition('.')[2] for name in by_apply} == {
        *('FormatCode', 'backends', 'prefix_to_backends', '_schemes', 'turn_on_activation_checkpointing'),
    }  # fmt: skip
    assert [name for name in by_apply if name.startswith(('mmengine.config', 'mmengine.runner'))] == [
        'mmengine.config.config.FormatCode',
        'mmengine.runner.checkpoint.CheckpointLoader._schemes',
        'mmengine.runner.runner.turn_on_activation_checkpointing',
    ]


CODE = """
import importlib, inspect, json, pkgutil, sys
import mmengine
for module in pkgutil.walk_packages(mmengine.__path__, 'mmengine.'):
    if module.name.split('.')[1] not in ('hub', 'testing', '_strategy'):
        importlib.import_module(module.name)


def content(value):
    if isinstance(value, dict):
        return [(key, id(item)) for key, item in value.items()]
    return [id(item) for item in value] if isinstance(value, (list, tuple, set)) else id(value)


def attributes():
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.split('.')[0] != 'mmengine':
            continue
        owners = {name: module}
        owners.update((f'{name}.{key}', part) for key, part in vars(module).items()
                      if inspect.isclass(part) and part.__module__ == name)
        for owner, part in owners.items():
            found.update((f'{owner}.{key}', (value, content(value))) for key, value in list(vars(part).items())
                         if key not in ('__builtins__', '__abstractmethods__', '_abc_impl', '__weakref__'))
    return found


def changed(before, after):
    return sorted(name for name in after if name not in before or before[name][1] != after[name][1])


before = attributes()
import mmav
names = [module.name for module in pkgutil.walk_packages(mmav.__path__, 'mmav.')]
for name in names:
    importlib.import_module(name)
imported = attributes()
from mmav.engine import patches
patches.apply()
applied = attributes()
patches.apply()
print(json.dumps([changed(before, imported), changed(imported, applied), changed(applied, attributes()), names]))
"""
