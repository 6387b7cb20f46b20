#!/usr/bin/env python
"""Imports features made elsewhere, a .npy or .safetensors file per clip and modality, for `train --features`; the files
are checked, and read where they are.
"""

import argparse

from mmav.class_names import read_names
from mmav.config.reading import key_value
from mmav.datasets.features.writer import write_index
from mmav.engine.cli import run_tool
from mmav.engine.features.report import summary
from mmav.errors import MmavError
from mmav.outputs import check_folder
from mmav.preparation.feature_files import find_files, import_features

EXAMPLE = """examples:
  python tools/import_features.py train.csv --classes classes.txt --from video=i3d/ audio=vggish/ --out features/train
  python tools/import_features.py test.csv --classes classes.txt --from video=i3d/ audio=vggish/ --out features/test
  python tools/train.py CONFIG --features features

A file holds (D,), the class embedding; (N, D), tokens whose mean it is; or (V, N, D), those of V views."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('manifest', help='CSV file with the columns path and label')
    parser.add_argument(
        '--from',
        nargs='+',
        required=True,
        type=key_value,
        metavar='MODALITY=WHERE',
        dest='sources',
        help="a folder, where a clip's file has the clip's name with another suffix, or a column of the manifest",
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        required=True,
        metavar='FILE',
        help='class list, one name a line; for verbs and nouns: verb=FILE noun=FILE',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the index')
    parser.add_argument(
        '--class-token', nargs='+', default=[], metavar='MODALITY', help='whose first token is the class embedding'
    )
    parser.add_argument(
        '--num-tokens',
        nargs='+',
        default=[],
        type=key_value,
        metavar='MODALITY=N',
        help='average the tokens of each clip to N, for files of different lengths',
    )
    parser.add_argument(
        '--missing-ok', action='store_true', help='a clip without a file lacks the modality, instead of an error'
    )
    parser.add_argument(
        '--multi-label',
        action='store_true',
        help='a clip has any number of labels, separated by | in a cell (multi_label=True of the dataset)',
    )
    args = parser.parse_args()
    check_folder(args.out, ['index.json'], inputs=[args.manifest])
    sources = dict(text.split('=', 1) for text in args.sources)
    numbers = {name: _number(name, text) for name, text in (text.split('=', 1) for text in args.num_tokens)}
    for name in (*args.class_token, *numbers):
        if name not in sources:
            raise MmavError(f'{name!r} is not imported: --from names {", ".join(sources)}')
    classes = read_names(_class_files(args.classes))
    assert classes is not None
    index = import_features(
        args.manifest,
        classes,
        find_files(args.manifest, sources, list(classes)),
        class_tokens=args.class_token,
        num_tokens=numbers,
        missing_ok=args.missing_ok,
        multi_label=args.multi_label,
    )
    write_index(args.out, index)
    print(summary(index, args.out))


def _class_files(given: list[str]) -> str | dict[str, str]:
    if len(given) == 1 and '=' not in given[0]:
        return given[0]
    if not all('=' in text for text in given):
        raise MmavError(f'--classes {" ".join(given)}: give one file, or verb=FILE noun=FILE')
    return dict(text.split('=', 1) for text in given)


def _number(name: str, text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise MmavError(f'--num-tokens {name}={text}: give a number from 1')
    return int(text)


if __name__ == '__main__':
    run_tool(main)
