import pytest
from mmengine.config import Config

from benchmarks.gpu.scale import EXPLICIT_B, FLAGSHIP, FULL, HALF, full_scale, miniature
from benchmarks.peer_memory import PAPER, SETTINGS
from mmav.config.check import check_config
from mmav.config.reading import load_config


def test_full_scale_is_that_of_the_flagship_and_the_paper(tmp_path):
    scale, cfg = full_scale(), Config.fromfile(FLAGSHIP)
    assert scale.config(tmp_path) == FLAGSHIP and not list(tmp_path.iterdir()) and not scale.options
    assert scale.batch_size == cfg.train_dataloader.batch_size == 8 and scale.iterations > 2
    assert scale.memory_batches == dict(MAT=64, AST=8) and scale.settings == SETTINGS
    assert scale.memory_batches == {name: figures['batch_size'] for name, figures in PAPER.items()}
    first = scale.encoders[0]
    assert (first.name, first.dtypes[0], first.modes) == (EXPLICIT_B, HALF, ('step',))
    assert {one.dtypes for one in scale.encoders} == {(HALF, FULL)}
    # the picture is not enlarged: short_side is what the pipeline makes of it
    assert scale.clips['size'] == cfg.train_dataloader.dataset.pipeline[0]['short_side']


def test_miniature_has_the_same_parts(tmp_path):
    scale, full = miniature(), full_scale()
    cfg = load_config(str(scale.config(tmp_path)))
    check_config(cfg)
    flagship = Config.fromfile(FLAGSHIP)
    for place in ('model.type', 'model.backbones.video.type', 'model.neck.type', 'model.head.type', 'optim_wrapper'):
        ours, theirs = cfg, flagship
        for name in place.split('.'):
            ours, theirs = ours[name], theirs[name]
        assert ours == theirs
    assert scale.device == 'cpu' and {one.name for one in scale.encoders} <= {one.name for one in full.encoders}
    assert [one.name for one in scale.forms] == [one.name for one in full.forms]


@pytest.mark.parametrize('number', [0, 1])
def test_forms_are_compared_in_clips_and_spectrograms(number):
    case = miniature().forms[number].build()
    assert case.shape[0] == (3, 1)[number] and list(case.contenders) == ['attention=explicit', 'attention=folded']
