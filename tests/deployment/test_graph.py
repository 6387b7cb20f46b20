import pytest
import torch

from mmav.apis import AVInferencer
from mmav.deployment.graph import ExportGraph, traceable
from mmav.deployment.onnx_export import export_graph, export_onnx, random_batch
from tests.inference.models import config, write_model


@pytest.fixture
def inferencer(tmp_path):
    cfg = config()
    for part in cfg.model.backbones.values():
        part['drop_path_rate'] = 0.5
    return AVInferencer(*write_model(tmp_path, cfg), device='cpu', show_progress=False)


def test_the_graph_is_the_model_with_its_normalisation(inferencer):
    graph, clip = export_graph(inferencer)
    values = random_batch(graph, clip, 3)
    given = dict(zip(graph.input_names, values, strict=True))
    assert set(given) == {'video', 'audio', 'video_mask', 'audio_mask'}
    # one clip lacks the one, one the other
    masks = {name: given[f'{name}_mask'] for name in ('video', 'audio')}
    assert sorted(mask.tolist() for mask in masks.values()) == [[True, False, True], [True, True, False]]
    with torch.inference_mode():
        found = graph(*values)
        inputs = {name: given[name][:, None] for name in masks}
        prepared = inferencer.model.data_preprocessor(dict(inputs=inputs, masks=masks, data_samples=None))
        expected = inferencer.model(prepared['inputs'], masks=prepared['masks'])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_dropped_modality_counts_as_absent(inferencer):
    whole, clip = export_graph(inferencer)
    given = dict(zip(whole.input_names, random_batch(whole, clip, 2), strict=True))
    graph = ExportGraph(inferencer.model, {name: value.shape[1:] for name, value in clip.items()}, ['audio'])
    with torch.inference_mode():
        found = graph(given['video'])
        given['audio_mask'] = torch.zeros_like(given['audio_mask'])
        expected = whole(*given.values())
    assert graph.input_names == ['video']
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_an_export_leaves_the_model_as_it_was(inferencer, tmp_path):
    # the exporter once put a model with drop path into training mode, in which it says something else each time
    graph, clip = export_graph(inferencer)
    values = random_batch(graph, clip, 2)
    with torch.inference_mode():
        before = graph(*values)
    methods = torch.Tensor.unflatten, torch.Tensor.movedim
    export_onnx(inferencer, tmp_path / 'm.onnx')
    assert not any(module.training for module in inferencer.model.modules())
    assert (torch.Tensor.unflatten, torch.Tensor.movedim) == methods
    with torch.inference_mode():
        torch.testing.assert_close(graph(*values), before, atol=0, rtol=0)


def test_what_the_exporter_needs_is_the_same_and_is_undone_after_an_error(inferencer):
    methods = torch.Tensor.unflatten, torch.Tensor.movedim
    x = torch.arange(24).reshape(2, 3, 4)

    def use_and_fail():
        with traceable(inferencer.model):
            assert torch.Tensor.movedim is not methods[1]
            assert torch.equal(x.movedim(-1, 1), x.permute(0, 2, 1))
            assert torch.equal(x.movedim((0, 1), (2, 0)), methods[1](x, (0, 1), (2, 0)))
            assert torch.equal(x.unflatten(-1, (2, 2)), methods[0](x, -1, (2, 2)))
            raise RuntimeError('stop')

    with pytest.raises(RuntimeError, match='stop'):
        use_and_fail()
    assert (torch.Tensor.unflatten, torch.Tensor.movedim) == methods
