#!/usr/bin/env python
"""Decodes every clip of a dataset from start to end and reports what is wrong with it.

Writes check_report.csv, a row for each clip with its measures and defects, and next to each manifest a clean one, such
as train_clean.csv, without the clips that have one of the defects of --drop. A stopped run continues where it was;
files that have changed since are checked again.
"""

import argparse
from pathlib import Path

from mmav.datasets.shards.shard_set import open_shards
from mmav.engine.cli import run_tool
from mmav.errors import OutputError
from mmav.journal import Journal
from mmav.outputs import check_folder, write_json
from mmav.preparation.checking import (
    DEFECTS,
    TIME_LIMIT,
    UNUSABLE,
    USUAL_MANIFESTS,
    ManifestCheck,
    check_clips,
    defects_of,
    manifests_left,
    manifests_of,
    read_rows,
    write_clean,
    write_report,
)

EXAMPLE = f"""defects:
{chr(10).join(f'  {name:12} {meaning}' for name, meaning in DEFECTS.items())}

examples:
  python tools/data/check_media.py data/vggsound
  python tools/data/check_media.py data/vggsound --manifest test.csv --drop missing unreadable silent frozen
  python tools/train.py CONFIG --cfg-options train_dataloader.dataset.ann_file=train_clean.csv"""
CLASSES_SHOWN = 10
REPORT, COUNTS = 'check_report.csv', 'check_report.json'


def summary(check: ManifestCheck, drop: list[str]) -> dict:
    """The result of a manifest's check."""
    lost = sum(check.dropped(drop))
    return dict(
        clips=len(check.rows),
        defects=check.count(),
        dropped=lost,
        dropped_share=round(lost / len(check.rows), 6) if check.rows else 0.0,
        classes={
            name: dict(dropped=gone, clips=total, share=round(gone / total, 6))
            for name, (gone, total) in check.share_of_classes(drop).items()
        },
    )


def show(name: str, found: dict, drop: list[str]) -> None:
    """Prints the table of a manifest."""
    print(f'\n{name}: {found["clips"]} clips')
    for defect, number in found['defects'].items():
        if number:
            fate = 'dropped' if defect in drop else 'kept'
            print(f'  {defect:12} {number:8}  {number / found["clips"]:7.2%}  {fate:8} {DEFECTS[defect]}')
    print(f'  {"dropped":12} {found["dropped"]:8}  {found["dropped_share"]:7.2%}')
    losers = [(label, counts) for label, counts in found['classes'].items() if counts['dropped']]
    if losers:
        print(f'  classes that lose clips: {len(losers)} of {len(found["classes"])}; those that lose most:')
        for label, counts in losers[:CLASSES_SHOWN]:
            print(f'    {counts["share"]:7.2%}  {counts["dropped"]:6} of {counts["clips"]:6}  {label}')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('data_root', type=Path, help='folder of the manifests, which their paths are relative to')
    parser.add_argument(
        '--manifest', nargs='+', metavar='FILE', help=f'manifests in it; default: {", ".join(USUAL_MANIFESTS)}'
    )
    parser.add_argument(
        '--drop', nargs='*', choices=list(DEFECTS), default=list(UNUSABLE), metavar='DEFECT',
        help='defects that keep a clip out of the clean manifest; default: %(default)s',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, help='folder of the report and the clean manifests; default: the data root')
    parser.add_argument(
        '--shards', metavar='DIR|ADDRESS', help='read the clips from shards: a folder in the data root, or an address'
    )
    parser.add_argument('--jobs', type=int, metavar='N', help='processes; default: one per core')
    parser.add_argument(
        '--time-limit', type=float, default=TIME_LIMIT, metavar='S',
        help='seconds after which to give up on a file; default: %(default)g',
    )  # fmt: skip
    args = parser.parse_args()
    out = args.out or args.data_root
    manifests = manifests_of(args.data_root, args.manifest)
    left = manifests_left(args.data_root, manifests) if args.manifest is None else []
    if left:
        print(f'not checked: {", ".join(left)}; name manifests with --manifest')
    shards = None if args.shards is None else open_shards(args.shards, str(args.data_root))
    checks = [read_rows(str(path)) for path in manifests]
    cleans = [out / f'{Path(check.path).stem}_clean.csv' for check in checks]
    names = [path.name for path in cleans]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise OutputError(f"two manifests would be written as '{out / twice}': check them one after the other")
    check_folder(
        out,
        [*names, REPORT, COUNTS],
        inputs=[check.path for check in checks],
        remedy='give another one with --out',
    )
    with Journal(out / 'check_journal.jsonl', dict(tool='check_media', version=2)) as journal:
        clips = [clip for check in checks for clip in check.clips]
        probes = check_clips(
            str(args.data_root), clips, journal, jobs=args.jobs, time_limit=args.time_limit, shards=shards
        )
    report = {}
    for check, clean in zip(checks, cleans, strict=True):
        check.defects = [defects_of(probes[clip], clip.end) for clip in check.clips]
        name = Path(check.path).name
        report[name] = summary(check, args.drop)
        show(name, report[name], args.drop)
        print(f'  {clean}: {write_clean(check, clean, args.drop)} clips')
    write_report(out / REPORT, checks, probes)
    write_json(out / COUNTS, dict(dropped_defects=args.drop, manifests=report))
    print(f'\n{out / REPORT}: every clip; {out / COUNTS}: counts of all classes')


if __name__ == '__main__':
    run_tool(main)
