import argparse
import sys

import pytest

from mmav.config.reading import key_value, load_checked_config, load_config
from mmav.errors import ConfigError
from mmav.shipped import find_config
from tests.toys import ROOT


def test_key_value():
    assert key_value('a.b=1') == 'a.b=1'
    for text in ('a.b', '=1'):
        with pytest.raises(argparse.ArgumentTypeError, match='not of the form K=V'):
            key_value(text)
    for text in ('a=[1,2', 'a=[dict(b="c",d=0.1)]'):  # the parser of MMEngine asserts, and never ends
        with pytest.raises(argparse.ArgumentTypeError, match=r'cannot be read: V is .*; dicts go into a config'):
            key_value(text)
    for text in ('a=[(1,2),(3,4)]', 'a=[1, 2]', 'a=[ (x, y) ]', 'a= 1 '):
        assert key_value(text) == text
    for text in ('a=pipe:cat {}', 'a=/my data/b', 'a=[x y,z]'):  # MMEngine would take pipe:cat{}
        with pytest.raises(argparse.ArgumentTypeError, match='a value with a space in it, which would be lost'):
            key_value(text)


def test_overrides(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text('model = dict(a=[dict(b=1), dict(b=2)])\nwidth = 3\n')
    cfg = load_config(str(path), {'model.a.1.b': 5, 'train_cfg.max_epochs': 2})
    assert cfg.model.a[1].b == 5 and cfg.train_cfg.max_epochs == 2
    for name, message in (
        ('wdth', r"--cfg-options wdth: the config has no 'wdth', did you mean 'width'\?"),
        ('model.a.7.b', 'do not fit the config'),
        ('width.a', 'do not fit the config'),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(str(path), {name: 1})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, r"no config file '.*c\.py'"),
        ('model = dict(', 'cannot read the config'),
        ("_base_ = ['nowhere.py']", r'cannot read the config .*nowhere\.py'),
        ('width = 1 // 0', 'cannot read the config .*division'),
    ],
)
def test_unreadable_configs(tmp_path, text, message):
    path = tmp_path / 'c.py'
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(str(path))


def test_modules_of_the_current_folder_can_be_registered(tmp_path, monkeypatch):
    (tmp_path / 'my_neck_of_this_test.py').write_text('LOADED = True\n')
    (tmp_path / 'config.py').write_text("custom_imports = dict(imports=['my_neck_of_this_test'])\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [entry for entry in sys.path if entry not in ('', str(tmp_path))])
    load_config('config.py')
    assert sys.modules['my_neck_of_this_test'].LOADED


def test_a_config_of_mmav_is_found_by_its_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = str(find_config('mmt/mmt_tiny_avsynth.py'))
    assert load_config('mmt/mmt_tiny_avsynth.py').filename == own
    assert capsys.readouterr().err == f"'mmt/mmt_tiny_avsynth.py' is not here; using mmav's own: {own}\n"
    monkeypatch.setenv('RANK', '1')
    load_config('mmt/mmt_tiny_avsynth.py')
    assert capsys.readouterr().err == ''
    (tmp_path / 'mmt').mkdir()
    (tmp_path / 'mmt' / 'mmt_tiny_avsynth.py').write_text('max_epochs = 3')
    monkeypatch.delenv('RANK')
    assert load_config('mmt/mmt_tiny_avsynth.py').max_epochs == 3
    assert capsys.readouterr().err == ''


def test_a_base_that_is_missing_says_where_configs_come_from(tmp_path):
    (tmp_path / 'my.py').write_text("_base_ = ['configs/mmt/mmt_tiny_avsynth.py']\n")
    with pytest.raises(ConfigError, match=r'_base_ is relative to the config; .*: cp -r "\$\(mmav con'):
        load_config(str(tmp_path / 'my.py'))
    (tmp_path / 'my.py').write_text("text = open('notes.txt').read()\n")
    with pytest.raises(ConfigError, match=r"notes\.txt'$"):
        load_config(str(tmp_path / 'my.py'))


def test_a_checked_config_has_its_data_moved(tmp_path):
    path = str(ROOT / 'configs' / 'mmt' / 'mmt_tiny_avsynth.py')
    cfg = load_checked_config(path, {'train_dataloader.batch_size': 3}, str(tmp_path))
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path) and cfg.train_dataloader.batch_size == 3
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        load_checked_config(path, {'train_dataloader.bacth_size': 3})
