from __future__ import annotations

from collections import Counter

import pytest

from mmav.datasets import AVDataset
from mmav.errors import ManifestError, MmavError
from mmav.preparation.annotations import BadRow
from mmav.preparation.crema_d import EMOTIONS, FOLDS, SENTENCES, parse_name, part_of_actor, read_crema_d
from mmav.preparation.manifests import dry_run, prepare
from tests.clips import make_clip

# in the form of OGM-GE's lists: no header, Windows line ends
TRAIN = '1088_IOM_NEU_XX,NEU\r\n1017_IWW_HAP_XX,HAP\r\n1041_IEO_ANG_HI,ANG\r\n'
TEST = '1041_TIE_NEU_XX,NEU\r\n1016_IEO_HAP_LO,HAP\r\n'
# and of the dataset's own list
FILENAMES = (
    '"Stimulus_Number","Filename"\n1,"1001_IEO_NEU_XX"\n2,"1002_IEO_HAP_LO"\n3,"1003_IEO_SAD_MD"\n4,"1004_IEO_SAD_MD"\n'
)
PEOPLE = '"ActorID","Age","Sex","Race","Ethnicity"\n' + ''.join(
    f'{actor},{age},"{sex}","Asian","Not Hispanic"\n'
    for actor, age, sex in [(1016, 20, 'Male'), (1017, 40, 'Female'), (1041, 30, 'Female'), (1088, 22, 'Male')]
)


@pytest.fixture
def write(tmp_path):
    def write_text(name, text):
        (tmp_path / 'lists').mkdir(exist_ok=True)
        (tmp_path / 'lists' / name).write_bytes(text.encode())
        return str(tmp_path / 'lists' / name)

    return write_text


@pytest.fixture
def lists(write):
    return [write('train.csv', TRAIN), write('test.csv', TEST)]


def test_official_lists(lists):
    annotation = read_crema_d(lists)
    assert [(clip.split, clip.id, clip.label) for clip in annotation.clips] == [
        ('train', '1088_IOM_NEU_XX', 'neutral'),
        ('train', '1017_IWW_HAP_XX', 'happy'),
        ('train', '1041_IEO_ANG_HI', 'anger'),
        ('test', '1041_TIE_NEU_XX', 'neutral'),
        ('test', '1016_IEO_HAP_LO', 'happy'),
    ]
    # class_dict of OGM-GE's and BalanceBenchmark's datasets
    order = {name: i for i, name in enumerate(annotation.classes['label'])}
    assert {code: order[name] for code, name in EMOTIONS.items()} == dict(NEU=0, HAP=1, SAD=2, FEA=3, DIS=4, ANG=5)
    (note,) = annotation.notes
    assert note.startswith('1 of the 2 actors of the test clips are in training, too')
    assert '\ntrain     3         0      3        3\n' in dry_run(annotation)


def test_rows_that_cannot_be_right(write):
    bad = (
        '1017_IWW_HAP_XX,SAD\n1017_IWW_HAP\n1092_IWW_HAP_XX,HAP\n1017_IWX_HAP_XX,HAP\n1017_IWW_JOY_XX,HAP\n'
        '1017_IWW_HAP_XL,HAP\n'
    )
    annotation = read_crema_d([write('train.csv', TRAIN + bad), write('test.csv', TEST + '1088_IOM_NEU_XX,NEU\n')])
    assert [problem.text for problem in annotation.problems] == [
        "train.csv: line 4: label 'SAD', but 1017_IWW_HAP_XX is HAP",
        "train.csv: line 5: '1017_IWW_HAP' is not of the form ACTOR_SENTENCE_EMOTION_LEVEL, such as 1012_IEO_FEA_HI",
        'train.csv: line 6: 1092_IWW_HAP_XX: there are actors 1001 to 1091',
        "train.csv: line 7: 1017_IWX_HAP_XX: sentence 'IWX' is none of " + ', '.join(SENTENCES),
        "train.csv: line 8: 1017_IWW_JOY_XX: emotion 'JOY' is none of NEU, HAP, SAD, FEA, DIS, ANG",
        "train.csv: line 9: 1017_IWW_HAP_XL: level 'XL' is none of LO, MD, HI, XX",
        'train.csv: line 1: 1088_IOM_NEU_XX is in the test split, too, in test.csv, line 3',
    ]
    assert len(annotation.clips) == 5 and annotation.left_out['train'] == 7


def test_no_actor_is_in_two_splits():
    tested = Counter()
    for fold in range(1, 6):
        part = {actor: part_of_actor(actor, fold) for actor in range(1001, 1092)}
        sizes = Counter(part.values())
        assert sizes['test'] in (18, 19) and sizes['val'] in (18, 19) and sum(sizes.values()) == len(FOLDS) == 91
        tested.update(actor for actor, name in part.items() if name == 'test')
    assert tested == Counter(range(1001, 1092))


@pytest.mark.parametrize('name', ['SentenceFilenames.csv', 'summaryTable.csv'])
def test_split_by_actors(write, name):
    text = FILENAMES if name.startswith('Sen') else FILENAMES.replace('"Stimulus_Number","Filename"', '"","FileName"')
    annotation = read_crema_d([write(name, text)], split='speakers', fold=4)
    assert [(clip.split, clip.id) for clip in annotation.clips] == [
        ('test', '1001_IEO_NEU_XX'),
        ('train', '1002_IEO_HAP_LO'),
        ('test', '1003_IEO_SAD_MD'),
        ('train', '1004_IEO_SAD_MD'),
    ]
    assert 'fold 4, test: 2 actors, 1001, 1003' in annotation.notes and annotation.splits == ('train', 'val', 'test')


def test_split_by_actors_of_what_is_in_a_folder(tmp_path):
    for name in ('a/1001_IEO_NEU_XX.flv', '1002_IEO_HAP_LO.mp4', 'holiday.mp4'):
        (tmp_path / 'clips' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'clips' / name).write_bytes(b'x')
    annotation = read_crema_d(split='speakers', fold=4, clips=str(tmp_path / 'clips'))
    text = prepare(annotation, str(tmp_path / 'clips'), str(tmp_path))
    assert (tmp_path / 'test.csv').read_text() == 'path,label\nclips/a/1001_IEO_NEU_XX.flv,neutral\n'
    assert 'file that no row names: 1, not used\n  holiday.mp4' in text and 'so none can be missing' in text
    (tmp_path / 'other').mkdir()
    with pytest.raises(MmavError, match='0 media files, and none with a name of CREMA-D'):
        read_crema_d(split='speakers', clips=str(tmp_path / 'other'))


def test_who_is_in_which_split(lists, write):
    told = read_crema_d(lists, demographics=write('people.csv', PEOPLE)).notes[-1].split('\n')
    assert [line.split()[:5] for line in told[1:]] == [
        ['train', '3', '2', '1', '30.7'],
        ['test', '2', '1', '1', '25.0'],
    ]
    with pytest.raises(ManifestError, match='actor 1016 is not there'):
        read_crema_d(lists, demographics=write('people.csv', PEOPLE.replace('1016,', '1018,')))
    with pytest.raises(ManifestError, match="no column 'ActorID'"):
        read_crema_d(lists, demographics=lists[0])


def test_what_is_refused(lists, write):
    for arguments, message in [
        (dict(), r'give its data/CREMAD/train.csv and test.csv \(github'),
        (dict(lists=lists, fold=2), '--fold 2 has no effect on the official split'),
        (dict(lists=lists, split='speakers', fold=6), 'there are folds 1 to 5'),
        (dict(lists=lists, split='half'), "split 'half' is neither official nor speakers"),
        (dict(split='speakers'), 'give it with --clips, or SentenceFilenames.csv'),
        (dict(lists=[write('all.csv', TRAIN)]), 'the official split is in train.csv and test.csv of OGM-GE'),
        (dict(lists=[write('test.csv', FILENAMES)]), 'the official split is in train.csv and test.csv of OGM-GE'),
    ]:
        with pytest.raises(MmavError, match=message):
            read_crema_d(**arguments)
    with pytest.raises(BadRow):
        parse_name('1012-IEO-FEA-HI')


def test_video_and_audio_in_files_of_their_own(lists, tmp_path):
    video, audio = tmp_path / 'VideoFlash', tmp_path / 'AudioWAV'
    video.mkdir()
    audio.mkdir()
    for name in ('1088_IOM_NEU_XX', '1017_IWW_HAP_XX', '1041_TIE_NEU_XX'):
        make_clip(video / f'{name}.flv', seconds=0.5, video='flv', audio=None, b_frames=0)
    for name in ('1088_IOM_NEU_XX', '1041_TIE_NEU_XX', '1016_IEO_HAP_LO'):
        make_clip(audio / f'{name}.wav', seconds=0.5, video=None, audio='pcm_s16le')
    text = prepare(read_crema_d(lists), str(video), str(tmp_path), audio=str(audio))
    files = 'VideoFlash/1041_TIE_NEU_XX.flv,AudioWAV/1041_TIE_NEU_XX.wav'
    assert (tmp_path / 'test.csv').read_text() == f'video,audio,label\n{files},neutral\n'
    missing = (tmp_path / 'missing.csv').read_text()
    assert '1017_IWW_HAP_XX.flv,no audio file' in missing and '1016_IEO_HAP_LO.flv,no file' in missing
    assert f'3 media files in {video}, 3 in {audio}' in text and 'no audio file: 1, counted as missing' in text
    pipeline = [dict(type='LoadClip', num_frames=2, short_side=32, mode='uniform')]
    item = AVDataset('test.csv', pipeline, data_root=str(tmp_path), test_mode=True)[0]
    assert item['broken'] is None and item['masks'] == dict(video=True, audio=True) and item['label'] == dict(label=0)
    (tmp_path / 'none').mkdir()
    with pytest.raises(MmavError, match=r"none of the 5 clips has an audio file in .*such as '1088_IOM_NEU_XX', there"):
        prepare(read_crema_d(lists), str(video), str(tmp_path), audio=str(tmp_path / 'none'))
    with pytest.raises(MmavError, match='give the folder of the clips with --audio'):
        prepare(read_crema_d(lists), str(video), str(tmp_path), audio=str(tmp_path / 'nowhere'))


def test_pointers_of_git_lfs_are_no_clips(lists, tmp_path):
    (tmp_path / 'clips').mkdir()
    pointer = b'version https://git-lfs.github.com/spec/v1\noid sha256:10dc\nsize 265922\n'
    for name in ('1088_IOM_NEU_XX', '1041_TIE_NEU_XX'):
        (tmp_path / 'clips' / f'{name}.flv').write_bytes(pointer)
    with pytest.raises(MmavError, match='a pointer of Git LFS, not the file: fetch it with git lfs pull'):
        prepare(read_crema_d(lists), str(tmp_path / 'clips'), str(tmp_path))
    (tmp_path / 'clips' / '1016_IEO_HAP_LO.flv').write_bytes(b'x')
    prepare(read_crema_d(lists), str(tmp_path / 'clips'), str(tmp_path))
    assert (tmp_path / 'missing.csv').read_text().count('git lfs pull') == 2
