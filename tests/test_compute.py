"""What is chosen for a CPU."""

import pytest

from sfpo.compute import bf16_is_faster

XEON = "vendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16"


@pytest.mark.parametrize(
    ("cpu", "faster"),
    [
        (f"{XEON} amx_bf16 amx_tile", True),
        (XEON, False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx512f avx512_bf16", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2", False),
        ("", False),
    ],
)
def test_bf16_is_chosen_where_the_cpu_multiplies_it_faster(cpu, faster):
    assert bf16_is_faster(cpu) is faster
