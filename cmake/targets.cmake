# titan_library(NAME SOURCES ... DEPENDS ... [TORCH]): one static library per folder.
# titan_test(NAME SOURCES ... DEPENDS ... [TORCH] [LABEL unit|ops|integration|long]): one GoogleTest program.
# TORCH brings LibTorch and its precompiled header.
include(GoogleTest)

function(titan_target_torch target)
  target_link_libraries(${target} PUBLIC titan_torch)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL EXECUTABLE)
    target_compile_options(${target} PRIVATE -fPIC)  # as the precompiled header, instead of -fPIE
  endif()
  if(TARGET titan_torch_precompiled AND NOT target STREQUAL titan_torch_precompiled)
    target_precompile_headers(${target} REUSE_FROM titan_torch_precompiled)
  endif()
endfunction()

function(titan_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC titan_options Threads::Threads ${ARG_DEPENDS})
  if(ARG_TORCH)
    titan_target_torch(${name})
  endif()
endfunction()

add_custom_target(unit_tests)

function(titan_test name)
  cmake_parse_arguments(ARG "TORCH" "LABEL" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC titan_options ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  if(ARG_TORCH)
    titan_target_torch(${name})
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(ARG_LABEL STREQUAL unit)
    add_dependencies(unit_tests ${name})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 TEST_PREFIX "${name}."
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 300)
endfunction()
