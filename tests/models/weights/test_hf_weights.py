import pytest
import torch
import transformers

from mmav.errors import CheckpointError, ConfigError
from mmav.models.backbones import HFBackbone
from mmav.models.weights.hf_weights import load_hf_weights
from tests.models.hf_families import FAMILIES


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('vit'))
    FAMILIES['vit'].write(path)
    return path


def test_the_report_says_what_was_taken(folder):
    backbone = HFBackbone(folder)
    report = load_hf_weights(backbone, folder)
    assert set(report.loaded) == set(backbone.state_dict()) and not report.missing and not report.misfits
    assert report.unused == ['pooler.dense.weight', 'pooler.dense.bias']  # which is left out of the encoder
    assert str(report).startswith(
        f"'{folder}' (transformers): {len(report.loaded)} weights loaded as they are, 2 unused"
    )


def test_weights_in_half_precision_are_loaded_in_full(folder, tmp_path):
    model = transformers.AutoModel.from_pretrained(folder).half()
    model.save_pretrained(tmp_path, safe_serialization=True)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    backbone = HFBackbone(str(tmp_path))
    load_hf_weights(backbone, str(tmp_path))
    own = backbone.model.embeddings.cls_token
    assert own.dtype == torch.float32 and torch.equal(own, model.embeddings.cls_token.float())


def test_weights_of_another_architecture_are_refused_in_one_line(folder):
    wider = HFBackbone(folder, config=dict(intermediate_size=64), pretrained=False)
    before = wider.model.embeddings.cls_token.clone()
    with pytest.raises(
        CheckpointError, match=r'does not hold the weights of ViTModel .*\(32, 16\) for \(64, 16\).* and \d'
    ) as caught:
        load_hf_weights(wider, folder)
    assert '\n' not in str(caught.value) and torch.equal(wider.model.embeddings.cls_token, before)
    deeper = HFBackbone(folder, config=dict(num_hidden_layers=3), pretrained=False)
    with pytest.raises(
        CheckpointError, match=r'no .*\.2\..* and \d+ more; give the config that it was trained with, or pre'
    ):
        load_hf_weights(deeper, folder)


def test_a_folder_without_weights_is_one_line(folder, tmp_path):
    transformers.AutoConfig.from_pretrained(folder).save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r'cannot read its weights \(.*\)$') as caught:
        load_hf_weights(HFBackbone(str(tmp_path)), str(tmp_path))
    assert '\n' not in str(caught.value)
