#!/usr/bin/env python
"""Downloads public weights ahead of time, such as on a login node, into the cache where training looks for them.

The cache is torch's: $TORCH_HOME/hub/checkpoints, by default ~/.cache/torch/hub/checkpoints.
"""

import argparse
from collections.abc import Sequence

from mmengine.config import DictAction

from mmav.analysis.pages import fill_block
from mmav.config.reading import key_value, load_checked_config
from mmav.download import cache_folder
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.models.weights.source import Source, locate
from mmav.models.weights.table import PUBLIC_WEIGHTS, table_rows
from mmav.models.weights.uses import weights_of_config
from mmav.tables import markdown_table, text_table

EXAMPLE = """examples:
  python tools/model_converters/download_weights.py configs/mmt/mmt_k4_l4_vggsound.py   # what this config starts from
  python tools/model_converters/download_weights.py mvitv2_b_in1k ast_audioset_10_10_0.4593
  python tools/model_converters/download_weights.py --list
  TORCH_HOME=/shared/torch python tools/model_converters/download_weights.py mvitv2_b_in1k"""
TOOL = 'tools/model_converters/download_weights.py'


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('wanted', nargs='*', metavar='CONFIG|NAME|ADDRESS', help='config file, name or address')
    parser.add_argument('--list', action='store_true', help='list the names, and which files are here')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, type=key_value, default={}, metavar='K=V',
        help='change single entries of the configs, such as model.backbones.video.init_cfg.checkpoint=NAME',
    )  # fmt: skip
    parser.add_argument('--markdown', metavar='FILE', help='put the list into the block of this page')
    args = parser.parse_args()
    if not args.wanted and not args.list and not args.markdown:
        raise ConfigError('give a config, a name or an address, or --list')
    configs = [wanted for wanted in args.wanted if wanted.endswith('.py')]
    if args.cfg_options and not configs:
        raise ConfigError('--cfg-options has no effect without a config')
    if args.list:
        print_list()
    if args.markdown:
        fill_block(args.markdown, 'weights', TOOL, markdown_table(table_rows()))
    # all are found before the first is downloaded, which takes long
    found = [
        (f'{wanted}: ', of_config(wanted, args.cfg_options)) if wanted in configs else ('', [locate(wanted)])
        for wanted in args.wanted
    ]
    for prefix, sources in found:
        download(sources, prefix)


def print_list() -> None:
    (name, *header), *rows = table_rows()
    here = ['yes' if (cache_folder() / row.file).is_file() else 'no' for row in PUBLIC_WEIGHTS.values()]
    cells = [(first.strip('`'), there, *rest) for (first, *rest), there in zip(rows, here, strict=True)]
    print(text_table([(name, 'here', *header), *cells], left=len(header) + 2))
    print(f'cache: {cache_folder()}')


def of_config(path: str, options: dict) -> list[Source]:
    cfg = load_checked_config(path, options)
    sources = list(dict.fromkeys(weights_of_config(cfg).values()))
    if not sources:
        print(f'{path}: starts from no public weights, nothing to download')
    return sources


def download(sources: Sequence[Source], prefix: str) -> None:
    for source in sources:
        print(f'{prefix}{source}: {source.fetch()}', flush=True)


if __name__ == '__main__':
    run_tool(main)
