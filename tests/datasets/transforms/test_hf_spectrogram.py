import numpy as np
import pytest
import transformers

from mmav.datasets.transforms import HFSpectrogram, LogMel
from mmav.errors import ConfigError
from tests.models.hf_families import RATE, waveform

CLAP = dict(
    feature_extractor_type='ClapFeatureExtractor', feature_size=16, sampling_rate=RATE, hop_length=160, max_length_s=1,
    frequency_max=8000,
)  # fmt: skip
WHISPER = dict(feature_extractor_type='WhisperFeatureExtractor', feature_size=16, chunk_length=1)
AST = dict(feature_extractor_type='ASTFeatureExtractor', max_length=100)


def extractor(settings, **more):
    values = {**settings, **more}
    return getattr(transformers, values.pop('feature_extractor_type'))(**values)


@pytest.mark.parametrize('samples', [5000, 16000])
@pytest.mark.parametrize(
    'settings', [CLAP, dict(CLAP, truncation='rand_trunc'), WHISPER], ids=['clap', 'unfused', 'whisper']
)
def test_values_are_the_extractors_bit_for_bit(settings, samples):
    """Of CLAP short audio is repeated, of Whisper it is followed by silence; both before the transform."""
    made, wave = HFSpectrogram(settings), waveform(samples)
    wanted = np.asarray(extractor(settings)(wave, sampling_rate=RATE)['input_features'][0], np.float32)
    wanted = wanted if 'chunk_length' in settings else wanted[0].T
    np.testing.assert_array_equal(made.spectrogram(wave), wanted)
    assert (made.num_bins, made.target_frames) == wanted.shape and made.sample_rate == RATE
    assert made.frame_shift_ms == 10 and 0 < made.num_frames(samples) <= made.target_frames


def test_of_long_audio_the_beginning_is_taken_and_nothing_is_drawn():
    made, wave = HFSpectrogram(dict(CLAP, truncation='rand_trunc')), waveform(40000)
    np.testing.assert_array_equal(made.spectrogram(wave), made.spectrogram(wave[:16000]))


@pytest.mark.parametrize('samples', [9000, 30000])
def test_log_mel_is_what_asts_extractor_computes(samples):
    """So a pipeline with LogMel feeds AST what its own processor would."""
    own, wave = LogMel(128, 100), waveform(samples)
    made = HFSpectrogram(AST)
    # on a scale from -16 to 0: the logarithm of a bin with hardly any energy shows the rounding of single precision
    np.testing.assert_allclose(own.spectrogram(wave), made.spectrogram(wave), atol=5e-4)
    assert own.identity() == made.identity() != LogMel(64, 100).identity()
    assert made.identity() != HFSpectrogram(CLAP).identity()
    normalised = np.asarray(extractor(AST)(wave, sampling_rate=RATE)['input_values'][0]).T
    np.testing.assert_allclose((made.spectrogram(wave) + 4.2677393) / (2 * 4.5689974), normalised, atol=1e-5)


def test_a_folder_and_its_changes(tmp_path):
    extractor(WHISPER).save_pretrained(tmp_path)
    assert HFSpectrogram(str(tmp_path)).identity() == HFSpectrogram(WHISPER).identity()
    assert HFSpectrogram(str(tmp_path), dict(chunk_length=2)).target_frames == 200
    described = HFSpectrogram(str(tmp_path)).describe()['log_mel']
    assert described['by'] == 'transformers.WhisperFeatureExtractor' and described['hop_length'] == 160


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(extractor={}), r"^HFSpectrogram: extractor has no feature_extractor_type, such as 'Clap"),
        (dict(extractor=dict(AST, feature_extractor_type='ASTFeatureExtracter')), r"no such .*, did you mean 'AST"),
        (dict(extractor=dict(AST, max_lenght=5)), r"^max_lenght: unknown, AST.* mean 'max_length'"),
        (
            dict(extractor=dict(feature_extractor_type='Wav2Vec2FeatureExtractor')),
            r"^HFSpectrogram: Wav2Vec2FeatureExtractor gives no spectrograms; use dict\(type='Waveform'\)$",
        ),
        (dict(extractor='./nowhere'), r"^'./nowhere' is no folder"),
        (dict(extractor=AST, changes=dict(max_lenght=5)), r'^max_lenght: unknown'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        HFSpectrogram(**arguments)
    assert '\n' not in str(caught.value)
