"""Checks, by loading them, the shared libraries that titan-train needs. Exit 0: all fine; 1: the reason is printed.

check_libraries.py system        the system has exactly the CUDA libraries that torch==2.11.0 was built with
check_libraries.py torch FOLDER  LibTorch in FOLDER (the wheel's torch folder) loads with all that it depends on
"""
import ctypes
import pathlib
import sys

# library -> (function that gives its version, expected value); none: it only has to load.
SYSTEM = {
    "libcudart.so.13": ("cudaRuntimeGetVersion", 13000),
    "libcublasLt.so.13": ("cublasLtGetVersion", 130100),
    "libcudnn.so.9": ("cudnnGetVersion", 91900),
    "libnccl.so.2": ("ncclGetVersion", 22809),
    "libcublas.so.13": None,
    "libcufft.so.12": None,
    "libcupti.so.13": None,
    "libcurand.so.10": None,
    "libcusolver.so.12": None,
    "libcusparse.so.12": None,
    "libnvJitLink.so.13": None,
    "libnvrtc.so.13": None,
}


def version(library, function):
    call = getattr(library, function)
    if function in ("cublasLtGetVersion", "cudnnGetVersion"):  # these return it, the others fill a pointer
        call.restype = ctypes.c_size_t
        return call()
    value = ctypes.c_int()
    call(ctypes.byref(value))
    return value.value


def check_system():
    for name, check in SYSTEM.items():
        library = ctypes.CDLL(name)
        if check and version(library, check[0]) != check[1]:
            raise OSError(f"{name} has version {version(library, check[0])}, LibTorch needs {check[1]}")


def check_torch(folder):
    for name in ("libc10.so", "libtorch_cpu.so", "libtorch_cuda.so", "libtorch.so"):
        ctypes.CDLL(str(pathlib.Path(folder) / "lib" / name))


try:
    check_system() if sys.argv[1] == "system" else check_torch(sys.argv[2])
except OSError as error:
    sys.exit(str(error))
