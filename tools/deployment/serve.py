#!/usr/bin/env python
"""Serves a trained model at an HTTP endpoint with OpenAPI, limits, health and metrics."""

import argparse
import logging

from mmav.checkpoints import require_checkpoint
from mmav.deployment.onnx_export import require
from mmav.engine.cli import run_tool
from mmav.errors import ConfigError
from mmav.listening import bind
from mmav.threads import cpu_count, sharing_cores

EXAMPLE = """examples:
  python tools/deployment/serve.py configs/mmt/mmt_tiny_avsynth.py work_dirs/demo/epoch_10.pth
  python tools/deployment/serve.py CONFIG CHECKPOINT --host 0.0.0.0 --token-file token.txt --max-seconds 20 --queue 32

  curl -F clip=@clip.mp4 'http://127.0.0.1:8000/v1/classify?topk=3'

A page for visitors is python demo/web_demo.py."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file of the model')
    parser.add_argument('checkpoint', help='checkpoint file (.pth or .safetensors); "none" for random weights')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on; default: 127.0.0.1, this machine')
    parser.add_argument('--port', type=int, default=8000, help='port to listen on, 0 for a free one; default: 8000')
    parser.add_argument('--device', help='such as cuda:1 or cpu; default: a GPU if there is one')
    parser.add_argument('--batch-size', type=int, default=8, metavar='N', help='most windows of a batch; default: 8')
    parser.add_argument(
        '--batch-wait', type=float, default=5, metavar='MS', help='how long a window waits for others; default: 5 ms'
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='processes that read clips; default: one for each core, 8 at most'
    )
    parser.add_argument('--queue', type=int, default=16, metavar='N', help='most clips that wait; default: 16')
    parser.add_argument(
        '--connections',
        type=int,
        default=64,
        metavar='N',
        help='most requests at a time, uploads included; default: 64',
    )
    parser.add_argument('--max-seconds', type=float, default=60, metavar='S', help='longest clip; default: 60')
    parser.add_argument('--max-megabytes', type=float, default=100, metavar='MB', help='largest body; default: 100')
    parser.add_argument('--max-windows', type=int, default=1000, metavar='N', help='most windows; default: 1000')
    parser.add_argument(
        '--timeout', type=float, default=30, metavar='S', help='from the end of an upload to its answer; default: 30'
    )
    parser.add_argument(
        '--upload-seconds', type=float, default=120, metavar='S', help='for the body of a request; default: 120'
    )
    parser.add_argument(
        '--idle-seconds', type=float, default=10, metavar='S', help='without a byte of headers or body; default: 10'
    )
    parser.add_argument(
        '--grace', type=float, default=30, metavar='S', help='from SIGTERM to the end, for answers; default: 30'
    )
    parser.add_argument(
        '--worker-megabytes', type=int, default=2048, metavar='MB', help='memory for reading a clip; default: 2048'
    )
    parser.add_argument(
        '--token-file', metavar='FILE', help='file with the token that clients must send; default: $MMAV_SERVE_TOKEN'
    )
    parser.add_argument('--classes', help='class list, one name a line; default: that of the checkpoint')
    parser.add_argument(
        '--thresholds',
        metavar='P|FILE',
        help='of a model that gives several labels: from which probability on a clip has one, or a file that '
        'mmav thresholds wrote; default: 0.5',
    )
    args = parser.parse_args()
    require('fastapi', 'uvicorn', 'python_multipart')
    from mmav.inference import AVInferencer
    from mmav.serving.limits import ServeLimits
    from mmav.serving.server import serve
    from mmav.serving.service import ClipService
    from mmav.serving.tokens import find_token

    workers = min(8, cpu_count()) if args.workers is None else args.workers
    for name, value in dict(batch_size=args.batch_size, workers=workers).items():
        if value < 1:
            raise ConfigError(f'--{name.replace("_", "-")} {value} must be 1 or more')
    for name, value in dict(batch_wait=args.batch_wait, grace=args.grace).items():
        if not 0 <= value < float('inf'):
            raise ConfigError(f'--{name.replace("_", "-")} {value:g} must be 0 or more and finite')
    if not 0 <= args.port < 65536:
        raise ConfigError(f'--port {args.port} must be 0 to 65535')
    limits = ServeLimits(
        megabytes=args.max_megabytes,
        seconds=args.max_seconds,
        windows=args.max_windows,
        timeout=args.timeout,
        upload_seconds=args.upload_seconds,
        idle_seconds=args.idle_seconds,
        queue=args.queue,
        connections=args.connections,
        worker_megabytes=args.worker_megabytes,
    )
    token = find_token(args.token_file)
    logging.basicConfig(level=logging.WARNING, format='%(levelname)s: %(message)s')
    checkpoint = None if args.checkpoint == 'none' else args.checkpoint
    if checkpoint is not None:
        require_checkpoint(checkpoint)
    with bind(args.host, args.port) as listener, sharing_cores(workers):
        inferencer = AVInferencer(
            args.config,
            checkpoint,
            device=args.device,
            classes=args.classes,
            thresholds=args.thresholds,
            show_progress=False,
        )
        service = ClipService(
            inferencer, limits, workers=workers, batch_size=args.batch_size, batch_wait=args.batch_wait / 1000
        )
        serve(service, listener, token=token, grace=args.grace)


if __name__ == '__main__':
    run_tool(main)
