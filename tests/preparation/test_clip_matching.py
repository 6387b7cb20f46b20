from __future__ import annotations

import pytest

from mmav.errors import MmavError
from mmav.preparation.annotations import AnnotatedClip, Annotation
from mmav.preparation.clip_files import AUDIO_SUFFIXES, SUFFIXES, ClipFolder
from mmav.preparation.clip_matching import match

PATTERNS = ('{id}_{start:06d}', '{id}')


@pytest.fixture
def run(tmp_path):
    def run_match(clips, files, *, segments=False):
        toy = Annotation(
            'Toy', dict(label=('dog barking', 'singing')), patterns=PATTERNS, fields=['id', 'start'], segments=segments
        )
        for line, (name, start, label) in enumerate(clips, start=1):
            toy.clips.append(AnnotatedClip('train', 'a.csv', line, name, name, start, start + 10, (label,)))
        for path, content in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        result = match(toy, ClipFolder(str(tmp_path)), PATTERNS)
        problems = [(problem.kind, problem.text) for problem in result.problems]
        return (
            {clip.line: path for clip, path in result.found},
            {clip.line: reason for clip, reason in result.missing},
            problems,
        )

    return run_match


def test_found_and_missing(run):
    clips = [('x', 5, 'singing'), ('y', 5, 'singing'), ('x', 6, 'singing')]
    found, missing, problems = run(clips, {'x_000005.mp4': b'x', 'x_000006.mkv': b'x', 'x_000007.mp4': b'x'})
    assert found == {1: 'x_000005.mp4', 3: 'x_000006.mkv'} and missing == {2: 'no file'} and problems == []


def test_of_several_files_the_order_of_preference(run):
    clip = [('x', 5, 'singing')]
    files = {'x.mp4': b'x', 'z/x_000005.mp4': b'x', 'b/x_000005.mp4': b'x', 'a/b/x_000005.mp4': b'x'}
    several = ('several files', 'a.csv: line 1: b/x_000005.mp4, z/x_000005.mp4, a/b/x_000005.mp4, x.mp4')
    assert run(clip, files) == ({1: 'b/x_000005.mp4'}, {}, [several])


def test_a_file_in_the_right_folder_goes_before_one_in_a_wrong_one(run):
    files = {'dog_barking/x_000005.mp4': b'x', 'train/singing/x.mp4': b'x'}
    found, _, problems = run([('x', 5, 'singing')], files)
    assert found == {1: 'train/singing/x.mp4'} and [kind for kind, _ in problems] == ['several files']


def test_the_annotation_goes_before_the_name_of_a_folder(run):
    files = {'dog_barking/x.mp4': b'x', 'singing/dog barking/y.mp4': b'x', 'birds/z.mp4': b'x'}
    found, _, problems = run([('x', 5, 'singing'), ('y', 5, 'singing'), ('z', 5, 'singing')], files)
    assert len(found) == 3
    assert problems == [
        ('folder of another class', "a.csv: line 1: dog_barking/x.mp4 is in 'dog_barking', labelled 'singing'")
    ]


def test_empty_files_count_as_missing(run, tmp_path):
    (tmp_path / 'lost.mp4').symlink_to(tmp_path / 'nowhere.mp4')
    clips = [('x', 5, 'singing'), ('y', 5, 'singing'), ('lost', 5, 'singing')]
    found, missing, problems = run(clips, {'x.mp4': b'', 'y.mp4': b'', 'b/y.mp4': b'y'})
    assert found == {2: 'b/y.mp4'} and missing == {1: 'x.mp4: 0 bytes', 3: 'lost.mp4: link to nothing'}
    assert problems == [
        ('empty file', 'a.csv: line 1: x.mp4: 0 bytes'),
        ('several files', 'a.csv: line 2: b/y.mp4, y.mp4'),
        ('empty file', 'a.csv: line 3: lost.mp4: link to nothing'),
    ]


def test_a_name_that_fits_several_rows_serves_none(run):
    found, missing, problems = run([('x', 5, 'singing'), ('x', 7, 'singing'), ('y', 1, 'singing')], {
        'x.mp4': b'x', 'y.mp4': b'x',
    })  # fmt: skip
    assert found == {3: 'y.mp4'} and set(missing) == {1, 2}
    assert problems == [('one file for several rows', 'x.mp4: a.csv line 1, a.csv line 2')]


def test_segments_share_their_video_and_its_problems_are_told_once(run):
    clips = [('x', 5, 'singing'), ('x', 7, 'singing'), ('y', 1, 'singing'), ('y', 2, 'singing')]
    found, missing, problems = run(clips, {'x.mp4': b'x', 'b/x.mp4': b'x', 'y.mp4': b''}, segments=True)
    assert found == {1: 'x.mp4', 2: 'x.mp4'} and set(missing) == {3, 4}
    assert problems == [('several files', 'video x: x.mp4, b/x.mp4'), ('empty file', 'video y: y.mp4: 0 bytes')]


def test_nothing_found_shows_both_sides(run):
    message = (
        r"none of the 2 clips has a file in '.*'; expected are names such as 'x_000005.mp4', 'y_000005.mp4', "
        r"there is 1 .wav, 1 .mp4, such as 'b.wav', 'a/clip_x.mp4'; .* with --pattern"
    )
    with pytest.raises(MmavError, match=message):
        run([('x', 5, 'singing'), ('y', 5, 'singing')], {'a/clip_x.mp4': b'x', 'b.wav': b'x'})


def test_nothing_but_empty_files(run):
    with pytest.raises(MmavError, match=r'\(1 problems, a.csv: line 1: x.mp4: 0 bytes\); expected'):
        run([('x', 5, 'singing')], {'x.mp4': b''})


@pytest.fixture
def toy(tmp_path):
    toy = Annotation('Toy', dict(label=('singing',)), patterns=['{id}'], fields=['id'])
    for line, name in enumerate('xyz', start=1):
        toy.clips.append(AnnotatedClip('train', 'a.csv', line, name, name, 0, 1, ('singing',)))
    for path in ('v/x.mp4', 'v/y.mp4', 'v/more.mp4', 'a/x.wav', 'a/z.wav'):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b'x')
    return toy


def folders(tmp_path):
    return ClipFolder(str(tmp_path / 'v')), ClipFolder(str(tmp_path / 'a'), media=AUDIO_SUFFIXES)


def test_audio_in_files_of_its_own(toy, tmp_path):
    video, audio = folders(tmp_path)
    result = match(toy, video, ['{id}'], audio=audio)
    assert [(clip.id, path, result.audio[clip]) for clip, path in result.found] == [('x', 'x.mp4', 'x.wav')]
    assert [(clip.id, reason) for clip, reason in result.missing] == [('y', 'no audio file'), ('z', 'no file')]
    (tmp_path / 'a' / 'y.wav').write_bytes(b'')
    result = match(toy, *folders(tmp_path)[:1], ['{id}'], audio=folders(tmp_path)[1])
    assert ('empty file', 'a.csv: line 2: y.wav: 0 bytes') in result.problems


def test_of_a_clip_with_both_kinds_in_the_folder_of_the_audio_the_sound_alone(toy, tmp_path):
    (tmp_path / 'a' / 'video').mkdir()
    (tmp_path / 'a' / 'video' / 'x.flv').write_bytes(b'x')
    video, _ = folders(tmp_path)
    both = ClipFolder(str(tmp_path / 'a'), media=AUDIO_SUFFIXES | SUFFIXES)
    (found,) = match(toy, video, ['{id}'], audio=both).audio.values()
    assert found == 'x.wav'


def test_files_that_no_row_names(toy, tmp_path):
    video, _ = folders(tmp_path)
    assert not match(toy, video, ['{id}']).problems
    toy.is_whole = True
    assert match(toy, video, ['{id}']).problems == [('file that no row names', 'more.mp4')]


def test_rows_may_share_a_file(toy, tmp_path):
    toy.clips.append(toy.clips[0]._replace(id='again', line=4))
    video, _ = folders(tmp_path)
    assert {clip.id for clip, _ in match(toy, video, ['{id}']).found} == {'y'}
    toy.share_files = True
    assert {clip.id for clip, _ in match(toy, video, ['{id}']).found} == {'x', 'y', 'again'}
