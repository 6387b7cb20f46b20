#!/usr/bin/env python
"""Writes what is generated from configs/*/metafile.yml: tables of README.md and configs/*/README.md, and the result
that each config expects in its docstring. With --check, writes nothing and names what is out of date.
"""

import argparse
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmav.analysis.ablation import report
from mmav.analysis.ablation.outcomes import Outcomes, read_outcomes
from mmav.analysis.pages import END, START
from mmav.engine.cli import run_tool
from mmav.errors import MmavError, one_line
from mmav.files import atomic_write
from mmav.tables import markdown_table

ROOT = Path(__file__).resolve().parents[2]
TOOL = 'tools/docs/generate.py'
EXAMPLE = """example:
  python tools/docs/generate.py          # after a change of a metafile
  python tools/docs/generate.py --check  # as the tests do"""
# at the end of a config's docstring
EXPECTED = re.compile(r'^Expected:.*?(?="""$)', flags=re.DOTALL | re.MULTILINE)
DATASETS = {'VGGSound': 'vggsound', 'Kinetics-Sounds': 'kinetics_sounds', 'EPIC-Kitchens-100': 'epic_kitchens'}
# the model of each folder that the first page shows: title, encoders, fusion
METHODS = {
    'mmt_k4_l4_vggsound': ('MMT', 'MViTv2-B', 'MAT', 'AVBottleneck'),
    'mbt_b_vggsound': ('MBT', 'ViT-B', 'ViT-B', 'averaged bottleneck'),
    'mat_base_vggsound': ('MAT', '-', 'MAT', '-'),
    'ast_base_vggsound': ('AST', '-', 'AST', '-'),
    'mvitv2_base_vggsound': ('MViTv2', 'MViTv2-B', '-', '-'),
}
# by the rule of mmav/preparation/avsynth/__init__.py, on 20,000 clips drawn: mAP, AUC, macro F1, hit@1
EVENTS_AT_BEST = ('0.80', '0.80', '0.71', '0.81')

Model = dict[str, Any]


class Zoo:
    """The models of all metafiles.

    Attributes:
        folders: Name of a folder of configs -> its models, in order.
        models: Name -> model.
        ablation: The ablation on AVSynth.
    """

    def __init__(self, configs: Path) -> None:
        self.folders: dict[str, list[Model]] = {}
        self._seeds: dict[str, list[float]] = {}
        for file in sorted(configs.glob('*/metafile.yml')):
            try:
                content = yaml.safe_load(file.read_text(encoding='utf-8'))
            except yaml.YAMLError as error:
                raise MmavError(f"'{file}' is not YAML: {one_line(error)}") from error
            self.folders[file.parent.name] = content['Models']
            if 'Ablation' in content:
                self.ablation = content['Ablation']
            if (kept := file.with_name('outcomes.json')).is_file():
                self._note(read_outcomes(kept))
        self.models = {model['Name']: model for models in self.folders.values() for model in models}
        self._rows = {row['Config']: row for row in self.ablation['Rows']}

    def _note(self, outcomes: Outcomes) -> None:
        """Takes the figures of the runs of a folder's own ablation."""
        for (title, _), run in sorted(outcomes.runs.items()):
            self._seeds.setdefault(outcomes.configs[title], []).append(run.figures[outcomes.metric])

    def over_seeds(self, model: Model) -> tuple[str, int]:
        """Mean and spread of a model in the ablation of its folder, and the number of seeds; empty if it is in none."""
        values = self._seeds.get(model['Config'], [])
        return report.summary(values), len(values)

    def measured(self, name: str, **where: str) -> list[str]:
        """What a model reached, metric by metric, where ``Drop`` or ``Variant`` are so; of several results the last."""
        found: list[str] = []
        for result in self.models[name]['Results']:
            if result['Metrics'] and {key: result[key] for key in ('Drop', 'Variant') if key in result} == where:
                found = [numbers(value) for value in result['Metrics'].values()]
        return found

    def of_ablation(self, model: Model) -> str:
        """Top-1 of a model in the ablation, over its seeds; empty if it is not a part of it."""
        return report.summary(self._rows.get(model['Config'], {}).get('top-1', ()))

    def expected(self, model: Model) -> str:
        """What a training of the config gives, by the best source that there is, and where."""
        first, data = model['Results'][0], model['Metadata']
        if first['Metrics']:
            name, value = headline(first['Metrics'])
            text = f'{name} {numbers(value)} (measured here, {first["Measured"]["Runs"]})'
        elif (seeds := self.over_seeds(model))[0]:
            text = f'top-1 {seeds[0]} (measured here, {seeds[1]} seed{"s" * (seeds[1] > 1)})'
        elif value := self.of_ablation(model):
            recipe = f'{self.ablation["Epochs"]} epochs in batches of {self.ablation["Batch Size"]}'
            text = f'top-1 {value} after {recipe} (measured here, {len(self.ablation["Seeds"])} seeds)'
        elif 'Paper' in first:
            name, value = headline(first['Paper'])
            text = f'{name} {value} (paper, {first["Paper"]["Source"]}); not yet run here'
        else:
            text = 'not yet run here'
        memory = data.get('Training Memory')
        counted = f' ({memory} by plan_memory.py)' if memory else ''
        return f'Expected: {text}. Hardware: {data["Training Resources"]}{counted}.'


def headline(metrics: dict[str, Any]) -> tuple[str, Any]:
    """The first metric: 'Top 1 Accuracy' is called 'top-1', 'Top 1 Action' 'top-1 action', others as they are."""
    name, value = next(iter(metrics.items()))
    if not name.startswith('Top'):
        return name, value
    return name.lower().replace('top ', 'top-').removesuffix(' accuracy'), value


def numbers(value: float | Sequence[float]) -> str:
    return ', '.join(f'{item:.3f}' for item in (value if isinstance(value, list) else [value]))


def size(model: Model) -> list[str]:
    """Cells of parameters and multiply-accumulates."""
    macs = model['Metadata']['MACs'] / 1e9
    return [f'{model["Metadata"]["Parameters"] / 1e6:.1f} M', f'{macs:.1f} G' if macs >= 10 else f'{macs:.3f} G']


def cell(metrics: dict[str, Any] | None, write: Callable[[Any], str] = str) -> str:
    """The first metric in a column of top-1."""
    if not metrics:
        return ''
    name, value = headline(metrics)
    part = name.removeprefix('top-1').strip()
    return f'{write(value)} ({part})' if part else write(value)


def link(model: Model) -> str:
    file = Path(model['Config']).name
    return f'[{file}]({file})'


def results(zoo: Zoo, models: Sequence[Model]) -> str:
    """A row a config; columns that no model fills are left out."""
    rows = [['config', 'what', 'data', 'size', 'MACs, one view', 'paper, top-1 in %', 'measured here, top-1']]
    for model in models:
        first = model['Results'][0]
        here = cell(first['Metrics'], numbers)
        if not here and (seeds := zoo.over_seeds(model))[0]:
            here = f'{seeds[0]} ({seeds[1]} seed{"s" * (seeds[1] > 1)})'
        if not here and (value := zoo.of_ablation(model)):
            here = f'{value} ({zoo.ablation["Epochs"]} epochs)'
        what = model.get('Summary', '')
        data = model['Metadata']['Training Data']
        rows.append([link(model), what, data, *size(model), cell(first.get('Paper')), here or 'not yet run'])
    kept = [column for column in zip(*rows, strict=True) if any(column[1:])]
    return markdown_table(list(zip(*kept, strict=True)))


def rows_of_the_paper(zoo: Zoo) -> str:
    """Tables 3 and 4: a row each, a column a dataset."""
    table = [['row', 'what', *DATASETS, 'size', 'MACs, one view']]
    for model in zoo.folders['mmt']:
        if 'Row' not in model:
            continue
        cells = []
        for dataset in DATASETS.values():
            twin = zoo.models[model['Name'].replace('vggsound', dataset)]
            figure = cell(twin['Results'][0].get('Paper')).removesuffix(' (action)')
            cells.append(f'[{f"paper: {figure}" if figure else "config"}]({Path(twin["Config"]).name})')
        table.append([model['Row'], model['Summary'], *cells, *size(model)])
    return markdown_table(table)


def avsynth(zoo: Zoo) -> str:
    """One modality, both apart, and both fused, on the two tasks."""
    apart = dict(Variant='audio alone and video alone, averaged')
    rows: list[tuple[str, str, dict[str, str]]] = [
        ('audio alone (MAT)', 'mat', {}),
        ('video alone (MViTv2)', 'mvitv2', {}),
        ("average of the two models' probabilities", 'mmt', apart),
        ('**MMT**', 'mmt', {}),
        ('MMT, from scratch', 'mmt', dict(Variant='from scratch')),
    ]
    table = [['model', 'config', '16 pairs, top-1', 'parity, top-1']]
    table.append(['what one modality can reach at best', '', '0.25', '0.25 (chance)'])
    for title, folder, where in rows:
        names = [f'{folder}_tiny_avsynth', f'{folder}_tiny_avsynth_parity']
        cells = [next(iter(zoo.measured(name, **where)), '') for name in names]
        table.append([title, '' if where == apart else f'`{folder}/{folder}_tiny_avsynth*.py`', *cells])
    return markdown_table(table)


def events(zoo: Zoo) -> str:
    """One modality and both, where a clip has several events at once."""
    names = ('mAP', 'AUC', 'Macro F1', 'Hit 1')
    table = [['model', 'config', 'mAP', 'AUC', 'macro F1', 'hit@1']]
    table.append(['what one modality can reach at best', '', *EVENTS_AT_BEST])
    for title, part in (('audio alone', '_audio'), ('video alone', '_video'), ('**both**', '')):
        model = zoo.models[f'small{part}_avsynth_events']
        metrics = model['Results'][0]['Metrics'] or {}
        table.append([title, f'`{model["Config"][8:]}`', *(numbers(metrics[n]) if n in metrics else '' for n in names)])
    return markdown_table(table)


def dropout(zoo: Zoo) -> str:
    """What is left of a model that was trained with or without modality dropout when one modality is withheld."""
    table = [['task', 'training', 'both', '`--drop audio`', '`--drop video`']]
    tasks = [
        ('`match`: either modality tells the class', 'match', 0),
        ('`action`, verb: the video tells it', 'action', -2),
        ('`action`, noun: the audio tells it', 'action', -1),
    ]
    for title, task, place in tasks:
        for training, name in (('plain', 'mmt_tiny'), ('with modality dropout', 'mmt_tiny_dropout')):
            where: list[dict[str, str]] = [{}, {'Drop': 'audio'}, {'Drop': 'video'}]
            cells = [zoo.measured(f'{name}_avsynth_{task}', **keys)[place] for keys in where]
            table.append([title if training == 'plain' else '', training, *cells])
    return markdown_table(table)


def clusters(zoo: Zoo) -> str:
    """Table 5."""
    table = [['VGGSound, test list', 'ARI', 'homogeneity', 'measured here']]
    for model in zoo.models.values():
        for result in model['Results']:
            if result['Task'] == 'Clustering of features':
                reported = result['Paper']
                cells = [f'paper: {reported[name]:.3f}' for name in ('ARI', 'Homogeneity')]
                table.append([f'`{model["Config"]}`', *cells, 'not yet run'])
    return markdown_table(table)


def methods(zoo: Zoo) -> str:
    """The first page's table: a row a method, at paper size."""
    table = [['method', 'video', 'audio', 'fusion', 'parameters', 'MACs, one view']]
    for name, (title, *parts) in METHODS.items():
        folder = Path(zoo.models[name]['Config']).parent.as_posix()
        table.append([f'[{title}]({folder}/README.md)', *parts, *size(zoo.models[name])])
    return markdown_table(table)


def small(zoo: Zoo) -> str:
    return results(zoo, [model for model in zoo.folders['mmt'] if '_tiny_' in model['Name']])


def other_datasets(zoo: Zoo) -> str:
    """The model of paper size on datasets that are not the paper's, and with token dropping, which is no row of it."""
    of_paper = tuple(DATASETS.values())
    models = [model for model in zoo.folders['mmt'] if '_tiny_' not in model['Name']]
    return results(
        zoo, [model for model in models if not model['Name'].endswith(of_paper) or '_token_drop_' in model['Name']]
    )


def blocks(zoo: Zoo) -> dict[tuple[str, str, str], str]:
    """Folder, name of a block of its README, the tool that its marks name -> what stands in it."""
    found = {('.', 'methods', TOOL): methods(zoo)}
    found.update({(folder, 'events', TOOL): events(zoo) for folder in ('.', 'configs/small')})
    for folder in zoo.folders:
        if folder != 'mmt':
            found[f'configs/{folder}', 'results', TOOL] = results(zoo, zoo.folders[folder])
    own: dict[str, Callable[[Zoo], str]] = {
        'rows of the paper': rows_of_the_paper,
        'other datasets': other_datasets,
        'small': small,
        'avsynth': avsynth,
        'dropout': dropout,
        'clusters': clusters,
    }
    found.update({('configs/mmt', name, TOOL): write(zoo) for name, write in own.items()})
    found['configs/mmt', 'ablation', zoo.ablation['Command']] = report.markdown_block(zoo.ablation, 'ablation.png')
    return found


def generated(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields each file that has a generated part, and its text as it has to be."""
    zoo = Zoo(root / 'configs')
    pages: dict[Path, str] = {}
    for (folder, name, tool), content in blocks(zoo).items():
        page = root / folder / 'README.md'
        text = pages.get(page) or page.read_text(encoding='utf-8')
        pages[page] = replaced(text, page, between(name, tool), f'\n\n{content}\n\n')
    for model in zoo.models.values():
        config = root / model['Config']
        if not config.is_file():
            raise MmavError(
                f"no config '{config}', which the metafile has as {model['Name']}: remove it there, or rename it"
            )
        lines = textwrap.fill(zoo.expected(model), width=120, break_on_hyphens=False)
        pages[config] = replaced(config.read_text(encoding='utf-8'), config, EXPECTED, f'{lines}\n')
    yield from pages.items()


def between(name: str, tool: str) -> re.Pattern[str]:
    """What stands between the marks of a block."""
    start, end = re.escape(START.format(name=name, tool=tool)), re.escape(END.format(name=name))
    return re.compile(f'(?<={start}).*?(?={end})', flags=re.DOTALL)


def replaced(text: str, file: Path, part: re.Pattern[str], content: str) -> str:
    text, count = part.subn(lambda _: content, text)
    if count != 1:
        raise MmavError(
            f"'{file}' has {count} parts of the form {part.pattern!r}: there has to be one, which is written"
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='write nothing; exit with 2 if anything is out of date')
    args = parser.parse_args()
    stale = [(path, text) for path, text in generated(ROOT) if path.read_text(encoding='utf-8') != text]
    if args.check and stale:
        raise MmavError(f'out of date: {", ".join(str(path.relative_to(ROOT)) for path, _ in stale)}; run make docs')
    for path, text in stale:
        atomic_write(path, text.encode())
        print(f'written: {path.relative_to(ROOT)}')


if __name__ == '__main__':
    run_tool(main)
