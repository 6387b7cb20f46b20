import io
import json
import os
import shutil
import sys

import av
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger

from mmav.apis import AVInferencer
from mmav.checkpoints import load_checkpoint_file
from mmav.datasets.media import open_media
from mmav.engine import AVRunner
from mmav.engine.loading import load_weights
from mmav.errors import CheckpointError, ConfigError, MediaError, MmavError
from mmav.inference.trained_model import build_model
from mmav.models.lora import is_lora, lora_layers
from mmav.registry import MODELS
from tests.clips import rotate_by_metadata
from tests.inference.models import CLASSES, config, write_model


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model'), config())


@pytest.fixture(scope='module')
def inferencer(files):
    return AVInferencer(*files, device='cpu', show_progress=False)


@pytest.fixture(scope='module')
def video_only(tmp_path_factory):
    return AVInferencer(*write_model(tmp_path_factory.mktemp('video'), config(['video'])), show_progress=False)


def scores_of(result):
    return {each['label']: each['score'] for each in result['predictions']}


def test_scores_are_those_of_testing(files, inferencer, clip, silent, blind, flashes, tmp_path):
    paths = [clip, silent, blind, flashes]
    (tmp_path / 'test.csv').write_text('path,label\n' + ''.join(f'{path},0\n' for path in paths))
    cfg = config(data_root=str(tmp_path), classes=list(CLASSES))
    loader = AVRunner.build_dataloader(cfg.test_dataloader)
    model = MODELS.build(cfg.model).eval()
    load_weights(model, load_checkpoint_file(files[1])['state_dict'], str(files[1]))
    with torch.no_grad():
        tested = [sample.pred_score for batch in loader for sample in model.test_step(batch)]
    # 4 s long, of which testing takes all and the inferencer two windows unless it is told otherwise
    results = inferencer([*map(str, paths[:3])], 3, None) + inferencer(
        dict(video=np.zeros((4, 32, 32, 3), np.uint8), fps=2), topk=None
    )
    for result, expected in zip(results[:3], tested[:3], strict=True):
        assert [scores_of(result)[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)
    assert len({round(result['predictions'][0]['score'], 4) for result in results}) == 4  # the model tells clips apart
    assert [result['missing'] for result in results[:3]] == [[], ['audio'], ['video']]
    assert [result['present'] for result in results[:3]] == [['video', 'audio'], ['video'], ['audio']]


def test_labels_and_probabilities(inferencer, clip):
    (result,) = inferencer(clip, topk=2)
    assert [each['label'] for each in result['predictions']] == [
        CLASSES[each['index']] for each in result['predictions']
    ]
    assert result['predictions'][0]['score'] >= result['predictions'][1]['score']
    (everything,) = inferencer(str(clip), topk=None)
    assert sum(scores_of(everything).values()) == pytest.approx(1.0)
    assert everything['predictions'][:2] == result['predictions']
    assert json.loads(json.dumps(everything)) == everything


def test_the_model_runs_in_inference_mode_and_the_sound_is_encoded_once(tmp_path, clip, silent):
    inferencer = AVInferencer(*write_model(tmp_path, config(views=5)), device='cpu', show_progress=False)
    calls = []
    for name, encoder in inferencer.model.backbones.items():
        encoder.register_forward_pre_hook(
            lambda _, args, name=name: calls.append((name, len(args[0]), torch.is_inference_mode_enabled()))
        )
    (one, two) = inferencer([clip, silent])
    assert sorted(calls) == [('audio', 2, True), ('video', 10, True)]
    assert one['error'] is None and two['missing'] == ['audio']


def test_long_file_is_looked_at_window_by_window(inferencer, flashes):
    (result,) = inferencer(flashes, stride=0.5, topk=None)
    spans = [(window['start'], window['end']) for window in result['windows']]
    assert spans == [(0.5 * k, 0.5 * k + 2.0) for k in range(5)]
    alone = [inferencer.scores([inferencer.read(flashes, start=a, end=b)])[0]['label'] for a, b in spans]
    for window, expected in zip(result['windows'], alone, strict=True):
        assert [scores_of(window)[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [scores_of(result)[name] for name in CLASSES] == pytest.approx(np.mean(alone, axis=0).tolist(), abs=1e-6)
    assert not np.allclose(alone[0], alone[-1], atol=1e-4)
    (default,) = inferencer(flashes)
    assert [(window['start'], window['end']) for window in default['windows']] == [(0.0, 2.0), (2.0, 4.0)]


def test_windows_lie_within_what_the_file_holds(inferencer, make_clip, tmp_path):
    options = dict(seconds=6.0, keyframes=6)
    for name, expected in {'cut.mkv': 3.6, 'short_picture.mp4': 6.0, 'raw.aac': 6.1}.items():
        source = make_clip(
            f'for_windows_{name}',
            **options,
            **{'cut.mkv': {}, 'short_picture.mp4': dict(times=np.arange(12) / 12), 'raw.aac': dict(video=None)}[name],
        )
        data = source.read_bytes()
        path = tmp_path / name
        path.write_bytes(data[: len(data) * 6 // 10] if name == 'cut.mkv' else data)
        (result,) = inferencer(str(path), window=1.0)
        assert result['duration'] == pytest.approx(expected, abs=0.4)
        assert result['windows'][-1]['end'] == pytest.approx(result['duration'], abs=1e-3)
        assert result['skipped'] == []


def test_more_windows_than_allowed(inferencer, flashes, clip):
    message = r'its 4.0 s are 5 windows, more than max_windows=4; raise it to read them all'
    with pytest.raises(MediaError, match=message):
        inferencer(flashes, stride=0.5, max_windows=4)
    results = inferencer([flashes, clip], stride=0.5, max_windows=4, errors='report')
    assert results[0]['error'] == message and results[1]['error'] is None
    assert len(inferencer(flashes, stride=0.5, max_windows=5)[0]['windows']) == 5


@pytest.mark.skipif(sys.platform == 'win32', reason='these names cannot be given there')
@pytest.mark.parametrize('name', [b'caf\xe9.mp4', b'12:30:05.mp4', b'concat:a|b.mp4', b'p%03d.mp4'])
def test_any_name_of_a_file(inferencer, clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(name)
    shutil.copy(clip, name)
    (expected,) = inferencer(clip)
    (result,) = inferencer(name, out_dir='out')
    assert result['path'] == name and result['predictions'] == expected['predictions']
    with open_media(result['video']) as copy:
        assert copy.info.duration == pytest.approx(2.0, abs=0.1)
    assert json.loads(json.dumps(result))['path'] == name


@pytest.mark.parametrize(('batch_size', 'num_workers'), [(1, 0), (2, 3), (64, 1)])
def test_batches_and_threads_change_nothing(inferencer, clip, flashes, silent, batch_size, num_workers):
    inputs = [clip, flashes, silent, clip]
    expected = inferencer(inputs, 8, None, window=1.0)
    found = inferencer(inputs, batch_size, None, window=1.0, num_workers=num_workers)
    for one, other in zip(expected, found, strict=True):
        assert one['path'] == other['path'] and len(one['windows']) == len(other['windows'])
        assert scores_of(one) == pytest.approx(scores_of(other), abs=1e-6)


def test_arrays_give_what_the_file_gives(inferencer, clip):
    with av.open(str(clip)) as container:
        frames = np.stack([frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)])
    with av.open(str(clip)) as container:
        wave = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    file, arrays, alone = inferencer(
        [clip, dict(video=frames, fps=12, audio=wave[:, :32000], sample_rate=16000), dict(video=frames, fps=12)],
        topk=None,
    )
    assert scores_of(arrays) == pytest.approx(scores_of(file), abs=2e-2)  # the file's samples go through one more scale
    assert arrays['path'] == '<arrays 1>' and alone['missing'] == ['audio'] and alone['duration'] == 2.0


def test_folder_is_searched_for_media(inferencer, clip, silent, tmp_path):
    (tmp_path / 'deep').mkdir()
    (tmp_path / 'deep' / 'b.mp4').symlink_to(silent)
    (tmp_path / 'a.MP4').symlink_to(clip)
    (tmp_path / 'notes.txt').write_text('none')
    results = inferencer(tmp_path)
    assert [result['path'] for result in results] == [str(tmp_path / 'a.MP4'), str(tmp_path / 'deep/b.mp4')]


def test_withheld_modality(inferencer, clip, silent):
    whole, withheld = inferencer(clip, topk=None)[0], inferencer(clip, topk=None, drop=['audio'])[0]
    assert withheld['withheld'] == ['audio'] and withheld['present'] == ['video'] and withheld['missing'] == []
    assert scores_of(whole) != pytest.approx(scores_of(withheld), abs=1e-3)
    with pytest.raises(MediaError, match='has no audio, and nothing else is requested'):
        inferencer(silent, drop=['video'])


def test_rotated_clip_is_seen_upright(inferencer, clip, tmp_path):
    turned = tmp_path / 'turned.mp4'
    shutil.copy(clip, turned)
    rotate_by_metadata(turned, quarters=1)
    straight, upright = (inferencer.read(path)['inputs']['video'].float() for path in (clip, turned))
    quarters = [k for k in range(4) if (straight.rot90(k, (-2, -1)) - upright).abs().mean() < 2]
    assert 1 in quarters or 3 in quarters
    (result,) = inferencer(turned)
    assert result['error'] is None and result['present'] == ['video', 'audio']


def test_single_modality(video_only, clip, blind):
    (result,) = video_only(clip)
    assert result['present'] == ['video'] and result['missing'] == []
    with pytest.raises(MediaError, match='has no video'):
        video_only(blind)


def test_verbs_and_nouns(clip, tmp_path):
    cfg = config(head=dict(type='VerbNounHead', num_verbs=2, num_nouns=3))
    names = dict(verb=('cut', 'wash'), noun=('egg', 'pan', 'tap'))
    inferencer = AVInferencer(*write_model(tmp_path, cfg, classes=names), show_progress=False)
    (result,) = inferencer(clip, topk=None)
    verbs, nouns = ({each['label']: each['score'] for each in result[part]} for part in ('verb', 'noun'))
    assert set(verbs) == set(names['verb']) and set(nouns) == set(names['noun'])
    for each in result['predictions']:
        verb, noun = each['label'].split()
        assert each['score'] == pytest.approx(verbs[verb] * nouns[noun])
        assert each['index'] == [names['verb'].index(verb), names['noun'].index(noun)]
    assert len(result['predictions']) == 6 and len(result['windows'][0]['verb']) == 2


def test_views_are_averaged(clip, tmp_path):
    inferencer = AVInferencer(*write_model(tmp_path, config(views=3)), show_progress=False)
    assert inferencer.read(clip)['inputs']['video'].shape[0] == 3
    (result,) = inferencer(clip, topk=None)
    assert sum(scores_of(result).values()) == pytest.approx(1.0)


def test_broken_files(inferencer, clip, tmp_path):
    torn, empty = tmp_path / 'torn.mp4', tmp_path / 'empty.mp4'
    torn.write_text('this is no film')
    empty.touch()
    results = inferencer([torn, clip, empty, tmp_path / 'missing.mp4'], errors='report')
    assert [result['error'] is None for result in results] == [False, True, False, False]
    assert results[2]['error'] == 'is an empty file (0 bytes)' and results[3]['error'] == 'no such file'
    assert results[0]['predictions'] == [] and results[1]['predictions']
    with pytest.raises(MediaError, match='torn.mp4: cannot be opened'):
        inferencer([clip, torn])


def test_window_that_cannot_be_read_is_skipped(inferencer, flashes, monkeypatch):
    read = inferencer.read

    def fail_in_the_middle(source, *, start, end, drop):
        if start == 1.0:
            raise MediaError('flashes.mp4', 'damaged here')
        return read(source, start=start, end=end, drop=drop)

    monkeypatch.setattr(inferencer, 'read', fail_in_the_middle)
    (result,) = inferencer(flashes, window=1.0)
    assert [window['start'] for window in result['windows']] == [0.0, 2.0, 3.0]
    assert result['skipped'] == [dict(start=1.0, end=2.0, reason='damaged here')] and result['error'] is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(errors='ignore'), 'errors=.ignore. is not one of raise, report'),
        (dict(batch_size=0), 'batch_size=0 must be 1 or more'),
        (dict(topk=0), 'topk=0 must be 1 or more'),
        (dict(drop=['sound']), 'cannot withhold .sound.: the model reads video and audio'),
        (dict(drop=['video', 'audio']), 'leaves the model nothing'),
        (dict(window=5.0), 'longer than the 2 s that this model looks at'),
        (dict(window=-1.0), 'window=-1.0 must be above 0'),
        (dict(window=1.0, stride=1.5), 'stride=1.5 is longer than window=1.0'),
    ],
)
def test_wrong_arguments(inferencer, clip, arguments, message):
    with pytest.raises(ValueError, match=message):
        inferencer(clip, **arguments)


def test_wrong_files(files, tmp_path):
    with pytest.raises(ConfigError, match='no config file'):
        AVInferencer(tmp_path / 'no.py', files[1])
    with pytest.raises(CheckpointError, match='no.pth'):
        AVInferencer(files[0], tmp_path / 'no.pth')
    with pytest.raises(CheckpointError, match='does not fit the model'):
        AVInferencer(config(['audio']), files[1])
    with pytest.raises(ConfigError, match='3 names, but the model tells 4 apart'):
        AVInferencer(*files, classes=['a', 'b', 'c'])
    with pytest.raises(ConfigError, match="no device 'gpu7' here"):
        AVInferencer(*files, device='gpu7')
    with pytest.raises(MmavError, match='no class list|no_such'):
        AVInferencer(*files, classes=str(tmp_path / 'no_such.txt'))


def test_class_list_decides_a_head_of_any_size(files, tmp_path):
    cfg = config(head=dict(type='ClsHead', num_classes='auto'))
    inferencer = AVInferencer(cfg, files[1], data_root=str(tmp_path), show_progress=False)
    assert inferencer.model.head.num_classes == len(CLASSES)
    # the config that was given is left as it was
    assert cfg.model.head.num_classes == 'auto' and cfg.test_dataloader.dataset.data_root == ''


def test_model_is_left_in_float32_without_gradients(inferencer, clip):
    inferencer(clip)
    assert not inferencer.model.training and all(p.grad is None for p in inferencer.model.parameters())
    batch = inferencer.prepare([inferencer.read(clip)])
    assert batch['inputs']['video'].dtype == torch.float32 and batch['masks'] is None


def test_names_in_another_order_are_those_of_the_checkpoint(files, clip, capfd):
    own = scores_of(AVInferencer(*files, show_progress=False)(clip)[0])
    MMLogger._instance_dict.clear()  # it would write to the console of whoever was the first to log
    turned = AVInferencer(*files, classes=CLASSES[::-1], show_progress=False)
    assert 'has the classes in another order' in capfd.readouterr().out
    found = scores_of(turned(clip)[0])
    assert found == pytest.approx(own, abs=1e-6)
    (best,) = turned(clip, topk=1)[0]['predictions']
    assert CLASSES[::-1][best['index']] == best['label']


def test_other_names_rename_but_not_as_another_class(files, clip, capfd):
    own = scores_of(AVInferencer(*files, show_progress=False)(clip)[0])
    names = ['Katze', 'Hund', 'fox', 'owl']
    found = scores_of(AVInferencer(*files, classes=names, show_progress=False)(clip)[0])
    assert 'renames classes of' in (told := capfd.readouterr().out) and "'cat' is called 'Katze'" in told
    assert [found[name] for name in names] == pytest.approx([own[name] for name in CLASSES])
    with pytest.raises(CheckpointError, match=r"calls 'cat' of .* 'dog', which is another of its classes"):
        AVInferencer(*files, classes=['dog', 'fox', 'owl', 'hen'])


def test_the_number_of_classes_is_told_before_shapes(files):
    for number in (3, 16):
        with pytest.raises(ConfigError, match=f"model.pth' has 4 names, but the model tells {number} apart"):
            AVInferencer(config(head=dict(type='ClsHead', num_classes=number)), files[1])


def test_lora_is_merged(tmp_path):
    cfg = config()
    for backbone in cfg.model.backbones.values():
        backbone.lora = dict(rank=2)
    path, checkpoint = write_model(tmp_path, cfg)
    content = load_checkpoint_file(checkpoint)
    for name, value in content['state_dict'].items():
        if name.endswith('lora_b'):  # which is zero before training
            value.normal_()
    torch.save(content, checkpoint)
    merged = AVInferencer(path, checkpoint, device='cpu').model
    apart = build_model(cfg.model, content, 'lora.pth', names=None)
    assert lora_layers(apart) and not any(map(is_lora, merged.state_dict()))
    inputs = dict(video=torch.randn(2, 1, 3, 4, 32, 32), audio=torch.randn(2, 1, 1, 16, 200))
    with torch.no_grad():
        found, expected = merged(inputs)['label'], apart(inputs)['label']
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        for layer in lora_layers(apart).values():
            layer.lora_b.zero_()
        assert not torch.allclose(found, apart(inputs)['label'], atol=1e-3)


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    """A model that gives several labels, in windows of 1 s."""
    head = dict(type='MultiLabelHead', num_classes=len(CLASSES))
    return write_model(tmp_path_factory.mktemp('several'), config(head=head, window=1.0, multi_label=True))


def test_several_labels_reach_their_thresholds(several, clip):
    (result,) = AVInferencer(*several, show_progress=False)(str(clip), topk=None)
    scores = scores_of(result)
    assert sum(scores.values()) != pytest.approx(1, abs=0.01)
    limits = dict(zip(CLASSES, np.linspace(0.2, 0.8, len(CLASSES)).tolist(), strict=True))
    model = AVInferencer(*several, thresholds=limits, show_progress=False)
    (found,) = model(str(clip), topk=1)
    for each in (found, *found['windows']):
        assert len(each['predictions']) == 1
    assert {each['label'] for each in found['labels']} == {name for name, s in scores.items() if s >= limits[name]}
    assert 0 < len(found['labels']) < len(CLASSES)
    # the highest of the windows
    (highest,) = model(str(clip), topk=None, merge='max')
    windows = [scores_of(window) for window in highest['windows']]
    assert len(windows) == 2 and windows[0] != windows[1]
    assert scores_of(highest) == {name: max(window[name] for window in windows) for name in CLASSES}
    assert scores_of(result) == pytest.approx({name: np.mean([window[name] for window in windows]) for name in CLASSES})


def test_options_of_several_labels_are_refused_for_one(files, inferencer, clip):
    with pytest.raises(ConfigError, match='leave it out'):
        inferencer(str(clip), merge='max')
    with pytest.raises(ValueError, match="did you mean 'mean'"):
        inferencer(str(clip), merge='meen')
    with pytest.raises(ConfigError, match='leave them out'):
        AVInferencer(*files, thresholds=0.4, show_progress=False)


def test_bytes_are_classified_like_the_file(inferencer, clip, flashes, tmp_path):
    data = flashes.read_bytes()
    results = inferencer([str(flashes), data, io.BytesIO(clip.read_bytes())], topk=None, out_dir=tmp_path / 'out')
    assert results[1]['predictions'] == results[0]['predictions'] and results[1]['windows'] == results[0]['windows']
    assert [type(result['path']) for result in results] == [str] * 3 and results[2]['path'] == '<bytes 2>'
    assert os.path.basename(results[1]['video']) == 'bytes 1.mp4'
    for wrong, reason in ((b'', 'empty file'), (b'no film', 'cannot be opened')):
        assert reason in inferencer(wrong, errors='report')[0]['error']
