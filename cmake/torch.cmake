# LibTorch from the Python wheel, as one interface target. find_package(Torch) is not used: it forces
# C++17, asks for a whole CUDA toolkit even for CPU programs, and leaks absolute paths.
if(NOT TITAN_TORCH_DIR)
  file(GLOB found ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  list(LENGTH found count)
  if(NOT count EQUAL 1)
    message(FATAL_ERROR "LibTorch not found in .venv: run scripts/bootstrap.sh, or set TITAN_TORCH_DIR")
  endif()
  set(TITAN_TORCH_DIR ${found})
endif()
get_filename_component(site ${TITAN_TORCH_DIR}/.. ABSOLUTE)

add_library(titan_torch INTERFACE)
target_include_directories(titan_torch SYSTEM INTERFACE
  ${TITAN_TORCH_DIR}/include ${TITAN_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(titan_torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO USE_C10D_NCCL)
target_compile_options(titan_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-interference-size>)
target_link_directories(titan_torch INTERFACE ${TITAN_TORCH_DIR}/lib)
# --no-as-needed: nothing names a symbol of libtorch_cuda, yet loading it is what registers CUDA.
target_link_options(titan_torch INTERFACE LINKER:--no-as-needed LINKER:--disable-new-dtags)
# libtorch exports its own copy of std::filesystem, which crashes with this libstdc++: ours comes first.
target_link_libraries(titan_torch INTERFACE stdc++ torch torch_cpu c10)
if(TITAN_CUDA)
  # cuBLASLt of the wheels where bootstrap.sh put them, else the system's (which then has the same version).
  set(wheels ${site}/nvidia/cu13)
  find_path(TITAN_CUBLASLT_INCLUDE cublasLt.h PATHS ${wheels}/include ${CUDAToolkit_INCLUDE_DIRS} NO_DEFAULT_PATH REQUIRED)
  find_library(TITAN_CUBLASLT libcublasLt.so.13 PATHS ${wheels}/lib ${CUDAToolkit_LIBRARY_DIR} NO_DEFAULT_PATH REQUIRED)
  target_include_directories(titan_torch SYSTEM INTERFACE ${TITAN_CUBLASLT_INCLUDE})
  target_link_libraries(titan_torch INTERFACE torch_cuda c10_cuda CUDA::cudart ${TITAN_CUBLASLT})
endif()
set(CMAKE_INSTALL_RPATH $ORIGIN/../lib)
set(CMAKE_BUILD_RPATH ${TITAN_TORCH_DIR}/lib ${site}/nvidia/cusparselt/lib ${site}/nvidia/nvshmem/lib
    ${site}/nvidia/cu13/lib ${site}/nvidia/cudnn/lib ${site}/nvidia/nccl/lib)
