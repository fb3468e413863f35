# Compilers, warnings and the helpers that make builds quick (ccache, mold) where they are installed.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
find_package(Threads REQUIRED)

find_program(TITAN_CCACHE ccache)
if(TITAN_CCACHE)
  # pch_defines, time_macros: what ccache needs to be told before it caches with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${TITAN_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${TITAN_CCACHE})
endif()
find_program(TITAN_MOLD mold)
if(TITAN_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(titan_options INTERFACE)
target_include_directories(titan_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(titan_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${TITAN_CCACHE}>>:-fpch-preprocess>)
if(TITAN_WERROR)
  target_compile_options(titan_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
