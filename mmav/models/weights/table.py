"""Public weights by name: where they are, what they were trained on, and the source.

A checksum is listed only if the publisher has it in the file name, as torch.hub and OpenMMLab do: the first digits of
its sha256 (open-mmlab/mmpretrain, tools/model_converters/publish_model.py). The licence is that of the repository that
publishes the file; the datasets have their own terms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from mmav.download import path_in

_KINETICS = re.compile(r'(?<![a-z0-9])k(inetics)?[-_]?[467]00(?![0-9])', re.IGNORECASE)
# of which the models by these names have seen some, whatever else their names say
_OF_KINETICS = re.compile(r'videomae(?!.*(ssv2|something))|(?<![a-z])v-?jepa', re.IGNORECASE)
_HASH = re.compile(r'-([0-9a-f]{8})\.pth$')


@dataclass(frozen=True)
class PublicCheckpoint:
    """A file of weights that somebody has published.

    Attributes:
        name: What configs call it.
        address: Where it is.
        architecture: What it is a checkpoint of.
        trained_on: Datasets that it was trained on, in order.
        licence: SPDX identifier of the licence of the repository that publishes it.
        source: The page that names the address, as a path in a public repository.
        hashed: Whether the name of the file ends in the first digits of its sha256.
        stored: Name of the file here, where the publisher's is one that other files have, too; empty for the same.
    """

    name: str
    address: str
    architecture: str
    trained_on: tuple[str, ...]
    licence: str
    source: str
    hashed: bool = False
    stored: str = ''

    @property
    def file(self) -> str:
        """Name of the file, in the cache, too."""
        return self.stored or PurePosixPath(unquote(urlsplit(self.address).path)).name

    @property
    def sha256(self) -> str:
        """First digits of the checksum; empty where none is published."""
        found = _HASH.search(self.file) if self.hashed else None
        return found[1] if found else ''


IN1K, IN21K, K400 = 'ImageNet-1K', 'ImageNet-21K', 'Kinetics-400'
SSV2, AUDIOSET, VGGSOUND = 'Something-Something V2', 'AudioSet', 'VGGSound'
_APACHE, _BSD, _BSD2, _NC = 'Apache-2.0', 'BSD-3-Clause', 'BSD-2-Clause', 'CC-BY-NC-4.0'
_SIZES = dict(t='tiny', s='small', b='base', l='large')


def _mvit_images() -> list[PublicCheckpoint]:
    page, folder = 'facebookresearch/mvit README.md', 'https://dl.fbaipublicfiles.com/mvit/mvitv2_models'
    return [
        PublicCheckpoint(
            f'mvitv2_{size}_{data}',
            f'{folder}/MViTv2_{size.upper()}_{data}.pyth',
            f"MViTv2 '{_SIZES[size]}', images",
            (on,),
            _APACHE,
            page,
        )
        for size, data, on in (
            ('t', 'in1k', IN1K),
            ('s', 'in1k', IN1K),
            ('b', 'in1k', IN1K),
            ('l', 'in1k', IN1K),
            ('b', 'in21k', IN21K),
            ('l', 'in21k', IN21K),
        )
    ]


def _mvit_images_of_openmmlab() -> list[PublicCheckpoint]:
    """The same weights as those of facebookresearch/mvit, on another server and with a checksum."""
    page, folder = (
        'open-mmlab/mmpretrain configs/mvit/README.md',
        'https://download.openmmlab.com/mmclassification/v0/mvit',
    )
    digits = dict(t='db7beeef', s='986bd741', b='9c4f0a17', l='2b57b983')
    return [
        PublicCheckpoint(
            f'mvitv2_{size}_in1k_mmpretrain',
            f'{folder}/mvitv2-{_SIZES[size]}_3rdparty_in1k_20220722-{sha}.pth',
            f"MViTv2 '{_SIZES[size]}', images",
            (IN1K,),
            _APACHE,
            page,
            hashed=True,
        )
        for size, sha in digits.items()
    ]


def _mvit_clips() -> list[PublicCheckpoint]:
    page = 'facebookresearch/SlowFast projects/mvitv2/README.md'
    folder = 'https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/mvitv2/pysf_video_models'
    return [
        PublicCheckpoint(
            f'mvitv2_{size}_k400_{frames}',
            f'{folder}/MViTv2_{size.upper()}_{frames}_k400_{run}.pyth',
            f"MViTv2 '{_SIZES[size]}', clips of {frames.split('x')[0]} frames",
            (K400,),
            _APACHE,
            page,
        )
        for size, frames, run in (('s', '16x4', 'f302660347'), ('b', '32x3', 'f304025456'))
    ]


def _mvit_clips_of_openmmlab() -> list[PublicCheckpoint]:
    """SlowFast's weights, those of Kinetics-400 the same as above, with a checksum."""
    page = 'open-mmlab/mmaction2 configs/recognition/mvit/README.md'
    folder = 'https://download.openmmlab.com/mmaction/v1.0/recognition/mvit/converted'
    return [
        PublicCheckpoint(
            f'mvitv2_{size}_{name}_mmaction2',
            f'{folder}/mvit-{_SIZES[size]}-p244_{data}-rgb_20221021-{sha}.pth',
            f"MViTv2 '{_SIZES[size]}', clips of {frames} frames",
            on,
            _APACHE,
            page,
            hashed=True,
        )
        for size, name, data, frames, on, sha in (
            ('s', 'k400_16x4', '16x4x1_kinetics400', 16, (K400,), '9ebaaeed'),
            ('b', 'k400_32x3', '32x3x1_kinetics400', 32, (K400,), 'f392cd2d'),
            ('s', 'ssv2_16', 'u16_sthv2', 16, (K400, SSV2), '65ecae7d'),
            ('b', 'ssv2_32', 'u32_sthv2', 32, (K400, SSV2), 'd5de5da6'),
        )
    ]


def _ast() -> list[PublicCheckpoint]:
    """Trained from DeiT's ImageNet weights; the first with averaged weights. The numbers: strides, mAP."""
    page = 'YuanGongND/ast egs/audioset/download_models.sh'
    return [
        PublicCheckpoint(
            f'ast_audioset_{name}',
            f'https://www.dropbox.com/s/{share}/audioset_{name}.pth?dl=1',
            f'AST, patches at stride {name.split("_")[0]}',
            (IN1K, AUDIOSET),
            _BSD,
            page,
        )
        for name, share in (
            ('10_10_0.4593', 'ca0b1v2nlxzyeb4'),
            ('10_10_0.4495', '1tv0hovue1bxupk'),
            ('10_10_0.4483', '6u5sikl4b9wo4u5'),
            ('10_10_0.4475', 'kt6i0v9fvfm1mbq'),
            ('12_12_0.4467', 'snfhx3tizr4nuc8'),
            ('14_14_0.4431', 'z18s6pemtnxm4k7'),
            ('16_16_0.4422', 'mdsa4t1xmcimia6'),
        )
    ]


def _deit() -> list[PublicCheckpoint]:
    """What AST starts from (YuanGongND/ast, src/models/ast_models.py): model_size 'base384' and its other sizes."""
    page, folder = 'facebookresearch/deit README_deit.md', 'https://dl.fbaipublicfiles.com/deit'
    return [
        PublicCheckpoint(
            f'deit_{size[0]}_distilled_{side}_in1k',
            f'{folder}/deit_{size}_distilled_patch16_{side}-{sha}.pth',
            f'DeiT-{size[0].upper()}/16, images of {side}',
            (IN1K,),
            _APACHE,
            page,
            hashed=True,
        )
        for size, side, sha in (
            ('base', 384, 'd0272ac0'),
            ('base', 224, 'df68dfff'),
            ('small', 224, '649709d9'),
            ('tiny', 224, 'b40b3cf7'),
        )
    ]


def _hiera() -> list[PublicCheckpoint]:
    """Pretrained as masked autoencoders, then fine-tuned with labels, or not; the numbers: frames, size of images."""
    page, folder = 'facebookresearch/hiera README.md', 'https://dl.fbaipublicfiles.com/hiera'
    files = [(size, '224', 'in1k', (IN1K,)) for size in ('tiny', 'small', 'base', 'base_plus', 'large', 'huge')]
    files += [(size, '16x224', 'k400', (K400,)) for size in ('base', 'base_plus', 'large', 'huge')]
    return [
        PublicCheckpoint(
            f'{"mae_" * mae}hiera_{size}_{data}',
            f'{folder}/{"mae_" * mae}hiera_{size}_{shape}.pth',
            f"Hiera '{size}', {'clips of 16 frames' if 'x' in shape else 'images'}{', without labels' * mae}",
            on,
            _NC,
            page,
        )
        for mae in (False, True)
        for size, shape, data, on in files
    ]


def _cav_mae() -> list[PublicCheckpoint]:
    """Trained from an ImageNet MAE; an encoder of spectrograms and one of images in each file."""
    page = 'YuanGongND/cav-mae README.md'
    pretrained, on = 'CAV-MAE, audio and images', (IN1K, AUDIOSET)
    files = [
        ('scale++', 'l5t5geufdy3qvnv/audio_model.21.pth', pretrained, on),
        ('scale+', 'xu8bfie6hz86oev/audio_model.25.pth', pretrained, on),
        ('base', 'wxrjgr86gdhc5k8/cav-mae-base.pth', pretrained, on),
        ('as2m', 'hejj49zdgyyfsuh/as-full-51.2.pth', f'{pretrained}, fine-tuned', on),
        ('as20k', '9x6y642so3zve5y/as-20k-42.0.pth', f'{pretrained}, fine-tuned', on),
        ('vggsound_65.5', 'f4wrbxv2unewss9/vgg_65.5.pth', f'{pretrained}, fine-tuned', (*on, VGGSOUND)),
        ('vggsound_65.9', 'q66s3mu526mj2x6/vgg_66.0.pth', f'{pretrained}, fine-tuned', (*on, VGGSOUND)),
    ]
    return [
        PublicCheckpoint(
            f'cav_mae_{name}',
            f'https://www.dropbox.com/s/{share}?dl=1',
            of,
            data,
            _BSD2,
            page,
            # what its code calls the files of any training
            stored=f'cav-mae-{name}.pth' if 'audio_model' in share else '',
        )
        for name, share, of, data in files
    ]


_TABLE = (
    *_mvit_images(),
    *_mvit_images_of_openmmlab(),
    *_mvit_clips(),
    *_mvit_clips_of_openmmlab(),
    PublicCheckpoint(
        'mvitv2_s_k400_16x4_torchvision',
        'https://download.pytorch.org/models/mvit_v2_s-ae3be167.pth',
        "MViTv2 'small', clips of 16 frames",
        (K400,),
        _BSD,
        'pytorch/vision torchvision/models/video/mvit.py',
        hashed=True,
    ),
    *_ast(),
    *_deit(),
    *_hiera(),
    *_cav_mae(),
    PublicCheckpoint(
        'vit_b_in21k',
        # Google's first ViT-B/16, not AugReg's, in PyTorch's form; MBT's authors name no file
        'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-vitjx/'
        'jx_vit_base_patch16_224_in21k-e5005f0a.pth',
        'ViT-B/16, images of 224',
        (IN21K,),
        _APACHE,
        'huggingface/pytorch-image-models timm/models/vision_transformer.py',
        hashed=True,
    ),
)
PUBLIC_WEIGHTS: dict[str, PublicCheckpoint] = {row.name: row for row in _TABLE}
DATA_SETS = tuple(dict.fromkeys(data for row in _TABLE for data in row.trained_on))


def find_row(checkpoint: str) -> PublicCheckpoint | None:
    """The row for a name, a URL, or a file with the name of a published one; None if there is none."""
    if checkpoint in PUBLIC_WEIGHTS:
        return PUBLIC_WEIGHTS[checkpoint]
    file, address = _file_of(checkpoint), checkpoint.split('?')[0]
    return next((row for row in _TABLE if row.file == file or row.address.split('?')[0] == address), None)


def seen_by_name(checkpoint: str) -> tuple[str, ...]:
    """The datasets that weights say in the name of their file that they were trained on; empty where it says none.

    Only Kinetics, of whose sets the larger ones hold most of the clips of the smaller ones; what has no number is not
    meant, such as Kinetics-Sounds. VideoMAE was trained on it, unless its name says Something-Something, and V-JEPA on
    a mix with it.

    >>> seen_by_name('/data/maskfeat_k400.pth'), seen_by_name('kinetics_sounds.pth'), seen_by_name('k400/epoch_9.pth')
    (('Kinetics-400',), (), ())
    >>> seen_by_name('MCG-NJU/videomae-base'), seen_by_name('MCG-NJU/videomae-base-ssv2')
    (('Kinetics-400',), ())
    """
    name = _file_of(checkpoint)
    return (K400,) if _KINETICS.search(name) or _OF_KINETICS.search(name) else ()


def _file_of(checkpoint: str) -> str:
    return PurePosixPath(path_in(checkpoint) if '://' in checkpoint else checkpoint).name


def table_rows() -> list[tuple[str, ...]]:
    """The table in words, its header first, as ``download_weights.py --list`` and docs/training.md have it."""
    return [
        ('name', 'of', 'trained on', 'sha256', 'licence', 'published by'),
        *(
            (f'`{row.name}`', row.architecture, ', '.join(row.trained_on), row.sha256 or '-', row.licence, row.source)
            for row in _TABLE
        ),
    ]
