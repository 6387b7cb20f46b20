"""A backbone from outside the library: torchvision's ResNet in a wrapper of a few lines."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import resnet18

from mmav.models import Backbone
from mmav.registry import MODELS
from mmav.structures import Tokens

VIDEO = dict(type='ResNet', input_size=(2, 48, 48))
AUDIO = dict(type='ResNet', input_size=(32, 64), in_channels=1)


@MODELS.register_module()
class ResNet(Backbone):
    """ResNet-18 on each frame of a clip (B, 3, T, H, W), or on a spectrogram (B, 1, F, T)."""

    def __init__(self, input_size=(8, 224, 224), in_channels=3, init_cfg=None):
        super().__init__(input_size, in_channels, out_dims=512, init_cfg=init_cfg)
        net = resnet18(weights=None)
        net.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.blocks = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])

    def forward(self, x: Tensor) -> Tokens:
        frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x  # (B * T, C, H, W)
        maps = self.stem(frames)
        for block in self.blocks:
            maps = block(maps)
        height, width = maps.shape[2:]
        grid = (x.shape[2], height, width) if x.dim() == 5 else (height, width)
        patches = maps.flatten(2).transpose(1, 2).reshape(x.shape[0], -1, self.out_dims)  # (B, N, D)
        return Tokens(patches.mean(dim=1), patches, grid)
