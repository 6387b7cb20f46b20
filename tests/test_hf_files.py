import pytest
import transformers

from mmav.errors import ConfigError
from mmav.hf_files import brief, build_extractor, folder_of, image_entries, norm_of, plain, quiet, read_config
from tests.models.hf_families import FAMILIES, frames


@pytest.mark.parametrize('name', ['VideoMAEImageProcessor', 'VivitImageProcessor', 'CLIPImageProcessor'])
@pytest.mark.parametrize('more', [{}, dict(do_rescale=False), dict(do_normalize=False)], ids=str)
def test_the_norm_is_what_the_processor_computes(name, more, tmp_path):
    settings = dict(size=dict(height=32, width=32), do_center_crop=False, image_mean=[0.4, 0.5, 0.6], **more)
    if 'do_rescale' in more and 'Vivit' in name:
        settings['offset'] = False  # which needs it
    processor = getattr(transformers, name)(image_std=[0.2, 0.25, 0.3], **settings)
    processor.save_pretrained(tmp_path)
    clip = frames(2)
    norm = norm_of(image_entries(str(tmp_path), None, video='CLIP' not in name, who='a test'))
    ours = (clip - norm['mean']) / norm['std']
    theirs = processor(list(clip), return_tensors='np')['pixel_values'].reshape(2, 3, 32, 32).transpose(0, 2, 3, 1)
    assert abs(ours - theirs).max() < 1e-4 * abs(ours).max()


def test_entries_that_do_not_say_have_no_norm():
    assert norm_of({}) is None and norm_of(dict(image_mean=0.5)) is None
    assert norm_of(dict(do_normalize=False)) == dict(mean=[0.0], std=[255.0])


def test_a_folder_or_a_name(tmp_path):
    assert folder_of(str(tmp_path)) == str(tmp_path) and folder_of('owner/name') == 'owner/name'
    for wrong in (str(tmp_path / 'no'), 'a/b/c', '~/no such folder', '', str(tmp_path / 'file')):
        (tmp_path / 'file').touch()
        with pytest.raises(ConfigError, match='is no folder: give one that holds config.json, or a name of the hub'):
            folder_of(wrong)


def test_an_error_of_transformers_is_one_line(tmp_path):
    told = r"^'a/b': cannot get its x from the hub \(No\); where there is a connection"
    with pytest.raises(ConfigError, match=told), brief('a/b', 'x'):
        raise OSError('No. And\nmuch more.')
    with pytest.raises(ConfigError, match=r'cannot read its x \(No\)$'), brief(str(tmp_path), 'x'):
        raise ValueError('No. And\nmuch more.')
    with pytest.raises(ConfigError, match='runs code of its own, which mmav does not'), brief('a/b', 'x'):
        raise ValueError('Set trust_remote_code=True')


def test_changes_reach_parts_of_a_config():
    clip = FAMILIES['clip'].config
    config = read_config(clip, dict(vision_config=dict(attention_dropout=0.5)), who='a test')
    assert config.vision_config.attention_dropout == 0.5 and config.text_config.attention_dropout == 0
    with pytest.raises(ConfigError, match=r'^config.drop: unknown, CLIPVisionConfig has no such entry'):
        read_config(clip, dict(vision_config=dict(drop=0.5)), who='a test')
    assert clip['vision_config'] == plain(clip)['vision_config']  # the argument is left alone


def test_an_extractor_of_changes_alone():
    assert build_extractor(None, None, who='a test') is None
    made = build_extractor(dict(model_type='x'), dict(feature_extractor_type='ASTFeatureExtractor', mean=2.0), who='it')
    assert made.mean == 2.0
    with pytest.raises(ConfigError, match=r"^it: {'mean': 2.0} lacks feature_extractor_type"):
        build_extractor(None, dict(mean=2.0), who='it')


def test_transformers_is_quiet_for_a_while():
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    with quiet(transformers):
        assert log.get_verbosity() == log.ERROR and not log.is_progress_bar_enabled()
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before
