"""Hooks of MkDocs: pages from other folders of the repository, links between them, commands and the API reference.

Pages link to each other as GitHub wants it, relative to their own file. On the site a link to a page leads to that
page, and a link to any other file of the repository to its text. A link to nothing is a warning, which fails the build.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import posixpath
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
LOG = logging.getLogger('mkdocs.plugins.site_hooks')
PAGES = ['CONTRIBUTING.md', 'CHANGELOG.md', 'configs/*/README.md', 'tools/data/*/README.md', 'projects/*/README.md']
LINK = re.compile(r'(\]\()([^)\s]+)(\))')
WEB = re.compile(
    r'https?://(?:[a-z0-9-]+\.)+[a-z]{2,}(?::\d+)?(?:[/?#]\S*)?|http://(?:127\.0\.0\.1|localhost)(?::\d+)?/?\S*'
)
FENCED = re.compile(r'^( *)(```+|~~~+).*?^\1\2$', re.DOTALL | re.MULTILINE)
# GitHub would take other indents, the site would not
STRAY = re.compile(r'^\s*\n((?: {1,3}| {5,7})\S.*)$', re.MULTILINE)
PICTURES = ('.png', '.jpg', '.gif', '.svg')
LANGUAGES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.txt': 'text', '.toml': 'toml', '.cfg': 'ini'}
REGISTERED = re.compile(r'(?:MMENGINE_)?([A-Z_]+)\.register_module')

sys.path.insert(0, str(ROOT))


def on_config(config: Any) -> Any:
    """Adds a page for each package to the navigation."""
    reference = next(iter(config.nav[-1].values()))
    reference.insert(reference.index('api/index.md') + 1, {'Packages': [f'api/{name}.md' for name in packages()]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that do not lie in ``docs/``."""

    def add(uri: str, **source: str) -> None:
        files.append(File.generated(config, uri, inclusion=InclusionLevel.NOT_IN_NAV, **source))

    external = [path.relative_to(ROOT).as_posix() for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for path in external:
        add(path, abs_src_path=str(ROOT / path))
    add('commands.md', content=commands())
    add('api/index.md', content=registered_parts())
    for name in packages():
        add(f'api/{name}.md', content=package_page(name))
    for path in sorted(
        set(linked_files([*external, *(f'docs/{file.src_uri}' for file in files.documentation_pages())]))
    ):
        if path.endswith(PICTURES):
            add(path, abs_src_path=str(ROOT / path))
        else:
            add(f'{path}.md', content=source_page(path))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links to files of the repository into links of the site."""
    place = repository_path(page.file)
    if place is None:
        return markdown
    for line in STRAY.findall(FENCED.sub(r'\1```', markdown)):
        LOG.warning(
            f"{place}: '{line.strip()}': what belongs to an entry of a list is indented by 4 spaces, code in it by 8"
        )

    def rewrite(found: re.Match) -> str:
        target, _, anchor = found[2].partition('#')
        if found[2].startswith(('http:', 'https:')):
            if not WEB.fullmatch(found[2]):
                LOG.warning(f"{place}: '{found[2]}' is no address")
            return found[0]
        if not target or target.startswith('mailto:'):
            return found[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        uri = path.removeprefix('docs/')
        known = next((name for name in (uri, f'{uri}.md') if files.get_file_from_path(name)), None)
        if known is None:
            LOG.warning(f"{place}: '{found[2]}' leads to nothing: there is no {path}, or it is no page")
            return found[0]
        relative = posixpath.relpath(known, posixpath.dirname(page.file.src_uri) or '.')
        return f'{found[1]}{relative}{"#" if anchor else ""}{anchor}{found[3]}'

    return LINK.sub(rewrite, markdown)


def repository_path(file: File) -> str | None:
    """Where a page's file lies in the repository; None of a page that is generated."""
    if not file.abs_src_path or not Path(file.abs_src_path).is_relative_to(ROOT):
        return None
    return Path(file.abs_src_path).relative_to(ROOT).as_posix()


def linked_files(pages: list[str]) -> Iterator[str]:
    """Files of the repository outside ``docs/`` that pages link to and that are no pages themselves."""
    for page in pages:
        if not (ROOT / page).is_file():
            continue
        for _, target, _ in LINK.findall((ROOT / page).read_text(encoding='utf-8')):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition('#')[0]))
            if '://' not in target and path not in pages and not path.startswith('docs/') and (ROOT / path).is_file():
                yield path


def source_page(path: str) -> str:
    """A page that shows a file."""
    text = (ROOT / path).read_text(encoding='utf-8')
    language = LANGUAGES.get(Path(path).suffix, 'text')
    return f'---\nsearch:\n  exclude: true\n---\n# {path}\n\n~~~~{language}\n{text}\n~~~~\n'


# Commands


def commands() -> str:
    """The table of commands, and what ``--help`` of each prints."""
    from mmav.__main__ import COMMANDS, TOOLS, summary

    lines = [
        '# Commands',
        '',
        'Each tool of a checkout is a sub-command of `mmav`, with the same options: `mmav train CONFIG` is',
        '`python tools/train.py CONFIG`. `CONFIG` is a file, or the name of a config that comes with mmav;',
        '`mmav configs` lists these. Several processes: [several GPUs](distributed.md).',
    ]
    for title, group in COMMANDS.items():
        lines += ['', f'**{title.capitalize()}**', '', '| command | file | what it does |', '|---|---|---|']
        lines += [f'| [`mmav {name}`](#{name}) | `{path}` | {plain(summary(name))} |' for name, path in group.items()]
    printed = help_texts()
    for name in TOOLS:
        lines += ['', f'## {name}', '', '~~~~text', printed[name].rstrip(), '~~~~']
    return '\n'.join(lines) + '\n'


def help_texts() -> dict[str, str]:
    """What ``mmav COMMAND --help`` prints, by command; all in one process, as they import PyTorch."""
    code = """
import contextlib, io, json, sys
from mmav import __main__ as command
texts = {}
for name in command.TOOLS:
    sys.argv = ['mmav', name, '--help']
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        command.main()
    texts[name] = printed.getvalue()
print(json.dumps(texts))
"""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    variables = dict(os.environ, COLUMNS='110', PYTHONPATH=path)
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, env=variables, stdout=subprocess.PIPE, check=True)
    texts = json.loads(run.stdout.decode().splitlines()[-1])
    for name, text in texts.items():
        if not text.startswith(f'usage: mmav {name}'):
            LOG.warning(f'mmav {name} --help prints no usage')
    return texts


# API reference


def packages() -> list[str]:
    """Dotted names of mmav and its packages."""
    folders = sorted(path.parent for path in (ROOT / 'mmav').rglob('__init__.py'))
    return ['.'.join(folder.relative_to(ROOT).parts) for folder in folders]


def modules_of(package: str) -> list[str]:
    """Dotted names of the modules of a package, those of its packages left out."""
    folder = ROOT.joinpath(*package.split('.'))
    return [f'{package}.{path.stem}' for path in sorted(folder.glob('*.py')) if not path.stem.startswith('_')]


def package_page(package: str) -> str:
    """A page of a package: its docstring, then each of its modules."""
    lines = [f'# {package} {{#{package}}}', *_directive(package, '      members: false')]
    for module in modules_of(package):
        lines += ['', f'## {module} {{#{module}}}', *_directive(module)]
    return '\n'.join(lines) + '\n'


def _directive(module: str, *options: str) -> list[str]:
    # the heading above is that of the module
    without = ['      show_root_heading: false', '      show_root_toc_entry: false']
    return ['', f'::: {module}', '    options:', *without, *options]


def registered_parts() -> str:
    """The first page of the API reference: what configs can name in ``type=``, by registry."""
    rows: dict[str, list[str]] = {}
    for path in sorted((ROOT / 'mmav').rglob('*.py')):
        module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            for decorator in getattr(node, 'decorator_list', []):
                found = REGISTERED.match(ast.unparse(decorator))
                if found:
                    text = plain((ast.get_docstring(node) or '').split('\n\n')[0])
                    rows.setdefault(found[1], []).append(f'| [`{node.name}`][{module}.{node.name}] | {text} |')
    lines = [
        '# API reference',
        '',
        'Most programs need [`AVInferencer`][mmav.apis.AVInferencer] only, see [inference](../inference.md). Configs',
        'name the components below in `type=`, by the registries of [`mmav.registry`][mmav.registry]. Everything else',
        'that is public is on the pages of the packages.',
    ]
    for registry, parts in sorted(rows.items()):
        lines += ['', f'## {registry}', '', '| type | |', '|---|---|', *sorted(parts)]
    return '\n'.join(lines) + '\n'


def plain(text: str) -> str:
    """A docstring's first lines, fit for a cell of a table."""
    text = re.sub(r':\w+:`~?([^`]+)`', r'`\1`', ' '.join(text.split()))
    return text.replace('|', '\\|')
