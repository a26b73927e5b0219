"""Every environment variable that can change a number: each is fixed by the worker or part of the
environment's identity.

One list, in one place. What is not here was looked at and left out because it changes no arithmetic
(allocators, logs, caches of compiled kernels) or because something else of the identity shows its
effect: CUDA_VISIBLE_DEVICES by the device's model, search paths of libraries by their versions,
ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA by the instruction set as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

FIXED_NUMBERS = {
    # cuBLAS picks its reduction by workspace; the size that is deterministic over streams (its
    # documentation, "Results reproducibility").
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # CUDA's own order is "fastest first": another card would be device 0 than the one that
    # nvidia-smi lists first.
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "PYTHONHASHSEED": "0",
}
"""Set by the worker, to these values, wherever it runs."""
COUNTED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Set by the worker to the threads of the trial, which are part of the environment."""

ANY_DEVICE = (
    # Instruction sets and code paths of the libraries below torch, numpy and scipy.
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DISABLE_FAST_MM",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_THREADING_LAYER",
    "MKL_INTERFACE_LAYER",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_CPU_ISA_HINTS",
    "DNNL_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "OPENBLAS_CORETYPE",
    "BLIS_ARCH_TYPE",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    # glibc.cpu.* chooses between fused and plain variants of exp, log and pow.
    "GLIBC_TUNABLES",
    # How work is divided among threads, and so in which order sums are formed.
    "OMP_DYNAMIC",
    "OMP_SCHEDULE",
    "OMP_THREAD_LIMIT",
    "KMP_DETERMINISTIC_REDUCTION",
    "KMP_FORCE_REDUCTION",
    "MKL_DYNAMIC",
    "MKL_DOMAIN_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "SKLEARN_WORKING_MEMORY",
    "SKLEARN_PAIRWISE_DIST_CHUNK_SIZE",
    "SCIPY_ARRAY_API",
    # torch's own choice between kernels.
    "TORCH_LINEAR_FLATTEN_3D",
    "TORCH_MKLDNN_MATMUL_MIN_DIM",
    "TORCH_MKLDNN_MATMUL_MIN_SIZE",
)
"""Part of the identity wherever a trial runs, where they are set."""
ON_CUDA = (
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_BLAS_PREFER_CUBLASLT",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B",
    "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_LINALG_PREFER_CUSOLVER",
    "CUBLASLT_WORKSPACE_SIZE",
    "CUBLAS_EMULATE_SINGLE_PRECISION",
    "CUBLAS_EMULATE_DOUBLE_PRECISION",
    "CUBLAS_EMULATION_STRATEGY",
    "CUBLAS_FIXEDPOINT_EMULATION_MANTISSA_BIT_COUNT",
    "CUDNN_CONV_WSCAP_DBG",
    # Kernels made by the driver's compiler in place of the wheel's.
    "CUDA_FORCE_PTX_JIT",
    # A share of the processors, which changes how kernels divide their work.
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
)
"""Part of the identity of trials on a GPU as well, where they are set."""


def numeric_variables(kind: str, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of the identity that are set (an empty value counts as not set), for `cpu` or
    `cuda`; sorted by name."""
    names = (*ANY_DEVICE, *(ON_CUDA if kind == "cuda" else ()))
    return {name: env[name] for name in sorted(names) if env.get(name)}


def fixed_variables(threads: int) -> dict[str, str]:
    """The variables that a worker always sets itself."""
    return FIXED_NUMBERS | dict.fromkeys(COUNTED, str(threads))
