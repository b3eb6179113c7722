"""What a version of TRL cannot do on this machine is said before it fails in the middle of a step."""

from types import SimpleNamespace

import pytest

from sfpo.trl import host


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cpu", "do not run on a CPU: pip install 'trl>=1.16'"),
        ("cuda", "are not installed: pip install triton, or 'trl>=1.16'"),
    ],
)
def test_a_head_of_triton_alone_needs_a_gpu_and_triton(monkeypatch, device, said):
    monkeypatch.setattr(host, "HAS_FUSED_HEAD", True)
    monkeypatch.setattr(host, "_FUSED_HEAD_NEEDS_TRITON", True)
    monkeypatch.setattr(host, "is_triton_available", lambda: False)
    trainer = SimpleNamespace(accelerator=SimpleNamespace(device=SimpleNamespace(type=device)))
    with pytest.raises(ValueError, match="scores by kernels of Triton") as refused:
        host.Host.of(trainer)
    assert said in str(refused.value)
