import pytest
import torch
from mmengine.registry import init_default_scope

from mmav.analysis.modality_report.encoding import BOTH, SAME, SHUFFLED
from mmav.analysis.modality_report.testing import run_conditions
from mmav.config.reading import load_config
from mmav.errors import ConfigError
from mmav.evaluation.predictions import load_predictions
from tests.analysis.modality_report.worlds import BOTTLENECK, codes, pair_weights, pair_world, write_model
from tests.toys import run_tool

HEAD = dict(type='ClsHead', num_classes=4)


def run(folder, config, checkpoint, **options):
    cfg = load_config(str(config), {})
    cfg.load_from, cfg.work_dir, cfg.launcher = str(checkpoint), str(folder / 'work'), 'none'
    cfg.runner_type = 'AVRunner'
    return run_conditions(cfg, **options)


@pytest.fixture
def pair(tmp_path):
    return write_model(tmp_path, pair_world(tmp_path / 'w', 40), dict(type='Concat'), HEAD, pair_weights())


def test_each_clip_is_tested_under_each_condition(tmp_path, pair):
    rows, classes = run(tmp_path, *pair)
    video, audio = codes(40)
    assert classes == dict(label=('v0a0', 'v0a1', 'v1a0', 'v1a1'))
    for name, answers in ((BOTH, 2 * video + audio), ('video', 2 * video), ('audio', audio)):
        assert [row['path'] for row in rows[name]] == [f'clips/{k}.mp4' for k in range(40)]
        assert [row['scores']['label'].argmax() for row in rows[name]] == answers.tolist()
    for name in (SHUFFLED, SAME):
        others = [int(row['partner'].split('/')[1][:-4]) for row in rows[name]]
        assert sorted(others) == list(range(40)) and all(k != other for k, other in enumerate(others))
        # the video's own, and the audio of the partner
        expected = [2 * video[k] + audio[other] for k, other in enumerate(others)]
        assert [row['scores']['label'].argmax() for row in rows[name]] == expected
        assert all(
            row['partner_label'] == rows[BOTH][other]['label'] for row, other in zip(rows[name], others, strict=True)
        )
    assert all(row['partner_label'] == row['label'] for row in rows[SAME])
    again, _ = run(tmp_path, *pair, seed=1)
    assert [row['partner'] for row in again[SHUFFLED]] != [row['partner'] for row in rows[SHUFFLED]]
    same, _ = run(tmp_path, *pair)
    assert [row['partner'] for row in same[SHUFFLED]] == [row['partner'] for row in rows[SHUFFLED]]


def test_predictions_are_those_of_the_test_tool(tmp_path):
    """With several views, clips that lack a modality, and one that is broken."""
    world = pair_world(tmp_path / 'w', 20, absent=dict(video=[3], audio=[4, 5]), broken={7: 'torn'})
    config, checkpoint = write_model(
        tmp_path, world, BOTTLENECK, HEAD, {}, 'test_dataloader["dataset"]["max_broken_share"] = 0.5'
    )
    rows, _ = run(tmp_path, config, checkpoint)
    for name, drop in ((BOTH, None), ('video', 'audio'), ('audio', 'video')):
        dump = tmp_path / f'{name}.pkl'
        options = ['--drop', drop] if drop else []
        assert run_tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'work', '--dump', dump, *options) == 0
        expected = sorted(load_predictions(dump)[0], key=lambda row: row['sample_idx'])
        assert len(expected) == len(rows[name]) == 20
        for row, other in zip(rows[name], expected, strict=True):
            assert row['sample_idx'] == other['sample_idx'] and (row['broken'] is None) == (other['broken'] is None)
            if row['broken'] is None:
                torch.testing.assert_close(*(torch.from_numpy(each['scores']['label']) for each in (row, other)))
    assert [k for k, row in enumerate(rows[SHUFFLED]) if row is None] == [3, 4, 5, 7]


def test_what_cannot_be_reported_on_is_refused(tmp_path, pair):
    init_default_scope('mmav')
    config, checkpoint = pair
    text = config.read_text()
    for extra, message in (
        ("model['backbones']['video'] = None", 'the model has one modality, audio'),
        ("model['type'] = 'ToyModel'", "model.type='ToyModel': a modality report is of an AVClassifier"),
        (
            "test_dataloader['dataset']['drop'] = ['audio']",
            r"dataset\.drop=\['audio'\]: the report withholds by itself",
        ),
        ('test_dataloader = None', 'has no test_dataloader'),
    ):
        config.write_text(f'{text}\n{extra}\n')
        with pytest.raises(ConfigError, match=message):
            run(tmp_path, config, checkpoint)
