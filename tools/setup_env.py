"""Makes or completes the Python environment of this checkout, then runs a command inside it.

    python3 tools/setup_env.py runtime -- python tools/demo.py
    python3 tools/setup_env.py tests -- python -m pytest
    python3 tools/setup_env.py --if-missing tests -- python tools/analysis_tools/check_gpu.py
    python3 tools/setup_env.py --key        names what an environment must hold

The environment is, first found: the folder named by MMAV_VENV, the active one (VIRTUAL_ENV, or CONDA_PREFIX unless that
is conda's base), else .venv in the checkout. Its mmav-setup.json records what was installed, with a hash of all
requirement files and setup.cfg: when nothing changed, the command starts at once. A set-up that was interrupted is
completed by the next one. With --if-missing, the Python that PYTHON names, else this one, runs the command as it is
where it already has the packages that mmav and its tests cannot do without; nothing is installed then.
Exits with the command's status, or with 2 and one line on an error.

This file needs only the standard library and starts on any Python from 3.6, so that too old a one gets a clear answer.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 10), (3, 13)
# What each kind of set-up installs, from requirements/.
FILES = {
    'runtime': ['runtime.txt'],
    'tests': ['runtime.txt', 'tests.txt'],
    'docs': ['runtime.txt', 'docs.txt'],
}
# What the commands import from them, directly or not.
IMPORTS = {
    'runtime': 'av cv2 matplotlib.pyplot mmcv.transforms mmengine.runner scipy.signal sklearn.manifold torchaudio tqdm',
    'tests': 'gradio pytest timm torchvision transformers xdist',
    'docs': 'mkdocs.commands.build mkdocs_autorefs mkdocstrings_handlers.python',
}
# What --if-missing looks for: without the peers that some comparisons and tests have.
ENOUGH = 'av cv2 matplotlib mmcv mmengine numpy PIL pytest safetensors scipy sklearn torch torchaudio tqdm'
GIGABYTES = 7  # size of an environment on Linux, most of it CUDA


class SetupError(Exception):
    """What stops the set-up and its remedy, in one line."""


def main(argv: list) -> int:
    """Sets up and becomes the command; returns an exit status where there is nothing to become."""
    if argv == ['--key']:
        print('{}-py{}.{}'.format(requirements_hash(), *version_of(find_python())))
        return 0
    if_missing = argv[:1] == ['--if-missing']
    argv = argv[if_missing:]
    if len(argv) < 3 or argv[0] not in FILES or argv[1] != '--':
        print(__doc__)
        return 0 if argv in (['-h'], ['--help']) else 2
    if if_missing:
        python = os.environ.get('PYTHON') or sys.executable
        if has_enough(python):
            run_as_is(python, argv[2:])
    env, ours = choose_env()
    lock(env)
    if ours:
        build_env(env)
    else:
        check_active(env)
    install(env, argv[0])
    run_inside(env, argv[2:])
    return 0


def say(text: str) -> None:
    print(f'[setup] {text}', flush=True)


def requirements_hash() -> str:
    digest = hashlib.sha256()
    for path in [*sorted((ROOT / 'requirements').glob('*.txt')), ROOT / 'setup.cfg']:
        digest.update(path.name.encode() + b'\0' + path.read_bytes() + b'\0')
    return digest.hexdigest()[:16]


# Interpreters and environments


def version_of(python: object) -> tuple:
    """Returns (major, minor) of an interpreter, () where it does not run."""
    command = [str(python), '-c', 'import sys; print(*sys.version_info[:2])']
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(int(part) for part in done.stdout.split())


def describe(version: tuple) -> str:
    return 'Python {}.{}'.format(*version) if version else 'missing'


def supported(version: tuple) -> bool:
    return bool(version) and OLDEST <= version <= NEWEST


def find_python() -> str:
    """Returns the interpreter to build on: PYTHON where that is set; else this one, or a fitting one on the PATH."""
    asked = os.environ.get('PYTHON')
    candidates = [asked] if asked else [sys.executable, 'python3.12', 'python3.11', 'python3.13', 'python3.10']
    for candidate in candidates:
        if supported(version_of(candidate)):
            return candidate
    raise SetupError(
        f'Python 3.10 to 3.13 is needed; {candidates[0]} is {describe(version_of(candidates[0]))}. '
        'Install one and name it, as in: make demo PYTHON=python3.12'
    )


def python_of(env: Path) -> Path:
    return env / 'bin' / 'python'


def runs(env: Path, *args: str) -> bool:
    command = [str(python_of(env)), *args]
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def has_enough(python: str) -> bool:
    """Whether an interpreter has the packages of ENOUGH; they are looked for, which is quick, and not imported."""
    code = 'import sys, importlib.util as u; sys.exit(not all(map(u.find_spec, sys.argv[1:])))'
    command = [python, '-c', code, *ENOUGH.split()]
    try:
        found = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False
    return found and supported(version_of(python))


def choose_env() -> tuple:
    """Returns the environment's folder and whether it is ours, to be made and made anew."""
    if os.environ.get('MMAV_VENV'):
        return Path(os.environ['MMAV_VENV']).absolute(), True
    active = os.environ.get('VIRTUAL_ENV')
    if not active and os.environ.get('CONDA_DEFAULT_ENV') != 'base':
        active = os.environ.get('CONDA_PREFIX')
    own = ROOT / '.venv'
    if not active or Path(active).resolve() == own.resolve():
        return own, True
    return Path(active).absolute(), False


def check_active(env: Path) -> None:
    version = version_of(python_of(env))
    if not supported(version):
        raise SetupError(
            f'Python 3.10 to 3.13 is needed; in the active environment {env} it is {describe(version)}. '
            'Deactivate it and run the same command again'
        )
    if not runs(env, '-m', 'pip', '--version') and not runs(env, '-m', 'ensurepip'):
        raise SetupError(f'the active environment {env} has no pip; install pip into it or deactivate it')


def build_env(env: Path) -> None:
    """Makes the environment where it is missing, broken, or of another Python than PYTHON asks for."""
    have = version_of(python_of(env))
    whole = supported(have) and runs(env, '-m', 'pip', '--version')
    if whole and (not os.environ.get('PYTHON') or version_of(find_python()) == have):
        return
    python = find_python()
    version = version_of(python)
    env.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(str(env.parent)).free < GIGABYTES * 1e9:
        say(f'warning: less than {GIGABYTES} GB are free on the disk of {env}; the packages may not fit')
    say(f'making {env} with {describe(version)}')
    command = [python, '-m', 'venv', '--clear', str(env)]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode or not runs(env, '-m', 'pip', '--version'):
        raise SetupError(
            f'{python} cannot make a virtual environment; on Debian and Ubuntu install '
            f'python{version[0]}.{version[1]}-venv, elsewhere activate an environment of your own'
        )


def lock(env: Path) -> None:
    """Lets one set-up at a time work on an environment, until this process ends or becomes the command."""
    name = f'mmav-{os.getuid()}-{hashlib.sha256(str(env).encode()).hexdigest()[:16]}.lock'
    file = os.open(os.path.join(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(f'another set-up works on {env}; waiting for it')
        fcntl.flock(file, fcntl.LOCK_EX)


# Packages


def install(env: Path, kind: str) -> None:
    """Brings the environment up to the requirement files; only what is missing is fetched and installed."""
    stamp, begun = env / 'mmav-setup.json', env / 'mmav-setup.begun'
    wanted = requirements_hash()
    state = json.loads(stamp.read_text()) if stamp.exists() else {}
    done = set(state['kinds']) if state.get('requirements') == wanted else set()
    if kind in done and state['checkout'] == str(ROOT):
        return
    if begun.exists():
        drop_torn(env, begun.stat().st_mtime)
    else:
        begun.touch()
    if stamp.exists():
        stamp.unlink()
    if kind not in done:
        install_requirements(env, kind)
        done |= {'runtime', kind}
        compile_imports(env, kind)
    say('installing mmav itself, editable')
    # torch brings setuptools: building needs no environment of its own, and no network.
    pip(env, 'install', '--quiet', '--no-compile', '--no-deps', '--no-build-isolation', '--editable', '.')
    part = stamp.with_suffix('.part')
    part.write_text(json.dumps({'requirements': wanted, 'checkout': str(ROOT), 'kinds': sorted(done)}))
    part.replace(stamp)
    begun.unlink()


def install_requirements(env: Path, kind: str) -> None:
    say(f'installing packages into {env}')
    say('the first time on Linux: about 3 GB to fetch, then some minutes of unpacking')
    files = [arg for name in FILES[kind] for arg in ('-r', f'requirements/{name}')]
    pip(env, 'install', '--no-compile', '-c', 'requirements/constraints.txt', *files)
    if not runs(env, '-c', 'import cv2'):
        say('OpenCV misses libraries of a graphical system here; putting its headless build in its place')
        version = subprocess.check_output([str(python_of(env)), '-m', 'pip', 'show', 'opencv-python']).decode()
        version = version.split('Version: ')[1].split()[0]
        pip(env, 'install', '--no-compile', '--no-deps', '--force-reinstall', f'opencv-python-headless=={version}')
    if not runs(env, '-c', 'import cv2'):
        raise SetupError(f'OpenCV cannot be imported; the reason: {python_of(env)} -c "import cv2"')


def compile_imports(env: Path, kind: str) -> None:
    """Imports the packages once, which shows that they can be and leaves byte code of the modules that are used.

    pip would compile all of them, in minutes. Where PYTHONDONTWRITEBYTECODE is set, every later start would compile
    what it imports, some ten seconds each time.
    """
    say('importing the packages once')
    names = ' '.join(IMPORTS[part] for part in dict.fromkeys(['runtime', kind]))
    code = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f'[setup] warning: {name} cannot be imported: {error}')
"""
    variables = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
    subprocess.run([str(python_of(env)), '-W', 'ignore', '-c', code, *names.split()], env=variables)


def pip(env: Path, *args: str) -> None:
    command = [str(python_of(env)), '-m', 'pip', '--disable-pip-version-check', *args]
    if subprocess.run(command, cwd=str(ROOT)).returncode:
        raise SetupError('pip failed, see above. Once the cause is mended, the same command goes on from there')


def drop_torn(env: Path, since: float) -> None:
    """Makes pip install again what a killed pip left half written.

    pip writes INSTALLER after all of a package's own files: metadata without it, younger than the interrupted set-up,
    belongs to a torn package.
    """
    for folder in env.glob('lib/python*/site-packages/*.dist-info'):
        if not (folder / 'INSTALLER').exists() and folder.stat().st_mtime >= since:
            say(f'{folder.name} was left half written; it will be installed again')
            shutil.rmtree(str(folder))


def run_inside(env: Path, command: list) -> None:
    """Replaces this process by the command, so that signals and the exit status are the command's own."""
    variables = dict(os.environ, PATH=f'{env / "bin"}{os.pathsep}{os.environ.get("PATH", "")}')
    if (env / 'pyvenv.cfg').exists():
        variables['VIRTUAL_ENV'] = str(env)
    variables.pop('PYTHONHOME', None)
    sys.stdout.flush()
    os.execvpe(str(env / 'bin' / command[0]) if command[0] == 'python' else command[0], command, variables)


def run_as_is(python: str, command: list) -> None:
    """Replaces this process by the command under an interpreter that has mmav's packages, but not mmav itself."""
    say(f'{python} has all packages; it is taken as it is')
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    program = python if command[0] == 'python' else command[0]
    os.execvpe(program, [program, *command[1:]], dict(os.environ, PYTHONPATH=path))


if __name__ == '__main__':
    try:
        sys.exit(main(sys.argv[1:]))
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print('\n[setup] interrupted; the same command goes on from there', file=sys.stderr)
        sys.exit(130)
