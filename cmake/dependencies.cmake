# What offbook is built on. Each is a Debian package (scripts/setup installs them); docs/decisions/
# says why each was chosen.
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
if(OB_TESTS)
  find_package(GTest REQUIRED)
endif()
if(OB_ONEDNN)
  # Not find_package(dnnl): Debian's file asks for OpenCL, which the CPU library does not need.
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  add_library(offbook_dnnl INTERFACE)
  # The library only, not -fopenmp: it would not fit the precompiled header, and no code of ours has pragmas.
  target_link_libraries(offbook_dnnl INTERFACE ${DNNL_LIBRARY} ${OpenMP_CXX_LIBRARIES})
  target_include_directories(offbook_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
endif()

# offbook_pkg(NAME module …): an imported target PkgConfig::NAME for a package with a .pc file.
macro(offbook_pkg name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
endmacro()

offbook_pkg(ZSTD libzstd)
offbook_pkg(XXHASH libxxhash)
offbook_pkg(UTF8PROC libutf8proc)
offbook_pkg(CRYPTO libcrypto)
offbook_pkg(PCRE2 libpcre2-8)
offbook_pkg(SQLITE sqlite3)
offbook_pkg(LIBXML2 libxml-2.0)
offbook_pkg(GUMBO gumbo)
offbook_pkg(ARCHIVE libarchive)
offbook_pkg(SENTENCEPIECE sentencepiece)
# cmark-gfm's .pc file leaves out the extensions.
find_library(CMARK_GFM_LIBRARY cmark-gfm REQUIRED)
find_library(CMARK_GFM_EXTENSIONS_LIBRARY cmark-gfm-extensions REQUIRED)
add_library(offbook_cmark_gfm INTERFACE)
target_link_libraries(offbook_cmark_gfm INTERFACE ${CMARK_GFM_EXTENSIONS_LIBRARY} ${CMARK_GFM_LIBRARY})
