"""Tiny models of every family that HFBackbone takes, written to folders by transformers itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

RATE = 16000
_ENCODER = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
_IMAGE = dict(**_ENCODER, image_size=32, patch_size=16)
_NO_MLP = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16)
_VIDEO = dict(**_IMAGE, num_frames=4)
_SPEECH = dict(
    **_ENCODER,
    conv_dim=[8, 8],
    conv_kernel=[10, 3],
    conv_stride=[5, 2],
    num_feat_extract_layers=2,
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
)
_TEXT = dict(**_ENCODER, vocab_size=99, bos_token_id=1, eos_token_id=2, pad_token_id=0)
_PE_TEXT = dict(**_TEXT, model_type='modernbert', cls_token_id=0, sep_token_id=0)
_DAC = dict(
    encoder_hidden_size=4,
    downsampling_ratios=[2, 4],
    codebook_dim=4,
    hidden_size=16,
    n_codebooks=1,
    codebook_size=8,
    decoder_hidden_size=16,
    upsampling_ratios=[4, 2],
    hop_length=8,
)
_PE_AUDIO = dict(**_ENCODER, head_dim=8, dac_config=_DAC)
_PE_FRAMES = dict(
    architecture='vit_tiny_patch16_224',
    num_classes=12,
    model_args=dict(img_size=32, embed_dim=16, depth=1, num_heads=2, global_pool='token'),
)
_PE_VIDEO = dict(**_ENCODER, head_dim=8, vision_config=_PE_FRAMES)


@dataclass(frozen=True)
class Family:
    """A model, and what its processor is.

    Attributes:
        config: Its config, as HFBackbone takes it.
        processor: Class in transformers.
        settings: Arguments of the processor.
        size: Of the input of HFBackbone; None for the config's.
        options: Further arguments of HFBackbone.
        part: The encoder in the model that AutoModel builds.
        grid: Of the tokens.
        tokens: How many of the output stand before the patches.
    """

    config: dict[str, Any]
    processor: str
    settings: dict[str, Any]
    grid: tuple[int, ...]
    size: tuple[int, ...] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    part: str = ''
    tokens: int = 0

    @property
    def modality(self) -> str:
        """``audio`` or ``video``."""
        return 'audio' if self.processor.endswith('FeatureExtractor') else 'video'

    def write(self, folder: str) -> None:
        """Writes weights, config and processor as transformers does."""
        import transformers

        from mmav.hf_files import quiet

        torch.manual_seed(0)
        values = {key: value for key, value in self.config.items() if key != 'model_type'}
        config = transformers.AutoConfig.for_model(self.config['model_type'], **values)
        with quiet(transformers):
            model = transformers.AutoModel.from_config(config)
            with torch.no_grad():  # what is initialised with zeros, or so small that it hides in rounding, must count
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
            model.save_pretrained(folder)
        getattr(transformers, self.processor)(**self.settings).save_pretrained(folder)


def _pixels(**more: Any) -> dict[str, Any]:
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    return dict(size=dict(height=32, width=32), do_center_crop=False, image_mean=mean, image_std=std, **more)


FAMILIES = {
    'ast': Family(
        dict(
            model_type='audio-spectrogram-transformer', **_ENCODER, patch_size=8, frequency_stride=6, time_stride=6,
            max_length=64, num_mel_bins=32,
        ),
        'ASTFeatureExtractor', dict(num_mel_bins=32, max_length=64, mean=-5.0, std=3.0), (5, 10), tokens=2,
    ),
    'wav2vec2': Family(
        dict(model_type='wav2vec2', **_SPEECH), 'Wav2Vec2FeatureExtractor', dict(do_normalize=True), (799,),
        size=(8000,),
    ),
    'hubert': Family(
        dict(model_type='hubert', **_SPEECH), 'Wav2Vec2FeatureExtractor', dict(do_normalize=False), (799,),
        size=(8000,),
    ),
    'wavlm': Family(
        dict(model_type='wavlm', **_SPEECH), 'Wav2Vec2FeatureExtractor', dict(do_normalize=True), (399,), size=(4000,),
    ),
    'whisper': Family(
        dict(
            model_type='whisper', d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32,
            decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32, num_mel_bins=16, max_source_positions=50,
            vocab_size=99, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        ),
        'WhisperFeatureExtractor', dict(feature_size=16, chunk_length=1), (1, 50), part='encoder',
    ),
    'clap': Family(
        dict(
            model_type='clap', projection_dim=16, text_config=_TEXT,
            audio_config=dict(
                hidden_size=32, patch_embeds_hidden_size=8, depths=[1, 1], num_attention_heads=[2, 2],
                num_hidden_layers=2, spec_size=64, num_mel_bins=16, window_size=2, patch_size=4, patch_stride=[4, 4],
            ),
        ),
        'ClapFeatureExtractor',
        dict(feature_size=16, sampling_rate=RATE, hop_length=160, max_length_s=1, truncation='rand_trunc',
             frequency_max=8000),
        (2, 32), size=(16, 101), part='audio_model',
    ),
    'pe_audio': Family(
        dict(model_type='pe_audio', text_config=_PE_TEXT, audio_config=_PE_AUDIO),
        'PeAudioFeatureExtractor', dict(sampling_rate=RATE, hop_length=8), (500,), size=(4000,), part='audio_encoder',
    ),
    'videomae': Family(
        dict(model_type='videomae', **_VIDEO, tubelet_size=2), 'VideoMAEImageProcessor', _pixels(), (2, 2, 2),
    ),
    'vjepa2': Family(
        dict(
            model_type='vjepa2', hidden_size=24, num_hidden_layers=2, num_attention_heads=2, crop_size=32,
            patch_size=16, frames_per_clip=4, tubelet_size=2, pred_hidden_size=24, pred_num_hidden_layers=1,
            pred_num_attention_heads=2,
        ),
        'VJEPA2VideoProcessor', _pixels(do_resize=False), (2, 2, 2),
    ),
    'vivit': Family(
        dict(model_type='vivit', **_ENCODER, image_size=32, tubelet_size=[2, 16, 16], num_frames=4),
        'VivitImageProcessor', _pixels(offset=True), (2, 2, 2), tokens=1,
    ),
    'timesformer': Family(
        dict(model_type='timesformer', **_VIDEO), 'VideoMAEImageProcessor', _pixels(), (4, 2, 2), tokens=1,
    ),
    'pe_video': Family(
        dict(model_type='pe_video', text_config=_PE_TEXT, video_config=_PE_VIDEO),
        'PeVideoVideoProcessor',
        _pixels(do_rescale=True, do_normalize=True, do_resize=True), (4, 1, 1), size=(4, 32, 32), part='video_encoder',
    ),
    'clip': Family(
        dict(model_type='clip', text_config=_TEXT, vision_config=_IMAGE, projection_dim=16),
        'CLIPImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32), part='vision_model', tokens=1,
    ),
    'siglip': Family(
        dict(model_type='siglip', text_config=_TEXT, vision_config=_IMAGE),
        'SiglipImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32), part='vision_model',
    ),
    'dinov2': Family(
        dict(model_type='dinov2', **_NO_MLP), 'BitImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32), tokens=1,
    ),
    'dinov2_registers': Family(
        dict(model_type='dinov2_with_registers', **_NO_MLP, num_register_tokens=3),
        'BitImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32), tokens=4,
    ),
    'vit': Family(
        dict(model_type='vit', **_IMAGE), 'ViTImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32), tokens=1,
    ),
    'hiera': Family(
        dict(
            model_type='hiera', embed_dim=8, image_size=[32, 32], patch_size=[7, 7], patch_stride=[4, 4],
            patch_padding=[3, 3], depths=[1, 1, 1], num_heads=[1, 2, 4], num_query_pool=2, masked_unit_size=[4, 4],
            masked_unit_attention=[True, False, False],
        ),
        'BitImageProcessor', _pixels(), (3, 2, 2), size=(3, 32, 32),
    ),
}  # fmt: skip


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Frames (T, 32, 32, 3) uint8, as LoadClip gives them."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def waveform(samples: int, seed: int = 0) -> np.ndarray:
    """A waveform (S,) with a mean and an envelope of its own."""
    rng = np.random.default_rng(seed)
    return (0.05 + rng.normal(0, 0.1, samples) * np.linspace(0.2, 1, samples)).astype(np.float32)
