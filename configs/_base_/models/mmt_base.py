"""MMT at paper size: MViTv2-B for the clip, MAT for the spectrogram, AVBottleneck of K = 4 blocks, L = 4 tokens.

Both encoders start from ImageNet-1K's MViTv2-B, MAT as in the paper; from scratch:
``--cfg-options model.pretrained=False``.
"""

imagenet = dict(type='PublicWeights', checkpoint='mvitv2_b_in1k')

model = dict(
    type='AVClassifier',
    data_preprocessor=dict(type='AVDataPreprocessor', batch_augment=dict(type='MixupCutmix')),
    backbones=dict(
        # the paper does not say what the clip's encoder starts from; never Kinetics, as Kinetics-Sounds is a part of it
        video=dict(type='MViTv2', arch='base', input_size=(16, 224, 224), drop_path_rate=0.3, init_cfg=imagenet),
        # the paper gives no rate for MAT: the one of MViTv2-B on ImageNet-1K, whose weights it starts from
        audio=dict(type='MAT', arch='base', input_size=(128, 1024), drop_path_rate=0.3, init_cfg=imagenet),
    ),
    # 12 heads, as ViT-B has at this width; the paper gives no number
    neck=dict(type='AVBottleneck', embed_dims=768, num_blocks=4, num_tokens=4, num_heads=12, update='sequential'),
    # before the last layer, as in MViTv2's recipe (facebookresearch/SlowFast, MODEL.DROPOUT_RATE)
    head=dict(type='ClsHead', dropout=0.5, loss=dict(type='CrossEntropyLoss', label_smoothing=0.1)),
)
