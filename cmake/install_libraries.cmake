# Run by cmake --install: puts the shared libraries of the programs into lib/, side by side, where the $ORIGIN/../lib of
# the programs leads to. With CMAKE_INSTALL_MODE=ABS_SYMLINK in the environment they are links to where they are now:
# no copy of gigabytes, but a tree for this host alone.

# Of the system, as the driver is: the C and C++ libraries.
set(of_the_system "^(ld-linux.*|lib(c|m|dl|rt|util|pthread|gcc_s|stdc\\+\\+))\\.so")
# Loaded only when needed, and thus not listed: the parts of cuDNN, and the run-time compiler.
set(loaded_later libcudnn_*.so.9 libnvrtc.so.13 libnvrtc-builtins.so.13.? libcaffe2_nvrtc.so)

foreach(program IN LISTS programs)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env LC_ALL=C ldd ${program} OUTPUT_VARIABLE list COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^ \t\n]+ => [^ \n]+" lines "${list}")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE " => .*" "" name "${line}")
    string(REGEX REPLACE ".* => " "" path "${line}")
    if(name MATCHES "${of_the_system}")
      continue()
    elseif(NOT IS_ABSOLUTE "${path}")
      message(FATAL_ERROR "${program} does not find its library ${name}")
    endif()
    get_filename_component(folder "${path}" DIRECTORY)
    list(TRANSFORM loaded_later PREPEND ${folder}/ OUTPUT_VARIABLE beside)
    file(GLOB beside ${beside})
    list(APPEND libraries "${path}" ${beside})
  endforeach()
endforeach()
list(REMOVE_DUPLICATES libraries)

foreach(library IN LISTS libraries)
  get_filename_component(name ${library} NAME)
  file(REAL_PATH ${library} file)
  file(INSTALL DESTINATION ${CMAKE_INSTALL_PREFIX}/lib TYPE FILE FILES ${file} RENAME ${name})
endforeach()
