from __future__ import annotations

import pytest

from mmav.datasets import columns
from mmav.datasets.columns import find_columns, near_column
from mmav.errors import ManifestError

KNOWN = ('path', 'label', 'start', 'end')
MEANT = dict(
    path='Path video videos file filename file_name filepath FilePath audio clip clip_path wav media pathh paht',
    label='Label labels class classes Class category class_name class_id classId label_idx lable labl catagory',
    start='Start START begin t0 onset start_time startTime starttime time_start start_sec start(s) video_start strat '
    'start_frame frame_start start_ms begin_seconds first_frame ts_start window_start action_start youtube_start '
    'start_tc start_offset crop_start',
    end='End ENDS stop t1 offset end_time endtime time_end end_s end_frame stop_frame end_timestamp to edn last_frame '
    'ts_end window_end action_end youtube_end t_fin end_hms end_pts',
)
OTHERS = (
    'split speaker source_url video_id youtube_id videoid narration_id fps width duration language notes top step form '
    'send state table index fold frame_rate num_frames sample_rate has_audio audio_codec file_size verb noun '
    'first_name last_seen action action_id window scene event time timestamp start_noise end_date start_lat name '
    'sending pending parting tint frame min max list gt text caption sample'
)


@pytest.mark.parametrize(('meant', 'names'), MEANT.items(), ids=MEANT)
def test_a_near_name_means_a_column(meant, names):
    assert {name: near_column(name, KNOWN) for name in names.split()} == dict.fromkeys(names.split(), meant)


# Headers of public lists, as published; '=' and a column: what is near to it, and thus never ignored.
PUBLIC = {
    'AudioSet': 'YTID start_seconds=start end_seconds=end positive_labels=label',
    'AudioSet, strong': 'segment_id start_time_seconds=start end_time_seconds=end label=label',
    'Kinetics': 'label=label youtube_id time_start=start time_end=end split is_cc',
    'EPIC-Kitchens': 'narration_id video_id narration_timestamp start_timestamp=start stop_timestamp=end '
    'start_frame=start stop_frame=end narration all_nouns all_noun_classes',
    'AVE': 'Category=label VideoID Quality StartTime=start EndTime=end',
    'ActivityNet': 'video_id subset t-start=start t-end=end f_start=start f_end=end label=label',
    'HACS': 'classname=label youtube_id subset start=start end=end',
    'AVA-Speech': 'video_id label_start_timestamp_seconds=start label_end_timestamp_seconds=end',
    'Moments in Time': 'filename=path label=label number_positive number_negative',
    'ESC-50': 'filename=path fold target=label category=label esc10 src_file take',
    'FSD50K': 'fname=path labels=label mids split',
    'UrbanSound8K': 'slice_file_name=path fsID start=start end=end salience fold classID=label class=label',
    'DCASE': 'filename=path event_label=label event_labels=label',
    'HowTo100M': 'video_id category_1 category_2 rank task_id start=start end=end text',
    'COIN': 'video_url recipe_type segment_start=start segment_end=end class=label',
    'Ego4D': 'video_uid clip_uid clip_start_sec=start clip_end_sec=end video_start_frame=start action_start_sec=start '
    'parent_start_sec=start interval_end_frame=end',
    'AudioCaps': 'audiocap_id youtube_id start_time=start caption',
    'TextGrid': 'tier tmin=start tmax=end text',
}


@pytest.mark.parametrize('columns_of_list', PUBLIC.values(), ids=PUBLIC)
def test_columns_of_public_lists(columns_of_list):
    for column in columns_of_list.split():
        name, _, meant = column.partition('=')
        assert (near_column(name, KNOWN) or '') == meant, name
        header = ['path', 'label', 'start', 'end', name]
        if meant and name not in header:
            with pytest.raises(ManifestError, match=rf'column {name!r} is not read; .*{meant!r} exists, too'):
                find_columns('m.csv', header, ('label',))
        elif name not in header:
            assert name not in find_columns('m.csv', header, ('label',))


def test_other_names_mean_none():
    assert [name for name in OTHERS.split() if near_column(name, KNOWN)] == []


def test_verbs_and_nouns():
    names = ('verb_class', 'Verbs', 'noun_id', 'nuon', 'label')
    assert [near_column(name, ('verb', 'noun')) for name in names] == ['verb', 'verb', 'noun', 'noun', None]


@pytest.mark.parametrize(
    ('header', 'message'),
    [
        ('path,label,start_time,end_time', r"row 1: column 'start_time' is not read; rename it to 'start', in seconds"),
        ('path,label,start,end_time', r"'end_time' is not read; rename it to 'end'"),
        (
            'path,label,start_frame,end_frame',
            r"'start_frame' .* divide its numbers by the frame rate and call it 'start'",
        ),
        ('path,label,start_ms,end_ms', r"'start_ms' .* divide its numbers by 1000 and call it 'start'"),
        ('path,label,start_us,end_us', r"'start_us' .* divide its numbers by 1000000 and call it 'start'"),
        ('path,label,start_sample', r"'start_sample' .* divide its numbers by the sample rate and call it 'start'"),
        ('path,label,f_start', r"'f_start' .* divide its numbers by the frame rate and call it 'start'"),
        ('path,label,t_min,t_max', r"'t_min' is not read; rename it to 'start'"),
        ('path,positive_labels', r"no column 'label', .* rename column 'positive_labels' to 'label'"),
        ('path,verb,noun,labels', r"rename column 'labels' to 'label'"),
        ('# Segments csv created Sun Mar  5 10:54:31 2017', r'it is a comment. .* list: mmav prepare-audioset'),
        ('YTID,start_seconds,end_seconds,positive_labels', r'For an official list: mmav prepare-audioset'),
        ('label,youtube_id,time_start,time_end', r'For an official list: mmav prepare-kinetics-sounds'),
        ('video_id,start,end,label', r"'video_id' names no file: mmav prepare-segments finds the files"),
        ('path,label,start,end,begin', r"'begin' .* almost 'start', but 'start' exists, too: remove one of the two"),
        ('path,label,video', r"'video' .* almost 'path', but 'path' exists, too"),
        ('path,label,class', r"'class' .* almost 'label', but 'label' exists, too"),
        ('path,label,onset,offset', r"'onset' .* rename it to 'start'"),
        ('path,label,offset,duration', r"'offset' .* call it 'start' and write a column 'end'"),
        ('path,label,start,duration', r"'duration' is not read; write a column 'end', which is start \+ duration"),
        ('video,class', r"no column 'path', only 'video', 'class'; rename column 'video' to 'path'"),
        ('path,class', r"no column 'label', only 'path', 'class'; rename column 'class' to 'label'"),
        ('Path,Label', r"rename column 'Path' to 'path'"),
        (
            'path;label',
            r"the first row must name the columns: path,label; here ';' separates cells, use a comma",
        ),
        ('path\tlabel', r"here '\\t' separates cells"),
        ('clips/a.mp4,dog', r'must name the columns: path,label; here it is a clip, add the names above it'),
        ('path,label,start,start', r"column 'start' occurs twice"),
    ],
)
def test_headers_that_are_refused(header, message):
    with pytest.raises(ManifestError, match=message):
        find_columns('m.csv', header.split(','), ('label',))


def test_several_labels_are_told_their_separator():
    with pytest.raises(ManifestError, match=r"'labels' .* rename it to 'label', with \| between several names"):
        find_columns('m.csv', ['path', 'labels'])
    with pytest.raises(ManifestError, match="'class' .* rename it to 'label'$"):
        find_columns('m.csv', ['path', 'class'])


def test_where_labels_are_not_looked_at_their_columns_are_known_all_the_same():
    assert find_columns('m.csv', ['label', 'path', 'verb']) == dict(path=1, label=0, verb=2)
    with pytest.raises(ManifestError, match="'class' is not read; rename it to 'label'"):
        find_columns('m.csv', ['path', 'class'])
    with pytest.raises(ManifestError, match="'verb_class' is not read; rename it to 'verb'"):
        find_columns('m.csv', ['path', 'verb_class', 'noun'])


def test_an_onset_alone_is_an_event_in_the_clip():
    for header in ('path,label,onset_s,noise', 'path,label,offset'):
        assert find_columns('m.csv', header.split(','), ('label',)) == dict(path=0, label=1)


def test_other_columns_are_said_once(monkeypatch):
    lines = []
    monkeypatch.setattr(columns, 'print_log', lambda line, *args, **kwargs: lines.append(line))
    columns.say_once.cache_clear()
    for _ in range(2):
        header = ['path', 'split', 'label', 'speaker']
        assert find_columns('m.csv', header, ('label',)) == dict(path=0, label=2)
        assert find_columns('n.csv', ['path', 'verb', 'noun', 'label'], ('verb', 'noun'))['noun'] == 2
        assert find_columns('n.csv', ['path', 'label', 'start'], ('label',))['start'] == 2
    assert lines == [
        'm.csv: columns that are not read: split, speaker',
        'n.csv: columns that are not read: label',
        "n.csv: no column 'end': clips end at the end of their file",
    ]


@pytest.mark.parametrize(
    ('header', 'found'),
    [
        ('video,audio,label', dict(video=0, audio=1, label=2)),
        ('label,audio_path,video_path,start,end', dict(label=0, audio=1, video=2, start=3, end=4)),
        ('video,fps,label', dict(video=0, fps=1, label=2)),
        ('video,audio,fps,sample_rate,label,speaker', dict(video=0, audio=1, fps=2, sample_rate=3, label=4)),
        ('path,fps,label', dict(path=0, label=2)),
    ],
)
def test_a_pair_of_files_in_place_of_a_path(header, found):
    assert find_columns('m.csv', header.split(','), ('label',)) == found


@pytest.mark.parametrize(
    ('header', 'message'),
    [
        ('video,label', "no column 'path', only 'video', 'label'; rename column 'video' to 'path'"),
        ('path,video,audio,label', "column 'video' is not read; it is almost 'path', but 'path' exists, too"),
        ('video,audio,video,label', "column 'video' occurs twice"),
        ('video,video_path,audio,label', "columns 'video' and 'video_path' both name the video; remove one"),
        ('video,audio,class', "no column 'label', .* rename column 'class' to 'label'"),
    ],
)
def test_pairs_that_are_none(header, message):
    with pytest.raises(ManifestError, match=message):
        find_columns('m.csv', header.split(','), ('label',))
