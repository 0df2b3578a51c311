# cmake -D unit=NAME -D architecture=sm_.. -P compile.cmake: one unit through nvcc, warnings are errors.
#   kernel_visible   kernel_visible.cu, with all headers that say QUIRE_HD
#   refused          a unit that must not compile, or the others prove nothing
#   PATH.cuh         that header alone
cmake_minimum_required(VERSION 3.25)
find_program(nvcc nvcc HINTS ENV CUDACXX ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT nvcc)
  message("skipped: no nvcc in PATH or /usr/local/cuda (the CUDA Toolkit is optional)")
  return()
endif()
string(MAKE_C_IDENTIFIER "${unit}_${architecture}" name)
set(work ${scratch}/${name})
file(MAKE_DIRECTORY ${work})

set(text "")
if(unit STREQUAL "kernel_visible")
  file(GLOB_RECURSE headers RELATIVE ${source}/include ${source}/include/quire/*.hpp)
  foreach(header IN LISTS headers)
    file(STRINGS ${source}/include/${header} marked REGEX "^[^/]*QUIRE_HD" LIMIT_COUNT 1)
    if(marked AND NOT header MATCHES "/cpu/|core/(config|simd)\\.hpp$")
      string(APPEND text "#include \"${header}\"\n")
      string(APPEND list " ${header}")
    endif()
  endforeach()
  if(text STREQUAL "")
    message(FATAL_ERROR "no header says QUIRE_HD")
  endif()
  message("kernel-visible:${list}")
  file(WRITE ${work}/visible.hpp "${text}")
  set(input ${source}/tests/cuda/kernel_visible.cu)
elseif(unit STREQUAL "refused")
  file(WRITE ${work}/unit.cu "int host_only();\n__global__ void kernel(int* out) { *out = host_only(); }\n")
  set(input ${work}/unit.cu)
else()
  file(WRITE ${work}/unit.cu "#include \"${unit}\"\n")
  set(input ${work}/unit.cu)
endif()

# --expt-relaxed-constexpr: device code calls constexpr functions of the standard library (std::bit_cast, std::countr_zero).
execute_process(COMMAND ${nvcc} -std=c++20 --expt-relaxed-constexpr -arch=${architecture} --Werror all-warnings
  -ccbin ${cxx} -Xcompiler -Wall,-Wextra,-Wshadow -I${source}/include -I${work} -c ${input} -o ${work}/unit.o
  RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
if(unit STREQUAL "refused")
  if(result EQUAL 0 OR NOT "${out}${err}" MATCHES "host_only")
    message(FATAL_ERROR "a kernel that calls a host function compiled, or failed for another reason:\n${out}${err}")
  endif()
elseif(NOT result EQUAL 0)
  message(FATAL_ERROR "${out}${err}")
endif()
