"""The small convolutional encoder: the shift in time, the axis that is spanned, pooling, sizes, and export."""

import pytest
import torch
from torch import nn

from mmav.models import ConvEncoder
from mmav.models.backbones.conv_encoder import ResidualBlock, shift_in_time

WIDTHS = (8, 16, 24)
CLIP = dict(input_size=(4, 32, 40), widths=WIDTHS)
SOUND = dict(input_size=(32, 50), in_channels=1, widths=WIDTHS)


def make(**kwargs):
    torch.manual_seed(0)
    return ConvEncoder(**kwargs).eval()


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_shift_in_time_is_a_loop_over_frames():
    x, moved = draw(2 * 5, 8, 3, 3), 2
    clips, expected = x.view(2, 5, 8, 3, 3), torch.zeros(2, 5, 8, 3, 3)
    for t in range(5):
        if t + 1 < 5:
            expected[:, t, :moved] = clips[:, t + 1, :moved]
        if t > 0:
            expected[:, t, moved : 2 * moved] = clips[:, t - 1, moved : 2 * moved]
        expected[:, t, 2 * moved :] = clips[:, t, 2 * moved :]
    assert torch.equal(shift_in_time(x, 5, 0.25), expected.flatten(0, 1))


def test_frames_see_their_neighbours_only_by_the_shift():
    x, other = draw(1, 3, 4, 32, 40), draw(1, 3, 4, 32, 40)
    other[:, :, 3] += 1
    for shift, same in ((0.0, (True, True, True, False)), (0.125, (True, False, False, False))):
        first, second = (make(**CLIP, shift=shift)(clip).patches.unflatten(1, (4, -1))[0] for clip in (x, other))
        # two blocks: the last frame reaches two frames back
        assert tuple(torch.equal(a, b) for a, b in zip(first, second, strict=True)) == same


def test_a_spectrogram_keeps_the_place_along_frequency_and_not_along_time():
    encoder, x = make(**SOUND), torch.zeros(1, 1, 32, 128)
    tones = [x.clone(), x.clone(), x.clone()]
    tones[0][..., 8:12, 48:56] = 3
    tones[1][..., 8:12, 72:80] = 3  # the same, later: a multiple of the stride
    tones[2][..., 20:24, 48:56] = 3  # higher
    low, later, high = (encoder(tone).cls for tone in tones)
    torch.testing.assert_close(low, later)
    assert (low - high).abs().max() > 1e-3
    assert encoder(x).grid == (1, 16) and make(**SOUND, span=False)(x).grid == (4, 16)


@pytest.mark.parametrize(('pool', 'reduce'), [('max', lambda x: x.amax(1)), ('mean', lambda x: x.mean(1))])
def test_the_class_embedding_pools_the_map(pool, reduce):
    tokens = make(**CLIP, pool=pool)(draw(2, 3, 4, 32, 40))
    torch.testing.assert_close(tokens.cls, reduce(tokens.patches))


def test_a_block_is_one_of_torchvision_where_nothing_is_strided_or_shifted():
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    ours = ResidualBlock(8, 16, (1, 1)).eval()
    theirs = BasicBlock(8, 16, downsample=nn.Sequential(ours.shortcut, ours.norm)).eval()
    theirs.conv1, theirs.bn1, theirs.conv2, theirs.bn2 = ours.conv1, ours.norm1, ours.conv2, ours.norm2
    x = draw(2, 8, 9, 11)
    torch.testing.assert_close(ours(x), theirs(x))


def test_other_sizes_and_strides_at_run_time():
    encoder = make(**SOUND, strides=(2, (2, 1), (2, 1)))
    tokens = encoder(draw(2, 1, 40, 33))
    assert tokens.grid == (1, 17) and tokens.patches.shape == (2, 17, 24)
    assert make(**CLIP)(draw(1, 3, 7, 50, 33)).grid == (7, 7, 5)


def test_exported_by_onnx_it_gives_the_same():
    onnxruntime = pytest.importorskip('onnxruntime')
    import io

    for kwargs, x in ((CLIP, draw(2, 3, 4, 32, 40)), (SOUND, draw(2, 1, 32, 50))):
        encoder, file = make(**kwargs), io.BytesIO()
        torch.onnx.export(encoder, (x,), file, dynamo=False, opset_version=17)
        session = onnxruntime.InferenceSession(file.getvalue())
        cls = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        torch.testing.assert_close(torch.from_numpy(cls), encoder(x).cls, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(input_size=(8,)), r'input_size=\(8,\) must be \(F, T\) of a spectrogram or \(T, H, W\) of a clip'),
        (dict(widths=(8,)), r'widths=\(8,\) must have the stem and at least one stage'),
        (dict(widths=8), r'widths=8 must have the stem and at least one stage'),
        (dict(widths=(8, 16.5, 3)), r'widths=\(8, 16.5, 3\) must have the stem'),
        (dict(input_size=32), r'input_size=32: give \(F, T\) of a spectrogram or .*, whole numbers above 0'),
        (dict(strides=0), 'strides=0 must be whole numbers above 0, or pairs of them'),
        (dict(strides=2.0), 'strides=2.0 must be whole numbers above 0, or pairs'),
        (dict(strides=((2,), 2, 2, 2)), r'strides=\(\(2,\), 2, 2, 2\) must be whole numbers'),
        (dict(shift=0.6), r'shift=0.6 must lie in \[0, 0.5\]'),
        (dict(pool='sum'), "pool='sum' is unknown: choose max or mean"),
        (dict(strides=(2, 2)), r'strides=\(2, 2\) has 2 entries for 4 widths: give one for each'),
    ],
)
def test_what_it_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ConvEncoder(**kwargs)


def test_an_input_of_another_rank_is_refused():
    with pytest.raises(ValueError, match=r'an input of shape \(1, 1, 32, 50\) does not fit input_size=\(4, 32, 40\)'):
        make(**CLIP)(draw(1, 1, 32, 50))
