# Helpers that give every folder of src/ the same kind of target. A folder links only what stands
# before it in the order of docs/TOUR.md; a wrong arrow then fails to link, and
# tools/check_layers.py finds a wrong include.

# Half of a file's compile time is making std::vector, fmt and json once more: five files of a target
# are one translation unit. `alone`: files whose unnamed namespaces hold a name of their neighbours'.
function(offbook_join_sources target alone)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${OB_UNITY} UNITY_BUILD_BATCH_SIZE 5)
  if(OB_UNITY)  # joined, a file's unnamed namespace stands in an included file
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endif()
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# offbook_library(NAME SOURCES a.cc … [ALONE a.cc … | APART] [DEPS offbook_base …] [PCH upper]): the precompiled
# header is one of cmake/pch.
function(offbook_library name)
  cmake_parse_arguments(ARG "APART" "PCH" "SOURCES;ALONE;DEPS;PRIVATE_DEPS" ${ARGN})
  string(JOIN _ pch offbook ${ARG_PCH} pch)
  add_library(offbook_${name} STATIC ${ARG_SOURCES})
  if(NOT ARG_APART)
    offbook_join_sources(offbook_${name} "${ARG_ALONE}")
  endif()
  target_link_libraries(offbook_${name} PUBLIC offbook_options ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  target_precompile_headers(offbook_${name} REUSE_FROM ${pch})
endfunction()

# offbook_test(NAME SOURCES a_test.cc … [ALONE … | APART] DEPS … [PCH upper]): one GoogleTest program a folder.
# LABELS: golden, fault, slow, gpu… (ctest -L).
function(offbook_test name)
  cmake_parse_arguments(ARG "APART" "TIMEOUT;PCH" "SOURCES;ALONE;DEPS;LABELS" ${ARGN})
  if(NOT OB_TESTS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(OB_SANITIZE)  # up to ten times the instructions
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 8")
  endif()
  add_executable(${name}_test ${ARG_SOURCES})
  target_link_libraries(${name}_test PRIVATE offbook_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  if(NOT ARG_APART)
    offbook_join_sources(${name}_test "${ARG_ALONE}")
  endif()
  string(JOIN _ pch offbook ${ARG_PCH} test_pch)
  target_precompile_headers(${name}_test REUSE_FROM ${pch})
  add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/tsan.supp")
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
    add_executable(fuzz_${name} ${ARG_SOURCE})
    target_link_libraries(fuzz_${name} PRIVATE offbook_options offbook_replay ${ARG_DEPS})
    target_precompile_headers(fuzz_${name} REUSE_FROM offbook_pch)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
  endif()
endfunction()
