# Helpers that give every folder of src/ the same kind of target. A folder links only what stands
# before it in the order of docs/TOUR.md; a wrong arrow then fails to link, and
# tools/check_layers.py finds a wrong include.

# offbook_library(NAME SOURCES a.cc … [DEPS offbook_base …])
function(offbook_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(offbook_${name} STATIC ${ARG_SOURCES})
  target_link_libraries(offbook_${name} PUBLIC offbook_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  target_precompile_headers(offbook_${name} REUSE_FROM offbook_pch)
endfunction()

# offbook_test(NAME SOURCES a_test.cc … DEPS …): one GoogleTest program a folder.
# LABELS: golden, fault, slow, gpu… (ctest -L).
function(offbook_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  if(NOT OB_TESTS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE offbook_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  target_precompile_headers(${name}_test REUSE_FROM offbook_test_pch)
  add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
endfunction()

# offbook_fuzz(NAME SOURCE x_fuzz.cc DEPS …): a libFuzzer program in the fuzz preset; in every other
# preset the same entry point replays the corpus of tests/fuzz/corpus/NAME as a test.
function(offbook_fuzz name)
  cmake_parse_arguments(ARG "" "SOURCE" "DEPS" ${ARGN})
  if(NOT OB_TESTS)
    return()
  endif()
  if(OB_FUZZ)
    add_executable(fuzz_${name} ${ARG_SOURCE})
    target_link_libraries(fuzz_${name} PRIVATE offbook_options ${ARG_DEPS} -fsanitize=fuzzer)
  else()
    add_executable(fuzz_${name} ${ARG_SOURCE} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.cc)
    target_link_libraries(fuzz_${name} PRIVATE offbook_options ${ARG_DEPS})
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
  endif()
endfunction()
