"""verl's FSDP engine on CPUs and gloo, for tests, through verl's own registries."""

import os
from contextlib import nullcontext
from types import ModuleType

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


def join_process_group() -> None:
    """Meet the other ranks. verl would ask for the CPU's backend twice, which torch refuses."""
    if not torch.distributed.is_initialized():
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        where = os.environ.get("DIST_INIT_METHOD")  # verl's own
        torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world_size)


def _nothing(*arguments, **keywords):
    return None


class _DeviceModule(ModuleType):
    """The functions of `torch.cuda` that verl calls."""

    current_device = staticmethod(lambda: torch.device("cpu"))
    get_rng_state = staticmethod(lambda *device: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, *device: torch.set_rng_state(state))
    get_device_name = staticmethod(lambda *device: "cpu")
    mem_get_info = staticmethod(lambda *device: (0, 0))
    # Where a worker chooses its GPU, once it knows its rank.
    set_device = staticmethod(lambda index: join_process_group())
    is_available = staticmethod(lambda: True)
    max_memory_allocated = max_memory_reserved = memory_allocated = memory_reserved = staticmethod(lambda *device: 0)
    empty_cache = synchronize = ipc_collect = manual_seed = manual_seed_all = reset_peak_memory_stats = staticmethod(
        _nothing
    )


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):
    device_name = vendor_name = "cpu"
    device_module = _DeviceModule("cpu")

    is_available = staticmethod(lambda: True)
    current_device = staticmethod(lambda: torch.device("cpu"))
    device_count = staticmethod(lambda: 1)
    communication_backend_name = staticmethod(lambda: "gloo")
    get_device_capability = staticmethod(lambda index=0: (None, None))
    visible_devices_envvar = staticmethod(lambda: "CPU_VISIBLE_DEVICES")
    # Ray counts them and nobody looks: verl knows of workers on GPUs and NPUs only.
    ray_resource_name = staticmethod(lambda: "GPU")
    ray_noset_envvars = staticmethod(lambda: [])
    is_ipc_supported = staticmethod(lambda: False)
    nvtx_range = staticmethod(lambda message: nullcontext())
    set_device = synchronize = manual_seed = manual_seed_all = staticmethod(_nothing)
    set_allocator_settings = empty_cache = profiler_start = profiler_stop = cudart = staticmethod(_nothing)
