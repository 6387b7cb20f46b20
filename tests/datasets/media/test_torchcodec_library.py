"""What is said in one line where torchcodec, FFmpeg or CUDA are missing."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
import torch

from mmav.datasets.media.torchcodec_library import check_decode_device, load_torchcodec, start_device
from mmav.errors import ConfigError


def pretend(monkeypatch, **attributes):
    module = ModuleType('torchcodec')
    vars(module).update(attributes)
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchcodec']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'torchcodec', module)
    return module


def test_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchcodec', None)
    with pytest.raises(
        ConfigError, match=r"needs torchcodec: pip install torchcodec, and FFmpeg .*, or use backend='pyav'$"
    ):
        load_torchcodec()


def test_too_old(monkeypatch):
    pretend(monkeypatch, __version__='0.2.1')
    with pytest.raises(ConfigError, match=r'needs torchcodec 0\.17 or newer, not 0\.2\.1: pip install -U torchcodec'):
        load_torchcodec()


def test_without_ffmpeg(monkeypatch):
    """It can be imported then: its decoders fail when they are made."""
    pretend(monkeypatch, ffmpeg_major_version=None)
    for name, members in (('decoders', ('VideoDecoder',)), ('transforms', ('Resize',))):
        part = ModuleType(f'torchcodec.{name}')
        vars(part).update(dict.fromkeys(members))
        monkeypatch.setitem(sys.modules, part.__name__, part)
    with pytest.raises(ConfigError, match='cannot load its libraries: install FFmpeg') as caught:
        load_torchcodec()
    assert torch.__version__ in str(caught.value) and '\n' not in str(caught.value)


def test_made_for_another_torch(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split('.')[0] == 'torchcodec']:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'torchcodec.py').write_text("raise OSError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=re.escape(f'the torchcodec made for torch {torch.__version__}')):
        load_torchcodec()


def test_devices(monkeypatch):
    check_decode_device('cpu')
    with pytest.raises(ConfigError, match="'cdua': choose cpu or cuda.*did you mean 'cuda'"):
        check_decode_device('cdua')
    with pytest.raises(ConfigError, match="'cpu:0': choose cpu or cuda"):
        check_decode_device('cpu:0')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match="decode_device='cuda:1' needs a CUDA device, and torch finds none"):
        check_decode_device('cuda:1')


def test_starting_a_device(monkeypatch):
    def fail():
        raise RuntimeError(message)

    monkeypatch.setattr(torch.cuda, 'init', fail)
    message = 'Cannot re-initialize CUDA in forked subprocess'
    start_device('cpu')
    with pytest.raises(ConfigError, match='num_workers=0'):
        start_device('cuda')
    message = 'out of memory'
    with pytest.raises(RuntimeError, match='out of memory'):
        start_device('cuda')
