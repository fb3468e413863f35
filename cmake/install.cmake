# cmake --install build --prefix DIR: a tree that may be moved, or copied to another host of the same system.
#   bin/                what titan-train, titan-bench and titan-convert are           (component program)
#   share/titan-train/  job files, the text and the tokenizer that they name, docs    (component program)
#   lib/                the shared libraries that they load                           (component libraries)
install(TARGETS titan-train titan-bench titan-convert RUNTIME DESTINATION bin COMPONENT program)
install(DIRECTORY configs assets docs DESTINATION share/titan-train COMPONENT program)
install(FILES README.md DESTINATION share/titan-train COMPONENT program)
install(CODE "set(programs $<TARGET_FILE:titan-train> $<TARGET_FILE:titan-convert>)" COMPONENT libraries)
install(SCRIPT cmake/install_libraries.cmake COMPONENT libraries)
