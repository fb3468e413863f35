# CUDA kernels are built when nvcc is found, for Hopper (sm_90a) only. Without nvcc the same program
# runs on the CPU.
include(CheckLanguage)
if(NOT TITAN_FUZZ)  # the fuzzers reach no CUDA code
  if(NOT CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
    set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
  endif()
  check_language(CUDA)
endif()
if(CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_ARCHITECTURES 90a-real)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(TITAN_CUDA ON)
  # CMake 3.25 does not know how this compiler is asked for C++20.
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  target_compile_options(titan_options INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra --expt-relaxed-constexpr>)
else()
  set(TITAN_CUDA OFF)
  if(NOT TITAN_FUZZ)
    message(STATUS "nvcc not found: building without CUDA kernels; titan-train will run on the CPU only")
  endif()
endif()
target_compile_definitions(titan_options INTERFACE TITAN_CUDA=$<BOOL:${TITAN_CUDA}>)
