"""The table beside what timm and torchvision say of the same files."""

import re

import pytest
import timm
from torchvision.models.video import MViT_V2_S_Weights

from mmav.models.weights.table import AUDIOSET, DATA_SETS, IN1K, K400, PUBLIC_WEIGHTS, find_row, table_rows

OF_TIMM = dict(
    mvitv2_t_in1k='mvitv2_tiny.fb_in1k',
    mvitv2_s_in1k='mvitv2_small.fb_in1k',
    mvitv2_b_in1k='mvitv2_base.fb_in1k',
    mvitv2_l_in1k='mvitv2_large.fb_in1k',
    mvitv2_b_in21k='mvitv2_base_cls.fb_inw21k',
    mvitv2_l_in21k='mvitv2_large_cls.fb_inw21k',
    deit_b_distilled_384_in1k='deit_base_distilled_patch16_384.fb_in1k',
    deit_b_distilled_224_in1k='deit_base_distilled_patch16_224.fb_in1k',
    deit_s_distilled_224_in1k='deit_small_distilled_patch16_224.fb_in1k',
    deit_t_distilled_224_in1k='deit_tiny_distilled_patch16_224.fb_in1k',
)


@pytest.mark.parametrize('name', OF_TIMM)
def test_addresses_are_those_of_timm(name):
    assert PUBLIC_WEIGHTS[name].address == timm.get_pretrained_cfg(OF_TIMM[name]).url


def test_the_address_of_torchvision_with_its_checksum():
    row = PUBLIC_WEIGHTS['mvitv2_s_k400_16x4_torchvision']
    assert row.address == MViT_V2_S_Weights.KINETICS400_V1.url and row.sha256 == 'ae3be167'


def test_each_row_is_whole():
    rows = list(PUBLIC_WEIGHTS.values())
    assert len({row.file for row in rows}) == len({row.address for row in rows}) == len(rows)
    for row in rows:
        assert row.address.startswith('https://') and row.file.endswith(('.pth', '.pyth'))
        assert row.trained_on and row.licence in ('Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'CC-BY-NC-4.0')
        assert re.match(r'[\w-]+/[\w-]+ \S+', row.source)
        # a name that ends like a checksum is one
        assert bool(row.sha256) == bool(re.search(r'-[0-9a-f]{8}\.pth$', row.file)), row.name


def test_what_they_were_trained_on():
    of = {name: row.trained_on for name, row in PUBLIC_WEIGHTS.items()}
    assert of['mvitv2_b_in1k'] == (IN1K,) and of['ast_audioset_10_10_0.4593'] == (IN1K, AUDIOSET)
    assert all(K400 in of[name] for name in of if 'k400' in name or 'ssv2' in name)
    assert set(DATA_SETS) == {data for data_sets in of.values() for data in data_sets}


def test_a_row_is_found_by_name_address_and_file():
    row = PUBLIC_WEIGHTS['ast_audioset_10_10_0.4593']
    assert row.file == 'audioset_10_10_0.4593.pth' and row.sha256 == ''
    for checkpoint in (row.name, row.address, row.address.split('?')[0], f'/data/{row.file}', row.file):
        assert find_row(checkpoint) is row
    assert find_row('mine.pth') is None and find_row('https://host/mine.pth?file=audioset_10_10_0.4593.pth') is None


def test_names_that_any_file_may_have_are_not_taken_for_published_ones():
    row = PUBLIC_WEIGHTS['cav_mae_scale++']
    assert row.file == 'cav-mae-scale++.pth' and row.address.split('?')[0].endswith('audio_model.21.pth')
    assert find_row('/runs/mine/audio_model.21.pth') is None
    assert find_row(row.address) is find_row(row.address.split('?')[0]) is row


def test_licences_that_forbid_commercial_use_are_told():
    of = {name: row.licence for name, row in PUBLIC_WEIGHTS.items()}
    assert {of[name] for name in of if 'hiera' in name} == {'CC-BY-NC-4.0'}  # its code is Apache-2.0
    assert {of[name] for name in of if 'cav_mae' in name} == {'BSD-2-Clause'}


def test_the_table_in_words():
    header, *rows = table_rows()
    assert [row[0] for row in rows] == [f'`{name}`' for name in PUBLIC_WEIGHTS]
    assert all(len(row) == len(header) and all(row) for row in rows)
