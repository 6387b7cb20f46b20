"""From official lists and clips on disk to a tested model, with the documented tools, on miniature trees.

The trees hold what such trees hold: clips that are missing, torn, silent, still, or listed under a wrong label.
"""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from pathlib import Path

import pytest

from mmav.datasets.media.probe import probe
from mmav.preparation.annotations import read_labels
from tests.datasets.media.test_probe import still
from tests.preparation.test_audioset import HEADER
from tests.toys import ROOT, run_tool

SMALL = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
]
VGGSOUND = """\
-0good00001,30,"playing violin, fiddle",train
0good000002,4,cat meowing,train
0good000003,7,cat meowing,train
0torn000004,0,cat meowing,train
0silent0005,0,cat meowing,train
0still00006,0,cat meowing,train
0missing007,0,"playing violin, fiddle",train
0label00008,0,cat meoving,train
0test000009,12,"playing violin, fiddle",test
0test000010,12,cat meowing,test
"""
EPIC_COLUMNS = (
    'narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,'
    'narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n'
)


def run(tool, *arguments):
    assert run_tool(tool, *arguments) == 0


def train_and_test(config, data_root, work_dir, *options):
    run('train.py', config, '--data-root', data_root, '--work-dir', work_dir, '--cfg-options', *SMALL, *options)
    metrics = {}
    for drop in ((), ('--drop', 'audio')):
        out = work_dir / f'{"".join(drop)}.json'
        arguments = ['--data-root', data_root, '--work-dir', work_dir / 'test', '--out', out, *drop]
        run('test.py', config, work_dir / 'epoch_1.pth', *arguments, '--cfg-options', *SMALL[2:], *options)
        metrics[drop[-1:]] = json.loads(out.read_text())
    return metrics[()], metrics[('audio',)]


def labels(path):
    with open(path, newline='') as file:
        return [row['label'] for row in csv.DictReader(file)]


@pytest.fixture
def place(tmp_path, clip, silent, broken):
    """Puts a clip of a kind at a path below tmp_path."""
    kinds = dict(good=clip, silent=silent, torn=broken['cut_off'])

    def put(path: str, kind: str) -> Path:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        if kind == 'still':
            return still(tmp_path / path, muted=True)
        return Path(shutil.copy(kinds[kind], tmp_path / path))

    return put


def test_vggsound(tmp_path, place):
    (tmp_path / 'vggsound.csv').write_text(VGGSOUND)
    (tmp_path / 'names.txt').write_text('cat meowing\nplaying violin, fiddle\n')
    names = dict(
        good=['-0good00001_000030', '0good000002_000004', '0good000003_000007', '0test000009_000012', '0test000010_12'],
        torn=['0torn000004_000000'],
        silent=['0silent0005_000000'],
        still=['0still00006_000000'],
    )
    for kind, stems in names.items():
        for stem in stems:
            place(f'data/clips/{stem}.mp4', kind)
    data, fast = tmp_path / 'data', tmp_path / 'fast'
    lists = [tmp_path / 'vggsound.csv', '--classes', tmp_path / 'names.txt']
    run('data/vggsound/prepare_vggsound.py', *lists, '--clips', data / 'clips', '--out', data)
    assert labels(data / 'train.csv') == ['playing violin, fiddle'] + ['cat meowing'] * 5
    assert '0missing007' in (data / 'missing.csv').read_text()
    assert 'cat meoving' in (data / 'prepare_report.json').read_text()

    run('data/check_media.py', data, '--jobs', 1, '--drop', 'missing', 'unreadable', 'frozen')
    found = json.loads((data / 'check_report.json').read_text())['manifests']['train.csv']
    assert {k: v for k, v in found['defects'].items() if v} == dict(unreadable=1, frozen=1, no_sound=1, silent=1)
    assert found['classes']['cat meowing'] == dict(dropped=2, clips=5, share=0.4)
    assert labels(data / 'train_clean.csv') == ['playing violin, fiddle'] + ['cat meowing'] * 3

    run(
        'data/prepare_media.py',
        data,
        fast,
        '--jobs',
        1,
        '--short-side',
        32,
        '--manifest',
        'train_clean.csv',
        'test.csv',
    )
    assert probe(str(fast / 'clips' / '-0good00001_000030.mp4')).height == 32
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'
    run('data/audio_stats.py', config, '--data-root', fast, '--ann-file', 'train_clean.csv', '--jobs', 1)
    whole, without_sound = train_and_test(
        config, fast, tmp_path / 'work', 'train_dataloader.dataset.ann_file=train_clean.csv'
    )
    assert whole['broken'] == without_sound['broken'] == 0
    assert (whole['dropped'], without_sound['dropped']) == (None, 'audio')


def test_kinetics_sounds(tmp_path, place):
    header = 'label,youtube_id,time_start,time_end,split,is_cc\n'
    (tmp_path / 'train_list.csv').write_text(
        header + 'singing,aaaaaaaaaaa,1,11,train,0\ntap dancing,bbbbbbbbbbb,0,10,train,0\n'
        'abseiling,ccccccccccc,0,10,train,0\nsinging,ddddddddddd,0,10,train,0\nsinging,eeeeeeeeeee,0,10,train,0\n'
    )
    (tmp_path / 'val_list.csv').write_text(
        header + 'singing,fffffffffff,0,10,val,0\ntap dancing,ggggggggggg,0,10,val,1\n'
    )
    place('k400/train/singing/aaaaaaaaaaa_000001_000011.mp4', 'good')
    place('k400/train/tap_dancing/bbbbbbbbbbb.mp4', 'silent')
    place('k400/train/abseiling/ccccccccccc.mp4', 'good')
    place('k400/train/singing/ddddddddddd_000000_000010.mp4', 'torn')
    place('k400/val/fffffffffff_000000_000010.mp4', 'good')
    place('k400/val/ggggggggggg.mp4', 'torn')
    data = tmp_path / 'k400'
    lists = ['--train', tmp_path / 'train_list.csv', '--test', tmp_path / 'val_list.csv']
    run('data/kinetics_sounds/prepare_kinetics_sounds.py', *lists, '--clips', data, '--out', data)
    assert labels(data / 'train.csv') == ['singing', 'tap dancing', 'singing']
    run('data/check_media.py', data, '--jobs', 1)
    assert labels(data / 'train_clean.csv') == ['singing', 'tap dancing']
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'
    shares = [f'{loader}_dataloader.dataset.max_broken_share=0.5' for loader in ('train', 'val', 'test')]
    whole, _ = train_and_test(config, data, tmp_path / 'work', *shares)
    # The torn clip of the test list stays there: it is reported, and counts as wrong.
    assert whole['broken'] == 1 and whole['top1'] <= 0.5


AUDIOSET = {
    # the official form; three of the clips are sound alone, missing, and torn
    'balanced_train': """\
-0train0001, 30.000, 40.000, "/m/09x0r,/m/05zppz"
0train00002, 0.000, 10.000, "/m/04rlf"
0missing003, 0.000, 10.000, "/m/04rlf,/m/09x0r"
0train00004, 239.800, 249.800, "/m/0jbk,/m/0bt9lr,/m/068hy"
""",
    'unbalanced_train': """\
0unbal00005, 10.000, 20.000, "/m/0bt9lr"
0torn000006, 20.000, 30.000, "/m/0bt9lr,/m/04rlf"
-0train0001, 30.000, 40.000, "/m/09x0r"
""",
    'eval': """\
-0eval00007, 0.000, 10.000, "/m/09x0r,/m/04rlf"
0eval000008, 0.000, 9.000, "/m/0bt9lr"
0eval000009, 5.000, 15.000, "/m/04rlf"
""",
}  # fmt: skip
# the small MMT with what the configs of AudioSet have for several labels a clip
SEVERAL_LABELS = """\
_base_ = ['{base}']
model = dict(head=dict(_delete_=True, type='MultiLabelHead', num_classes=_base_.num_classes))
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(multi_label=True, max_broken_share=0.5))
val_evaluator = test_evaluator = dict(_delete_=True, type='MultiLabelMetric')
"""


def test_audioset(tmp_path, place, make_clip):
    lists = tmp_path / 'lists'
    lists.mkdir()
    for name, text in AUDIOSET.items():
        (lists / f'{name}_segments.csv').write_text(HEADER + text)
    data = tmp_path / 'audioset'
    names = ('-0train0001_30', '0train00004_239800_249800', 'Y0unbal00005', 'Y-0eval00007', '0eval000008_0.000_9.000')
    for name in names:
        place(f'audioset/clips/{name}.mp4', 'good')
    place('audioset/clips/0torn000006.mp4', 'torn')
    for name in ('Y0train00002.wav', '0eval000009_000005.wav'):
        sound = make_clip('speech.wav', seconds=2.0, video=None, audio='pcm_s16le')
        shutil.copy(sound, tmp_path / 'audioset' / 'clips' / name)
    run('data/audioset/prepare_audioset.py', lists, '--clips', data / 'clips', '--out', data)
    speech = 'Speech|Male speech, man speaking'
    dog = 'Animal|Domestic animals, pets|Dog'
    assert labels(data / 'train_balanced.csv') == [speech, 'Music', dog]
    assert labels(data / 'train.csv') == [speech, 'Music', dog, 'Dog', 'Dog|Music']
    assert labels(data / 'test.csv') == ['Speech|Music', 'Dog', 'Music']

    run('data/check_media.py', data, '--jobs', 1)
    found = json.loads((data / 'check_report.json').read_text())['manifests']['train.csv']
    assert {k: v for k, v in found['defects'].items() if v} == dict(unreadable=1, no_picture=1)
    assert found['classes']['Dog'] == dict(dropped=1, clips=3, share=0.333333)
    assert labels(data / 'train_clean.csv') == [speech, 'Music', dog, 'Dog']

    config = tmp_path / 'small_audioset.py'
    config.write_text(SEVERAL_LABELS.format(base=ROOT / 'configs' / 'mmt' / 'mmt_tiny_folder.py'))
    work, clean = tmp_path / 'work', 'train_dataloader.dataset.ann_file=train_clean.csv'
    run('train.py', config, '--data-root', data, '--work-dir', work, '--cfg-options', *SMALL, clean)
    dump, out = tmp_path / 'predictions.pkl', tmp_path / 'scores.json'
    arguments = ['--data-root', data, '--work-dir', work / 'test', '--dump', dump, '--out', out]
    run('test.py', config, work / 'epoch_1.pth', *arguments, '--cfg-options', *SMALL[2:])
    scores = json.loads(out.read_text())
    assert scores['broken'] == 0 and 'top1' not in scores
    assert all(0 <= scores[name] <= 1 for name in ('mAP', 'AUC', 'hit1', 'macro_f1', 'micro_f1'))
    rows = pickle.loads(dump.read_bytes())['rows']
    music, dog_index = (read_labels('audioset').index(name) for name in ('Music', 'Dog'))
    assert [row['label'] for row in rows] == [(0, music), (dog_index,), (music,)]

    run('submit.py', 'csv', dump, '--out', tmp_path / 'submission.csv', '--scores')
    with open(tmp_path / 'submission.csv', newline='') as file:
        header, *lines = csv.reader(file)
    assert header == ['id', *read_labels('audioset')]
    assert [line[0] for line in lines] == ['Y-0eval00007', '0eval000008_0.000_9.000', '0eval000009_000005']
    assert [[float(cell) for cell in line[1:]] for line in lines] == [
        pytest.approx(row['scores'], abs=1e-4) for row in rows
    ]


def test_epic_kitchens(tmp_path, place, make_clip):
    rows = {
        'train': ['P02_01_0,P02,P02_01,,00:00:00.50,00:00:01.50,8,23,"take cup, then",take,0,cup,1,[\'cup\'],[1]',
                  'P02_01_1,P02,P02_01,,00:00:02.00,00:00:03.90,8,23,wash pan,wash,1,pan,0,[\'pan\'],[0]',
                  'P02_01_2,P02,P02_01,,00:00:07.00,00:00:09.00,8,23,wash pan,wash,1,pan,0,[\'pan\'],[0]',
                  'P02_01_3,P02,P02_01,,00:00:03.00,00:00:02.00,8,23,wash pan,wash,1,pan,0,[\'pan\'],[0]'],
        'validation': ['P18_03_0,P18,P18_03,,00:00:00.00,00:00:01.89,1,23,take pan,take,0,pan,0,[\'pan\'],[0]',
                       'P01_09_0,P01,P01_09,,00:00:00.00,00:00:01.89,1,23,take pan,take,0,pan,0,[\'pan\'],[0]'],
    }  # fmt: skip
    lists = tmp_path / 'lists'
    lists.mkdir()
    for split, lines in rows.items():
        (lists / f'EPIC_100_{split}.csv').write_text(EPIC_COLUMNS + '\n'.join(lines) + '\n')
    (lists / 'EPIC_100_verb_classes.csv').write_text('id,key,instances,category\n0,take,[],x\n1,wash,[],x\n')
    (lists / 'EPIC_100_noun_classes.csv').write_text('id,key,instances,category\n0,pan,[],x\n1,cup,[],x\n')
    (lists / 'EPIC_100_tail_verbs.csv').write_text('verb\n1\n')
    (lists / 'EPIC_100_tail_nouns.csv').write_text('noun\n0\n')
    data, fast = tmp_path / 'epic', tmp_path / 'fast'
    for video in ('P02/videos/P02_01.MP4', 'P18/videos/P18_03.MP4'):
        (data / video).parent.mkdir(parents=True)
        shutil.copy(make_clip('kitchen.mp4', seconds=4.0, keyframes=12, events=(0.5,)), data / video)
    run('data/epic_kitchens/prepare_epic_kitchens.py', lists, '--clips', data, '--out', data)
    run('data/check_media.py', data, '--jobs', 1)
    found = json.loads((data / 'check_report.json').read_text())['manifests']
    assert found['train.csv']['clips'] == 3 and found['train.csv']['defects']['unreadable'] == 1
    run('data/prepare_media.py', data, fast, '--jobs', 1, '--manifest', 'train_clean.csv', 'test.csv')
    assert sorted(path.name for path in fast.glob('EPIC*')) == ['EPIC_100_tail_nouns.csv', 'EPIC_100_tail_verbs.csv']
    head = ['model.head.num_verbs=2', 'model.head.num_nouns=2', 'train_dataloader.dataset.ann_file=train_clean.csv']
    head.append('val_dataloader.dataset.ann_file=test.csv')
    config = ROOT / 'configs' / 'mmt' / 'mmt_tiny_dropout_avsynth_action.py'
    whole, _ = train_and_test(config, fast, tmp_path / 'work', *head)
    assert whole['broken'] == 0 and 0 <= whole['action_top1'] <= 1


def test_crema_d(tmp_path, make_clip, broken):
    """Lists in the form of OGM-GE's; the field's model, with a smaller network."""
    lists = {
        'train': ['1088_IOM_NEU_XX,NEU', '1017_IWW_HAP_XX,HAP', '1041_IEO_ANG_HI,ANG', '1001_DFA_SAD_XX,SAD'],
        'test': ['1041_TIE_NEU_XX,NEU', '1016_IEO_HAP_LO,HAP', '1002_DFA_DIS_XX,DIS'],
    }
    for split, lines in lists.items():
        (tmp_path / f'{split}.csv').write_bytes(''.join(f'{line}\r\n' for line in lines).encode())
    data = tmp_path / 'data'
    for folder in ('VideoFlash', 'AudioWAV'):
        (data / folder).mkdir(parents=True)
    video = make_clip('actor.flv', video='flv', audio=None, b_frames=0)
    audio = make_clip('actor.wav', video=None, audio='pcm_s16le', events=(0.5,))
    names = [line.partition(',')[0] for lines in lists.values() for line in lines]
    for name in names[:-1]:
        shutil.copy(video, data / 'VideoFlash' / f'{name}.flv')
        shutil.copy(audio, data / 'AudioWAV' / f'{name}.wav')
    shutil.copy(broken['cut_off'], data / 'VideoFlash' / f'{names[3]}.flv')
    (data / 'AudioWAV' / f'{names[4]}.wav').unlink()
    arguments = ['--clips', data / 'VideoFlash', '--audio', data / 'AudioWAV', '--out', data]
    run('data/crema_d/prepare_crema_d.py', tmp_path / 'train.csv', tmp_path / 'test.csv', *arguments)
    assert labels(data / 'train.csv') == ['neutral', 'happy', 'anger', 'sad'] and labels(data / 'test.csv') == ['happy']
    report = json.loads((data / 'prepare_report.json').read_text())['splits']
    assert [report[split]['missing'] for split in ('train', 'test')] == [0, 2]
    run('data/check_media.py', data, '--jobs', 1)
    found = json.loads((data / 'check_report.json').read_text())['manifests']['train.csv']
    assert found['defects']['unreadable'] == 1 and labels(data / 'train_clean.csv') == ['neutral', 'happy', 'anger']
    config = ROOT / 'configs' / 'balance' / 'resnet18_concat_crema_d.py'
    options = ['train_dataloader.dataset.ann_file=train_clean.csv', 'test_dataloader.batch_size=2']
    for modality in ('video', 'audio'):
        options += [f'model.backbones.{modality}.model_name=test_resnet', f'model.backbones.{modality}.model_args=None']
    work = tmp_path / 'work'
    run('train.py', config, '--data-root', data, '--work-dir', work, '--cfg-options', *SMALL, *options)
    arguments = ['--data-root', data, '--work-dir', work / 'test', '--dump', work / 'test.pkl']
    arguments += ['--out', work / 'metrics.json']
    run('test.py', config, work / 'epoch_1.pth', *arguments, '--cfg-options', *SMALL[2:], *options)
    metrics = json.loads((work / 'metrics.json').read_text())
    assert metrics['broken'] == 0 and metrics['top1'] == metrics['macro_f1'] and metrics['top1'] in (0, 1)
    run('submit.py', 'csv', work / 'test.pkl', '--out', work / 'submission.csv')
    with open(work / 'submission.csv', newline='') as file:
        _, line = csv.reader(file)
    assert line[0] == names[5] and line[1] in (data / 'classes.txt').read_text().split('\n')
