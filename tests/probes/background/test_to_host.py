import pytest
import torch

from probes.background.to_host import to_host_together

TENSORS = [
    torch.randn(3, 4).mT,
    torch.arange(7),
    torch.randn(2, 5, dtype=torch.float64),
    torch.zeros(0, 3),
    torch.tensor([[3]], dtype=torch.int8),
]


def test_copies_on_the_host_are_equal_and_apart():
    found = to_host_together(TENSORS)
    assert all(map(torch.equal, found, TENSORS))
    found[1].zero_()
    assert TENSORS[1].any()


@pytest.mark.gpu
def test_one_copy_from_a_gpu_brings_tensors_of_all_types_and_shapes():
    given = [tensor.cuda() for tensor in TENSORS]
    found = to_host_together(given)
    torch.cuda.synchronize()
    for copy, tensor in zip(found, TENSORS, strict=True):
        assert copy.device.type == "cpu"
        assert (copy.dtype, copy.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(copy, tensor)


def test_the_bytes_of_several_tensors_stand_in_one_copy(monkeypatch):
    """The same on the CPU, where nothing would be gained: the copy is taken apart into what went in."""
    monkeypatch.setattr("probes.background.to_host._stands_together", lambda _: True)
    found = to_host_together(TENSORS)
    assert all(map(torch.equal, found, TENSORS))
    assert len({copy.untyped_storage().data_ptr() for copy in found if copy.numel()}) == 1
