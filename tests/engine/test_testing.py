import argparse

import pytest
from mmengine.config import Config

from mmav.config.check import check_config
from mmav.engine import testing
from mmav.errors import ConfigError
from tests import toys


def arguments(*words):
    parser = argparse.ArgumentParser()
    testing.add_test_arguments(parser)
    for name in ('features', 'dump', 'out'):
        parser.add_argument(f'--{name}')
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--views', '3', '--features', 'f'], '--views has no effect with --features'),
        (['--view-average', 'logits', '--features', 'f'], '--view-average has no effect with --features'),
        (['--unlabelled', 'l.csv'], 'write the predictions with --dump FILE.pkl'),
        (['--unlabelled', 'l.csv', '--dump', 'p.pkl', '--out', 'o.json'], '--out has no effect with --unlabelled'),
        (['--unlabelled', 'l.csv', '--dump', 'p.pkl', '--features', 'f'], 'leave --features out'),
    ],
)
def test_arguments_that_make_no_sense_together(words, message):
    with pytest.raises(ConfigError, match=message):
        testing.check(arguments(*words))
    testing.check(arguments())


@pytest.mark.parametrize('words', [['--views', '0'], ['--crops', '-1'], ['--view-batch', '1.5'], ['--windows', 'x']])
def test_numbers_are_whole_and_above_0(words, capsys):
    with pytest.raises(SystemExit):
        arguments(*words)
    assert 'is not a whole number above 0' in capsys.readouterr().err


def config(**dataset):
    loader = dict(dataset=dict(type='AVDataset', ann_file='test.csv', pipeline=[], test_mode=True, **dataset))
    return Config(dict(test_dataloader=loader, test_evaluator=dict(type='Accuracy'), test_cfg=dict()))


def test_a_list_without_labels_replaces_the_test_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = config(data_root='data', indices=10)
    testing.edit(cfg, arguments('--unlabelled', 'own/list.csv', '--dump', 'p.pkl'))
    dataset = cfg.test_dataloader.dataset
    assert dataset.ann_file == str(tmp_path / 'own' / 'list.csv') and dataset.labelled is False
    assert dataset.data_root == 'data' and 'indices' not in dataset and cfg.test_evaluator == []


def test_a_list_needs_one_test_set_of_clips():
    pair = Config(dict(test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[dict(ann_file='a')] * 2))))
    features = Config(dict(test_dataloader=dict(dataset=dict(ann_file='a', features='f'))))
    for cfg, message in ((pair, 'has 2 test sets'), (features, 'is of features'), (Config(), 'has 0 test sets')):
        with pytest.raises(ConfigError, match=message):
            testing.set_unlabelled(cfg, 'l.csv')


def test_metrics_that_need_labels_are_refused_where_there_are_none():
    problems = testing.unlabelled_problems
    assert list(problems(config())) == []
    (line,) = problems(config(labelled=False))
    assert line.startswith('test_evaluator: Accuracy needs labels, and test_dataloader has labelled=False')
    with pytest.raises(ConfigError, match='Accuracy needs labels'):
        check_config(config(labelled=False))
    cfg = config(labelled=False)
    cfg.test_evaluator = [dict(type='DumpPredictions', out_file='p.pkl')]
    assert list(problems(cfg)) == []
    cfg.test_evaluator.append(dict(type='ActionAccuracy'))
    (line,) = problems(cfg)
    assert 'ActionAccuracy needs labels' in line


def test_the_tool_refuses_in_one_line(tmp_path, capsys):
    path = toys.write_config(tmp_path)
    for words, message in (
        (['--crops', '3'], '--crops 3: the config has no test set with a pipeline'),
        (['--unlabelled', 'l.csv'], '--unlabelled has no labels to measure by'),
    ):
        (tmp_path / 'c.pth').write_bytes(b'x')
        assert toys.run_tool('test.py', path, tmp_path / 'c.pth', '--work-dir', tmp_path / 'w', *words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1
