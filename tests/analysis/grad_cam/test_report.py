from types import SimpleNamespace

import av
import numpy as np
import pytest
from mmengine.config import Config

from mmav.analysis.grad_cam.clips import look
from mmav.analysis.grad_cam.report import CamModel, common_targets, list_clips, parse_blocks, show_clips, unique_names
from mmav.analysis.grad_cam.score import score_models
from mmav.errors import ConfigError, MmavError
from mmav.outputs import RECORD
from mmav.visualization.grad_cam import GradCAM
from tests.inference.models import CLASSES, config, write_model

OPTIONS = dict(device='cpu', data_root=None, part=None)


def make_model(folder, cfg, **options):
    folder.mkdir()
    path, checkpoint = write_model(folder, cfg, **options)
    return CamModel(str(path.rename(folder / f'{folder.name}.py')), str(checkpoint), **OPTIONS)


@pytest.fixture(scope='module')
def data(tmp_path_factory, clip, silent, blind):
    """A test set of three clips, and what AVSynth would say of the first."""
    folder = tmp_path_factory.mktemp('data')
    for path in (clip, silent, blind):
        (folder / path.name).symlink_to(path)
    (folder / 'test.csv').write_text(f'path,label\n{clip.name},dog\n{silent.name},cat\n{blind.name},owl\n')
    (folder / 'boxes.csv').write_text(f'path,frame,seconds,x0,y0,x1,y1\n{clip.name},0,0,0.2,0.2,0.7,0.6\n')
    (folder / 'events.csv').write_text(f'path,onset,offset\n{clip.name},0.4,1.2\n')
    return folder


@pytest.fixture(scope='module')
def models(tmp_path_factory, data):
    cfg = dict(data_root=str(data), classes=list(CLASSES))
    folder = tmp_path_factory.mktemp('models')
    return make_model(folder / 'both', config(**cfg)), make_model(folder / 'seeing', config(['video'], **cfg))


def test_clips_of_a_test_set(models, data, clip):
    clips = list_clips(models[0], None, None, None)
    assert [each.label for each in clips] == [dict(label=('dog',)), dict(label=('cat',)), dict(label=('owl',))]
    assert [each.event is not None for each in clips] == [True, False, False]
    assert clips[0].event.onset == 0.4 and clips[0].path == f'{data}/{clip.name}'
    assert [each.name for each in list_clips(models[0], None, [2, 0], None)] == ['00002_blind', '00000_plain']
    assert [each.name for each in list_clips(models[0], None, None, 2)] == ['00000_plain', '00002_blind']
    with pytest.raises(ConfigError, match='there is no clip 3: the test set has 3'):
        list_clips(models[0], None, [3], None)


def test_clips_of_a_joined_test_set(models, tmp_path):
    cfg = models[0].inferencer.cfg
    dataset = dict(cfg.test_dataloader.dataset)
    member = {**dataset, 'classes': ['bird', 'dog', 'cow'], 'ann_file': str(tmp_path / 'more.csv')}
    (tmp_path / 'more.csv').write_text('path,label\nmore.mp4,bird\n')
    joined = dict(type='ConcatDataset', datasets=[dataset, member], classes='union')
    wrapped = Config(dict(test_dataloader=dict(dataset=joined)))
    model = SimpleNamespace(inferencer=SimpleNamespace(cfg=wrapped))
    clips = list_clips(model, None, None, None)
    assert [each.label['label'] for each in clips] == [('dog',), ('cat',), ('owl',), ('bird',)]
    assert clips[3].name == '00003_more'


def test_of_a_long_file_the_window_in_the_middle(models, flashes):
    (own,) = list_clips(models[0], [str(flashes)], None, None)  # 4 s, windows of 2 s
    assert (own.start, own.end, own.label, own.event) == (2.0, 4.0, {}, None)


def test_pages_and_videos_of_all_models(models, data, tmp_path):
    clips = list_clips(models[0], None, [0, 1], None)
    written = show_clips(models, clips, tmp_path, blocks=dict(audio=0), method='gradcam', frames=3, video=True)
    assert [path.name for path in written] == [
        '00000_plain.png', '00000_plain_both.mp4', '00000_plain_seeing.mp4',
        '00001_silent.png', '00001_silent_both.mp4', '00001_silent_seeing.mp4',
    ]  # fmt: skip
    with av.open(str(written[1])) as made, av.open(str(clips[0].path)) as source:
        assert made.streams.video[0].average_rate == source.streams.video[0].average_rate
        assert len(list(made.decode(video=0))) == 24 and len(made.streams.audio) == 1


def test_a_clip_without_a_picture_has_a_page_and_no_video(models, data, tmp_path):
    clips = list_clips(models[0], None, [2], None)
    with pytest.raises(MmavError, match='--video: none of the clips has video that a model saw'):
        show_clips(models[:1], clips, tmp_path, blocks={}, method='centred', video=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [RECORD, '00002_blind.png']


def test_rows_say_what_is_predicted_and_whether_it_is_true(models, data):
    model = models[0]
    (clip,) = list_clips(model, None, [0], None)
    seen = look(model.inferencer, clip.path)
    cam = GradCAM(model.model)
    (result,) = model.inferencer(clip.path)
    best = result['predictions'][0]
    row = model.row(seen, clip, cam, None)
    assert row.label.startswith(f'both: {best["label"]} {best["score"]:.2f}') and row.right == (best['label'] == 'dog')
    other = model.row(seen, clip, cam, model.target('owl' if best['label'] != 'owl' else 'fox'))
    assert '; map of ' in other.label and not np.array_equal(other.cam, row.cam)
    assert row.cam.shape == (4, 32, 32) and row.sound_cam.shape == (16, 200) == row.spectrogram.shape


def test_scores(models, data, tmp_path):
    clips = list_clips(models[0], None, None, None)
    text = score_models(models, clips, tmp_path, blocks=dict(audio=0), methods=['gradcam'])
    assert text.splitlines()[0] == 'both: 1 clips' and 'seeing: 1 clips' in text
    assert (tmp_path / 'scores.json').is_file()
    with pytest.raises(MmavError, match='the place of events is unknown for these clips'):
        score_models(models, clips[1:], tmp_path, blocks=None, methods=['gradcam'])


def test_models_of_one_config_have_names_of_their_own():
    assert unique_names(['mmt', 'mat', 'mmt', 'MMT', 'mmt_2']) == ['mmt', 'mat', 'mmt_2', 'MMT_3', 'mmt_2_2']


def test_classes_and_parts(models, tmp_path):
    assert [models[0].target(name) for name in (None, 'fox', '3')] == [None, 2, 3]
    with pytest.raises(ConfigError, match="--class dgo: both knows no such class, .* 0 to 3, did you mean 'dog'"):
        models[0].target('dgo')
    with pytest.raises(ConfigError, match='--class 4: '):
        models[0].target('4')
    # an index is the first model's
    turned = CamModel(*map(str, write_model(tmp_path, config(), classes=CLASSES[::-1])), **OPTIONS)
    nameless = CamModel(*map(str, write_model(tmp_path, config(), classes=None)), **OPTIONS)
    assert common_targets([models[0], turned, nameless], '3') == [3, 0, 3]
    assert common_targets([turned, models[0]], 'cat') == [3, 0]
    assert common_targets([models[0], turned], None) == [None, None]
    head = dict(type='VerbNounHead', num_verbs=2, num_nouns=3)
    names = dict(verb=('run', 'hop'), noun=('cat', 'dog', 'fox'))
    files = [str(path) for path in write_model(tmp_path, config(head=head), classes=names)]
    verb, noun = (CamModel(*files, **{**OPTIONS, 'part': part}) for part in (None, 'noun'))
    assert verb.part == 'verb' and verb.target('hop') == 1 and noun.target('fox') == 2
    with pytest.raises(ConfigError, match='--part label: model tells verb and noun apart'):
        CamModel(*files, **{**OPTIONS, 'part': 'label'})


@pytest.mark.parametrize('item', ['video', '=3', 'video='])
def test_blocks_of_another_form(item):
    with pytest.raises(ConfigError, match='give MODALITY=BLOCK'):
        parse_blocks([item])


def test_any_of_several_labels_is_right(tmp_path, data):
    (tmp_path / 'several.csv').write_text(f'path,label\n{data}/plain.mp4,dog|cat|owl\n{data}/silent.mp4,\n')
    options = dict(ann_file=str(tmp_path / 'several.csv'), classes=list(CLASSES), multi_label=True)
    cfg = config(head=dict(type='MultiLabelHead', num_classes=len(CLASSES)))
    cfg.test_dataloader.dataset.update(options)
    model = make_model(tmp_path / 'model', cfg)
    clips = list_clips(model, None, None, None)
    assert [each.label for each in clips] == [dict(label=('cat', 'dog', 'owl')), dict(label=())]
    cam = GradCAM(model.model)
    for clip in clips:
        best = model.inferencer(clip.path)[0]['predictions'][0]['label']
        row = model.row(look(model.inferencer, clip.path), clip, cam, None)
        assert row.right == (best in clip.label['label'])
    assert len(show_clips([model], clips, tmp_path / 'pages', blocks={}, method='centred', frames=2)) == 2
