import json

from mmav.evaluation.predictions import save_predictions
from tests.analysis.modality_report.worlds import (
    audio_weights,
    codes,
    pair_rows,
    pair_weights,
    pair_world,
    write_model,
    write_world,
)
from tests.toys import run_tool

TOOL = 'analysis_tools/modality_report.py'
HEAD, NECK = dict(type='ClsHead', num_classes=4), dict(type='Concat')


def report_of(tmp_path, config, checkpoint):
    out = tmp_path / 'out'
    assert run_tool(TOOL, config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out) == 0
    return json.loads((out / 'report.json').read_text())['parts'][0]


def test_a_model_that_needs_both(tmp_path, capsys):
    found = report_of(
        tmp_path, *write_model(tmp_path, pair_world(tmp_path / 'w', 60), NECK, HEAD, pair_weights())
    )  # fmt: skip
    video, audio = codes(60)
    shares = {name: each['clips'] for name, each in found['cases'].items()}
    assert shares == dict(
        either=((video == 0) & (audio == 0)).sum(),
        first=((video == 1) & (audio == 0)).sum(),
        second=((video == 0) & (audio == 1)).sum(),
        synergy=((video == 1) & (audio == 1)).sum(),
        confusion=0,
        never=0,
    )
    assert found['scores']['shuffled_same']['score'] == 1.0 > found['scores']['shuffled']['score']
    told = capsys.readouterr().out
    assert 'It uses both modalities' in told and 'is its class, not that it belongs to this very clip' in told
    assert 'written to' in told
    # the same once more from the dumps of the three conditions
    out = tmp_path / 'out'
    dumps = ['--predictions', out / 'both.pkl', '--video', out / 'video.pkl', '--audio', out / 'audio.pkl']
    assert run_tool(TOOL, *dumps, '--out', tmp_path / 'again') == 0
    again = json.loads((tmp_path / 'again' / 'report.json').read_text())['parts'][0]
    assert again['cases'] == found['cases'] and again['confusion'] == found['confusion']
    assert list(again['scores']) == ['both', 'video', 'audio']


def test_a_model_that_only_hears(tmp_path, capsys):
    audio = codes(60)[1]
    world = write_world(tmp_path / 'w', dict(label=audio.tolist()), dict(label=list('abcd')), 60)
    found = report_of(tmp_path, *write_model(tmp_path, world, NECK, HEAD, audio_weights()))
    scores = {name: each['score'] for name, each in found['scores'].items()}
    assert scores['both'] == scores['audio'] == scores['shuffled_same'] == 1.0
    assert scores['video'] == (audio == 0).mean()
    assert found['follows']['audio']['share'] == 1.0 and found['follows']['video']['clips'] == 0
    assert found['cases']['synergy']['clips'] == found['cases']['first']['clips'] == 0
    told = capsys.readouterr().out
    assert 'It uses audio: without audio it loses' in told and 'does not measurably use video' in told


def test_verbs_and_nouns_and_sets_of_labels(tmp_path, capsys):
    video, audio = codes(30)
    classes = dict(verb=['v0', 'v1'], noun=['n0', 'n1', 'n2'])
    world = write_world(tmp_path / 'a', dict(verb=video.tolist(), noun=audio.tolist()), classes, 30)
    head = dict(type='VerbNounHead', num_verbs=2, num_nouns=3)
    extra = "test_evaluator = dict(type='ActionAccuracy', topk=(1,))"
    model = write_model(tmp_path / 'm', world, dict(type='Avg'), head, {}, extra)
    assert run_tool(TOOL, *model, '--work-dir', tmp_path / 'work') == 0
    told = capsys.readouterr().out
    assert '\nverb\n' in told and '\nnoun\n' in told and '\nall parts together\n' in told
    labels = [[v, 2 + a] if v else [2 + a] for v, a in zip(video.tolist(), audio.tolist(), strict=True)]
    world = write_world(tmp_path / 'b', dict(label=labels), dict(label=list('abcd')), 30)
    model = write_model(tmp_path / 'n', world, NECK, dict(type='MultiLabelHead', num_classes=4), {})
    assert run_tool(TOOL, *model, '--work-dir', tmp_path / 'work') == 0
    assert 'mAP' in capsys.readouterr().out


def test_wrong_input_is_one_line(tmp_path, capsys):
    dump = tmp_path / 'both.pkl'
    save_predictions(dump, pair_rows(6)['both'])
    config, checkpoint = write_model(tmp_path, pair_world(tmp_path / 'w', 6), NECK, HEAD, {})
    alone = tmp_path / 'alone.py'
    alone.write_text(config.read_text() + "\nmodel['backbones']['audio'] = None\n")
    for arguments, message in (
        ([], 'give CONFIG CHECKPOINT, or the dumps of three tests'),
        ([config], 'give CONFIG CHECKPOINT'),
        ([config, tmp_path / 'none.pth'], 'no checkpoint'),
        ([alone, checkpoint], 'the model has one modality, video: a modality report needs two'),
        ([config, checkpoint, '--launcher', 'pytorch'], '--launcher pytorch: a modality report is made by one process'),
        (['--predictions', dump], '--predictions, --video and --audio go together'),
        (['--predictions', dump, '--video', dump, '--audio', dump, '--seed', 1], '--seed has no effect with dumps'),
        ([config, checkpoint, '--predictions', dump], 'config has no effect with dumps'),
        ([config, checkpoint, '--out', config], 'is a file'),
        (['--predictions', dump, '--video', dump, '--audio', dump], 'is given twice: each test has a file of its own'),
    ):
        assert run_tool(TOOL, *arguments) == 2, arguments
        told = capsys.readouterr().err
        assert message in told and told.strip().count('\n') == 0, told


def test_a_file_of_others_is_kept(tmp_path, capsys):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'report.html').write_text('mine')
    dump = tmp_path / 'both.pkl'
    save_predictions(dump, pair_rows(6)['both'])
    assert run_tool(TOOL, '--predictions', dump, '--video', dump, '--audio', dump, '--out', out) == 2
    assert (out / 'report.html').read_text() == 'mine'
    assert 'was not written by' in capsys.readouterr().err


def test_help_has_an_example(capsys):
    assert run_tool(TOOL, '--help') == 0
    assert 'modality_report.py CONFIG CHECKPOINT --out DIR' in capsys.readouterr().out
