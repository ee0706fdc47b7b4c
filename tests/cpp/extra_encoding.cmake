# The table of encodings with one row more (extra_encoding.hpp). Linked before the library, it takes the place of the
# library's table: in a C++ test, and in a module for a Python test, which is made of the objects of _core.
set(table_of_encodings ${PROJECT_SOURCE_DIR}/cpp/codec/encoding.cpp)
set(extra_table ${PROJECT_BINARY_DIR}/extra_encoding/encoding.cpp)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table_of_encodings})

file(READ ${table_of_encodings} text)
function(replace old new)
  string(REPLACE "${old}" "${new}" replaced "${text}")
  if(replaced STREQUAL text)
    message(FATAL_ERROR "cpp/codec/encoding.cpp has no \"${old}\"; expected it where a row can be added")
  endif()
  set(text "${replaced}" PARENT_SCOPE)
endfunction()
replace("#include \"cpp/codec/plain.hpp\"\n" "#include \"cpp/codec/plain.hpp\"\n#include \"tests/cpp/extra_encoding.hpp\"\n")
replace("\n};\n\nstatic_assert(std::size(kEncodings) == kEncodingCount)"
  "\n    kInt7};\n\nstatic_assert(std::size(kEncodings) == kEncodingCount + 1)")
file(CONFIGURE OUTPUT ${extra_table} CONTENT "${text}" @ONLY)

target_sources(codec_extra_encoding_test PRIVATE ${extra_table})
if(NESTVEC_PYTHON)
  pybind11_add_module(extra_core MODULE $<TARGET_OBJECTS:_core> ${extra_table})
  set_target_properties(extra_core PROPERTIES
    OUTPUT_NAME _core LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/extra_encoding)
  target_link_libraries(extra_core PRIVATE nestvec_core nestvec_flags)
endif()
