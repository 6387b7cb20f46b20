"""The command ``mmav``, called in this process; installed from a wheel: tests/test_wheel.py."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmav import __main__ as command
from mmav import __version__
from mmav.shipped import shipped_configs
from tests import toys
from tests.toys import ROOT

# they work on the repository itself
REPOSITORY = {'tools/setup_env.py', *(f'tools/docs/{path.name}' for path in (ROOT / 'tools/docs').glob('*.py'))}

TOOL_NAMES = [path.rpartition('/')[2] for path in command.TOOLS.values() if path.count('/') > 1] + [
    'tools/train.py', 'tools/test.py', 'tools/demo.py', 'av_demo.py', 'web_demo.py',
    'tools/dist_train.sh', 'tools/dist_test.sh',
]  # fmt: skip


@pytest.fixture
def mmav(monkeypatch, capsys):
    """Calls the command; gives exit status, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        main_module, path = sys.modules['__main__'], list(sys.path)
        monkeypatch.setattr(sys, 'argv', ['mmav', *map(str, words)])
        try:
            command.main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            sys.modules['__main__'], sys.path[:] = main_module, path
        return status, *capsys.readouterr()

    return call


def test_every_tool_is_a_command():
    tools = {path.relative_to(ROOT).as_posix() for name in ('tools', 'demo') for path in (ROOT / name).rglob('*.py')}
    assert set(command.TOOLS.values()) == tools - REPOSITORY


def test_the_list_has_a_line_for_each_command(mmav):
    status, listed, _ = mmav('--help')
    assert status == 0 and mmav() == (0, listed, '')
    for name in command.TOOLS:
        assert len(re.findall(rf'^  {name}  +\w.+', listed, re.MULTILINE)) == 1
    assert max(map(len, listed.splitlines())) <= 120


def test_examples_for_several_processes_need_no_checkout():
    examples = [line for path in command.TOOLS.values() for line in (ROOT / path).read_text().splitlines()]
    started = [line for line in map(command.as_commands, examples) if re.search(r'torchrun .* mmav \w', line)]
    assert started and all(' -m mmav ' in line for line in started)


@pytest.mark.parametrize('words', [['--help'], ['configs']])
def test_a_reader_that_closes_the_pipe_ends_it_in_silence(words):
    code = 'import sys; from mmav.__main__ import main; sys.stdin.readline(); main()'
    command = [sys.executable, '-c', code, *words]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        process.stdout.close()
        process.stdin.write('go\n')
        process.stdin.close()
        assert process.stderr.read() == ''
    assert process.returncode == 0


def test_the_list_needs_no_torch():
    code = (
        "import sys; sys.argv = ['mmav', '--help']\nfrom mmav.__main__ import main; main()\n"
        "print([name for name in ('torch', 'mmengine', 'numpy', 'av') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == '[]'


def test_a_tools_help_speaks_of_the_command(mmav):
    status, text, _ = mmav('train', '--help')
    assert status == 0 and text.startswith('usage: mmav train [-h]') and '--resume' in text
    assert 'mmav train configs/mmt/mmt_tiny_avsynth.py' in text and 'tools/' not in text
    assert 'torchrun --nproc_per_node 8 -m mmav train configs/mmt/mmt_k4_l4_vggsound.py --launcher pytorch' in text


@pytest.mark.parametrize('name', command.TOOLS)
def test_every_help_begins_with_the_commands_usage(mmav, name):
    status, text, _ = mmav(name, '--help')
    assert status == 0 and text.startswith(f'usage: mmav {name}')


def test_it_does_what_the_tool_does(mmav, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = toys.write_config(tmp_path)
    assert mmav('train', config.name, '--work-dir', 'w', '--cfg-options', 'train_cfg.max_epochs=1')[0] == 0
    # its files are the tool's own, whichever way it was called
    for _ in range(2):
        status, _, errors = mmav('test', config.name, 'w/epoch_1.pth', '--out', 'metrics.json')
        assert status == 0, errors
        assert toys.run_tool('test.py', config.name, 'w/epoch_1.pth', '--out', 'metrics.json') == 0


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['trian'], r"no command 'trian', did you mean 'train'\?"),
        (['train', 'nowhere.py'], "no config file 'nowhere.py'"),
        (['configs', 'mmt_tiny_avsyntt'], "no config has 'mmt_tiny_avsyntt' in its name"),
        (['configs', '--paht'], 'takes a text or --path, got --paht'),
        (['configs', 'a', 'b'], 'takes a text or --path, got a b'),
    ],
)
def test_a_mistake_is_one_line_and_status_2(mmav, words, message):
    status, _, errors = mmav(*words)
    assert status == 2 and re.fullmatch(f'error: .*{message}.*\n', errors)


def test_a_missing_tool_says_what_to_install(mmav, monkeypatch, tmp_path):
    monkeypatch.setattr(command, 'shipped_root', lambda: tmp_path)
    status, _, errors = mmav('train')
    assert status == 2 and 'install mmav from a wheel' in errors and errors.count('\n') == 1


def test_it_lists_configs(mmav):
    listed = mmav('configs')[1].splitlines()
    assert [line.split()[0] for line in listed] == shipped_configs()
    few = mmav('configs', 'mmt_tiny_av')[1].splitlines()
    assert [line.split()[0] for line in few] == [name for name in shipped_configs() if 'mmt_tiny_av' in name]
    assert mmav('configs', '--path')[1] == f'{ROOT / "configs"}\n'


def test_it_tells_its_version(mmav):
    assert mmav('--version') == (0, f'mmav {__version__}\n', '')


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('python tools/test.py CONFIG', 'mmav test CONFIG'),
        ('written by tools/test.py --dump', 'written by mmav test --dump'),
        ('python demo/av_demo.py a.mp4', 'mmav infer a.mp4'),
        ('python tools/setup_env.py runtime', 'python tools/setup_env.py runtime'),
        (
            'tools/dist_test.sh CONFIG CHECKPOINT 8 --out m.json',
            'torchrun --nproc_per_node 8 -m mmav test CONFIG CHECKPOINT --launcher pytorch --out m.json',
        ),
    ],
)
def test_help_is_put_into_commands(text, shown):
    assert command.as_commands(text) == shown


def test_messages_name_commands_because_a_wheel_has_no_tools_folder():
    def texts(file: Path) -> Iterator[str]:
        tree = ast.parse(file.read_text())
        of_tools = file.is_relative_to(ROOT / 'tools') or file.is_relative_to(ROOT / 'demo')
        # the help of tools is translated, so there it is about what is raised and printed
        said = [node for node in ast.walk(tree) if isinstance(node, ast.Raise) or _prints(node)] if of_tools else [tree]
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for part in said:
            for node in ast.walk(part):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                    yield node.value

    files = [path for name in ('mmav', 'tools', 'demo') for path in (ROOT / name).rglob('*.py')]
    files = [
        path for path in files if path.name != '__main__.py' and path.relative_to(ROOT).as_posix() not in REPOSITORY
    ]
    named = [
        (file.name, text) for file in files for text in texts(file) if any(tool in text != tool for tool in TOOL_NAMES)
    ]
    assert not named


def _prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'print'
