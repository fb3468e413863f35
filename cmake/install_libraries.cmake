# Run by cmake --install: puts the shared libraries of the programs into lib/, side by side, where their $ORIGIN/../lib
# leads to. With CMAKE_INSTALL_MODE=ABS_SYMLINK in the environment they are links to where they are now: no copy of
# some GB, but a tree for this host alone.

# Of the system: the C and C++ libraries.
set(of_the_system "^(linux-vdso|ld-linux.*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\\+\\+))\\.so")
# Loaded only when needed, and thus not listed: the parts of cuDNN, and the run-time compiler with its front.
set(loaded_later libcudnn_*.so.9 libnvrtc.so.13 libnvrtc-builtins.so.13.? libcaffe2_nvrtc.so)

set(libraries)
foreach(program IN LISTS programs)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C ldd ${program} OUTPUT_VARIABLE list COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^ \t\n]+ => [^ \n]+" lines "${list}")
  foreach(line IN LISTS lines)
    string(REGEX MATCH "^([^ ]+) => ([^ ]+)$" line "${line}")
    if(CMAKE_MATCH_1 MATCHES "${of_the_system}")
      continue()
    elseif(NOT IS_ABSOLUTE "${CMAKE_MATCH_2}")
      message(FATAL_ERROR "${program} does not find ${CMAKE_MATCH_1}: it cannot be installed")
    endif()
    list(APPEND libraries "${CMAKE_MATCH_2}")
  endforeach()
endforeach()
foreach(library IN LISTS libraries)
  get_filename_component(folder ${library} DIRECTORY)
  list(APPEND folders ${folder})
endforeach()
list(REMOVE_DUPLICATES folders)
foreach(folder IN LISTS folders)
  if(NOT folder MATCHES "^/(usr/)?lib")
    list(TRANSFORM loaded_later PREPEND ${folder}/ OUTPUT_VARIABLE patterns)
    file(GLOB found ${patterns})
    list(APPEND libraries ${found})
  endif()
endforeach()
list(REMOVE_DUPLICATES libraries)

foreach(library IN LISTS libraries)
  get_filename_component(name ${library} NAME)
  file(REAL_PATH ${library} file)
  file(INSTALL DESTINATION ${CMAKE_INSTALL_PREFIX}/lib TYPE SHARED_LIBRARY FILES ${file} RENAME ${name})
endforeach()
