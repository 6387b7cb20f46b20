"""Results are asked for before the work, and take the place of no file that is not the program's own."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmav.errors import OutputError
from mmav.outputs import (
    ANNOTATED,
    RECORD,
    check_all_own,
    check_folder,
    check_output,
    folded,
    is_edited_copy,
    move_output,
    names_of_kind,
    program,
    read_record,
    write_json,
    write_output,
    writing,
)

FOREIGN = 'is there and was not written by'


def test_a_file_of_another_is_kept(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text('mine')
    for call in (lambda: check_output(path), lambda: write_output(path, b'new'), lambda: write_json(path, {})):
        with pytest.raises(OutputError, match=rf"'.*a\.json' {FOREIGN} mmav: give another name, or move the file away"):
            call()
    assert path.read_text() == 'mine' and os.listdir(tmp_path) == ['a.json']


def test_a_copy_that_was_edited_is_told_while_its_source_is_the_same(tmp_path):
    source, copy = tmp_path / 'a.csv', tmp_path / 'out' / 'a.csv'
    source.write_text('one')
    assert not is_edited_copy(copy, source)
    write_output(copy, source.read_bytes())
    assert not is_edited_copy(copy, source)
    copy.write_text('two')
    assert is_edited_copy(copy, source)
    with program('other.py'):
        assert not is_edited_copy(copy, source)
    source.write_text('ONE')
    assert not is_edited_copy(copy, source)


def test_the_same_command_may_write_again(tmp_path):
    path = tmp_path / 'new' / 'a.json'
    for content in ('one', 'two', 'two'):
        with program('test.py'):
            check_output(path, suffixes=['.json'])
            write_output(path, content)
    assert path.read_text() == 'two' and len(read_record(path.parent)) == 2
    # also where files were copied, which changes their times
    os.utime(path, (1, 1))
    with program('test.py'):
        check_output(path)
    # other commands do not, but a user's own program says what it means
    with program('analyze_logs.py'), pytest.raises(OutputError, match=r'was written by test\.py'):
        check_output(path)
    write_output(path, 'three')


def test_what_was_changed_since_is_the_users(tmp_path):
    path = tmp_path / 'train.csv'
    write_output(path, 'path,label\na.mp4,0\n')
    path.write_text('path,label\nb.mp4,1\n')
    with pytest.raises(OutputError, match='was changed since it was written'):
        check_output(path)
    # what stood there once and came back is known
    path.write_text('path,label\na.mp4,0\n')
    check_output(path)


def test_nothing_is_lost_with_an_empty_file(tmp_path):
    (tmp_path / 'a.json').write_text('')
    check_output(tmp_path / 'a.json')
    write_json(tmp_path / 'a.json', {})


def test_numbers_that_json_does_not_have(tmp_path):
    write_json(tmp_path / 'a.json', dict(a=[float('inf'), (1.5, float('nan'))], b=True, c='inf'))
    assert json.loads((tmp_path / 'a.json').read_text()) == dict(a=[None, [1.5, None]], b=True, c='inf')


def link(path, target):
    path.symlink_to(target)


@pytest.mark.parametrize('make', [link, lambda path, target: os.link(target, path)])
def test_an_input_under_another_name(tmp_path, make):
    source = tmp_path / 'in.pkl'
    write_output(source, b'content')  # even one that the same program wrote
    make(tmp_path / 'out.pkl', source)
    for name in (source, tmp_path / 'out.pkl', tmp_path / '..' / tmp_path.name / 'in.pkl'):
        with pytest.raises(OutputError, match='is read by this command and would be lost'):
            check_output(name, inputs=['', tmp_path / 'none', source])


def test_a_link_is_followed(tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there' / 'mine.txt').write_text('mine')
    (tmp_path / 'a.json').symlink_to(tmp_path / 'there' / 'mine.txt')
    with pytest.raises(OutputError, match=FOREIGN):
        check_output(tmp_path / 'a.json')
    (tmp_path / 'b.json').symlink_to(tmp_path / 'there' / 'new.json')
    write_json(tmp_path / 'b.json', {})
    assert (tmp_path / 'b.json').is_symlink() and (tmp_path / 'there' / 'new.json').read_text() == '{}\n'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('folder', r"cannot write '.*folder': it is a folder; give the name of a file"),
        ('new/', 'it is a folder'),
        ('file/a.json', 'Not a directory; give another name'),
        ('file/deep/a.json', 'Not a directory'),
        ('x' * 300, 'File name too long'),
        ('y' * 300 + '/a.json', 'File name too long'),
        ('/proc/none/a.json', r'cannot write .*/proc/none/a\.json'),
    ],
)
def test_what_cannot_be_written_is_said_first(tmp_path, name, message):
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match=message):
        check_output(name if name.startswith('/') else f'{tmp_path}/{name}')
    assert sorted(os.listdir(tmp_path)) == ['file', 'folder']


def test_nothing_is_left_by_a_question(tmp_path):
    check_output(tmp_path / 'new' / 'deep' / 'a.json')
    check_folder(tmp_path / 'new' / 'deep', ['a.json'])
    assert not os.listdir(tmp_path)


def test_wrong_endings():
    with pytest.raises(OutputError, match=r"'a\.jsn': the name has to end in \.json, did you mean '\.json'\?"):
        check_output('a.jsn', suffixes=['.json'])
    with pytest.raises(OutputError, match=r'\.pkl or \.pickle'):
        check_output('a.json', suffixes=['.pkl', '.pickle'])


def test_folders(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file. is a file: take another'):
        check_folder(tmp_path / 'file', remedy='take another')
    (tmp_path / 'errors.json').write_text('mine')
    with pytest.raises(OutputError, match=FOREIGN):
        check_folder(tmp_path, ['classes.csv', 'errors.json'])


def test_many_files_and_kinds(tmp_path):
    for name in ('a.mp4', 'b.mp4'):
        with writing(tmp_path / name, kind=ANNOTATED) as part:
            part.write_bytes(name.encode())
    check_all_own(tmp_path / name for name in ('a.mp4', 'b.mp4', 'none.mp4'))
    assert names_of_kind(tmp_path, ANNOTATED) == {'a.mp4', 'b.mp4'}
    (tmp_path / 'b.mp4').write_bytes(b'mine')
    assert names_of_kind(tmp_path, ANNOTATED) == {'a.mp4'}
    with pytest.raises(OutputError, match=r"b\.mp4' is there and was changed"):
        check_all_own(tmp_path / name for name in ('a.mp4', 'b.mp4'))


def test_a_torn_record_and_many_writers(tmp_path):
    (tmp_path / RECORD).write_bytes(b'["torn\n{}\n[1]\nnot json\n\xff\n')

    def write(number):
        (tmp_path / f'{number}.tmp').write_bytes(b'x' * (number + 1))
        move_output(tmp_path / f'{number}.tmp', tmp_path / f'{number}.bin')

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(50)))
    assert len(read_record(tmp_path)) == 50
    check_all_own(tmp_path / f'{number}.bin' for number in range(50))


def test_text_that_no_encoding_has(tmp_path):
    write_output(tmp_path / 'a.csv', 'clip\udcff.mp4 ±\n')
    assert (tmp_path / 'a.csv').read_text(encoding='utf-8') == 'clip\\udcff.mp4 ±\n'


def test_names_that_only_case_tells_apart():
    assert folded('out/Mine.mp4') == folded('out/../out/mine.MP4')
    assert folded('Ka\u0308tzchen') == folded('K\u00e4tzchen')
