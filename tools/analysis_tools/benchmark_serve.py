#!/usr/bin/env python
"""Measures an endpoint of mmav serve at saturation: what became of every request, latency, and memory over time.

Exit status 1 if a request was lost or answered by a failure.
"""

import argparse
import re
import shlex
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

# outside the library, beside tools/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.clips import write_sample_clip
from benchmarks.machine import check_counts, machine
from benchmarks.serve import LOST, OTHER, load_table, measure_load, own_server, read_clips
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.outputs import check_output, write_json
from mmav.serving.tokens import find_token

EXAMPLE = """examples:
  python tools/analysis_tools/benchmark_serve.py http://127.0.0.1:8000 --clips a.mp4 b.wav --seconds 60
  python tools/analysis_tools/benchmark_serve.py configs/mmt/mmt_tiny_avsynth.py --clients 16 --seconds 600 \\
      --server-options '--queue 8'"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('endpoint', metavar='URL|CONFIG', help='address of an endpoint, or a config to serve here')
    parser.add_argument(
        'checkpoint', nargs='?', default='none', help='checkpoint file for a config; default: none, random weights'
    )
    parser.add_argument('--clients', type=int, default=16, metavar='N', help='clients at a time; default: 16')
    parser.add_argument('--seconds', type=int, default=600, metavar='S', help='how long; default: 600')
    parser.add_argument('--clips', nargs='+', default=[], metavar='FILE', help='clips to send; default: generated ones')
    parser.add_argument('--server-options', default='', metavar='TEXT', help='more options of mmav serve, in one text')
    parser.add_argument('--token', metavar='FILE', help='file with the token of an endpoint that asks for one')
    parser.add_argument('--json', metavar='FILE', help='writes the figures, and the memory over time, to a file')
    args = parser.parse_args()
    check_counts(args, 'clients', 'seconds')
    if args.json:
        check_output(args.json, inputs=args.clips, suffixes=['.json'])
    served = re.match('https?://', args.endpoint) is not None
    if served and (args.server_options or args.checkpoint != 'none'):
        raise ConfigError('checkpoint and --server-options are for a config, which is served here; this is an address')
    if not served and args.token:
        raise ConfigError('--token is for an address; for a config give --server-options "--token-file FILE"')
    token = find_token(args.token) if args.token else None
    clips = read_clips(args.clips) if args.clips else [generated_clip()]
    options = shlex.split(args.server_options)
    with nullcontext(args.endpoint) if served else own_server(args.endpoint, args.checkpoint, options) as url:
        load = measure_load(url, clips, clients=args.clients, seconds=args.seconds, token=token)
    summary = load.summary()
    print(load_table(summary))
    if args.json:
        write_json(args.json, dict(summary, memory=load.memory, options=vars(args), **machine()))
    if load.fates[LOST] + load.fates[OTHER]:
        sys.exit(1)


def generated_clip() -> bytes:
    """The clip of all benchmarks of reading."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'clip.mp4')
        write_sample_clip(path)
        return path.read_bytes()


if __name__ == '__main__':
    run_tool(main)
