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
    'first_name last_seen action action_id window scene event time timestamp start_noise end_date start_lat'
)


@pytest.mark.parametrize(('meant', 'names'), MEANT.items(), ids=MEANT)
def test_a_near_name_means_a_column(meant, names):
    assert {name: near_column(name, KNOWN) for name in names.split()} == dict.fromkeys(names.split(), meant)


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
