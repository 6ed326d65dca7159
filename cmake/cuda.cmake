# The CUDA language, cuBLASLt, and the options of our own kernels (target offbook_cuda). Included only
# with OB_CUDA: without it no .cu file and no CUDA header is part of any target.
#
# Found in this order: CUDAToolkit_ROOT, the toolkit of nvcc, and the `nvidia` folders of Python
# wheels, which carry libcublasLt.so.13 without the plain .so link.
if(NOT CMAKE_CUDA_COMPILER)
  find_program(OB_NVCC nvcc HINTS ${CUDAToolkit_ROOT}/bin $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(OB_NVCC)
    set(CMAKE_CUDA_COMPILER ${OB_NVCC})
  endif()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a)
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 knows no CUDA standard after 17
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_CUDA_FLAGS_DEBUG ${CMAKE_CUDA_FLAGS_RELEASE})  # kernels have one form; -G would change their timing
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  message(FATAL_ERROR "OB_CUDA needs nvcc 12.4 or newer (C++20, sm_90a); ${CMAKE_CUDA_COMPILER} is "
                      "${CMAKE_CUDA_COMPILER_VERSION}. Set CMAKE_CUDA_COMPILER or CUDAToolkit_ROOT.")
endif()
find_package(CUDAToolkit REQUIRED)

find_package(Python3 QUIET COMPONENTS Interpreter)
set(OB_WHEEL_HINTS "")
if(Python3_Interpreter_FOUND)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c "import nvidia; print(';'.join(nvidia.__path__))"
    OUTPUT_VARIABLE nvidia_paths OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  foreach(path ${nvidia_paths})
    list(APPEND OB_WHEEL_HINTS ${path}/cu13 ${path}/cublas ${path}/cudnn ${path}/cuda_runtime)
  endforeach()
endif()
find_library(CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
             HINTS ${CUDAToolkit_LIBRARY_DIR} ${OB_WHEEL_HINTS} PATH_SUFFIXES lib lib64 REQUIRED)
find_path(CUBLASLT_INCLUDE_DIR cublasLt.h
          HINTS ${CUDAToolkit_INCLUDE_DIRS} ${OB_WHEEL_HINTS} PATH_SUFFIXES include REQUIRED)

# cuDNN is opened when run, not linked: only its headers are needed, and where it stands now is tried
# after the loader's own path. Without the headers src/backend/cuda/sdpa_none.cc takes its place.
find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDNN_ROOT} ${CUDAToolkit_INCLUDE_DIRS} ${OB_WHEEL_HINTS}
          PATH_SUFFIXES include)
find_library(CUDNN_LIBRARY NAMES libcudnn.so.9 cudnn HINTS ${CUDNN_ROOT} ${CUDAToolkit_LIBRARY_DIR} ${OB_WHEEL_HINTS}
             PATH_SUFFIXES lib lib64)
find_library(CUDART_SHARED_LIBRARY NAMES libcudart.so.13 cudart HINTS ${CUDAToolkit_LIBRARY_DIR} ${OB_WHEEL_HINTS}
             PATH_SUFFIXES lib lib64)
if(CUDNN_INCLUDE_DIR)
  foreach(library CUDNN_LIBRARY CUDART_SHARED_LIBRARY)
    set(OB_${library}_DIR "")
    if(${library})
      get_filename_component(OB_${library}_DIR ${${library}} DIRECTORY)
    endif()
  endforeach()
else()
  message(STATUS "No cudnn.h: attention uses our own kernels alone (CUDNN_ROOT says where it is)")
endif()

add_library(offbook_cuda INTERFACE)
target_link_libraries(offbook_cuda INTERFACE CUDA::cudart_static ${CUBLASLT_LIBRARY})
target_include_directories(offbook_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} ${CUBLASLT_INCLUDE_DIR})
target_compile_options(offbook_cuda INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror all-warnings -lineinfo --expt-relaxed-constexpr
  -Xcompiler=-Wall,-Wextra,-Werror,-Wno-missing-field-initializers>)
# fmt 9 turns constexpr off for nvcc, and then its own constant expressions do not compile in C++20.
target_compile_definitions(offbook_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
