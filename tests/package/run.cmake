# One case of the package tests: cmake -D case=... -P run.cmake. Everything is written under ${scratch}.
cmake_minimum_required(VERSION 3.25)
set(prefix ${scratch}/moved)
set(here ${CMAKE_CURRENT_LIST_DIR})
unset(ENV{CXXFLAGS})  # the consumers ask for no flags
unset(ENV{LDFLAGS})

# expect(<what is tried> PASS|FAIL [SAYS text...] COMMAND ...): runs, compares the outcome, looks for each text in the output.
function(expect what outcome)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "SAYS;COMMAND")
  execute_process(COMMAND ${arg_COMMAND} RESULT_VARIABLE result OUTPUT_VARIABLE out ERROR_VARIABLE err)
  string(REGEX REPLACE "[ \n]+" " " flat "${out}${err}")
  if(outcome STREQUAL "PASS" AND NOT result EQUAL 0 OR outcome STREQUAL "FAIL" AND result EQUAL 0)
    message(FATAL_ERROR "${what}: expected to ${outcome}, ended with ${result}\n${out}${err}")
  endif()
  foreach(text IN LISTS arg_SAYS)
    string(FIND "${flat}" "${text}" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "${what}: does not say \"${text}\"\n${out}${err}")
    endif()
  endforeach()
endfunction()

string(MAKE_C_IDENTIFIER "${case}" folder)
set(work ${scratch}/${folder})
file(REMOVE_RECURSE ${work})
set(configure ${CMAKE_COMMAND} -S ${here}/consumer -B ${work} -G ${generator} -D CMAKE_CXX_COMPILER=${cxx}
  -D CMAKE_CXX_COMPILER_LAUNCHER=${launcher} -D CMAKE_PREFIX_PATH=${prefix} -D expected_version=${version})

if(case STREQUAL "install")
  file(REMOVE_RECURSE ${prefix})
  expect("install" PASS COMMAND ${CMAKE_COMMAND} --install ${build} --prefix ${work}/first)
  file(RENAME ${work}/first ${prefix})
  # Every header of the tree is there, unchanged, and nothing else; no file remembers where it was made.
  file(GLOB_RECURSE ours RELATIVE ${source}/include ${source}/include/*)
  file(GLOB_RECURSE theirs RELATIVE ${prefix}/include ${prefix}/include/*)
  if(NOT ours STREQUAL theirs)
    message(FATAL_ERROR "installed headers differ from the tree's\ntree: ${ours}\ninstalled: ${theirs}")
  endif()
  foreach(header IN LISTS ours)
    file(SHA256 ${source}/include/${header} a)
    file(SHA256 ${prefix}/include/${header} b)
    if(NOT a STREQUAL b)
      message(FATAL_ERROR "${header} was installed in another version")
    endif()
  endforeach()
  file(GLOB_RECURSE files ${prefix}/*)
  foreach(file IN LISTS files)
    file(READ ${file} text)
    foreach(place IN ITEMS ${source} ${build} ${work})
      string(FIND "${text}" "${place}" at)
      if(NOT at EQUAL -1)
        message(FATAL_ERROR "${file} names ${place}: the prefix cannot be moved")
      endif()
    endforeach()
  endforeach()

elseif(case STREQUAL "core and cpu")
  expect("configure" PASS COMMAND ${configure} "-DCOMPONENTS=core;cpu")
  expect("build" PASS COMMAND ${CMAKE_COMMAND} --build ${work})
  expect("run" PASS SAYS "quire ${version}" "kernels" COMMAND ${work}/consumer)

elseif(case STREQUAL "core alone")  # Highway is hidden from CMake, and an include of it would be an error
  expect("configure" PASS COMMAND ${configure} "-DCOMPONENTS=core" -DCMAKE_DISABLE_FIND_PACKAGE_quire_highway=ON)
  expect("build" PASS COMMAND ${CMAKE_COMMAND} --build ${work})
  expect("run" PASS SAYS "quire ${version}" COMMAND ${work}/consumer)

elseif(case STREQUAL "cpu without Highway")
  expect("configure" FAIL SAYS "component cpu needs Google Highway (Debian: libhwy-dev)"
    COMMAND ${configure} "-DCOMPONENTS=core;cpu" -DCMAKE_DISABLE_FIND_PACKAGE_quire_highway=ON)

elseif(case STREQUAL "cuda")  # a user's .cu, compiled for two architectures; CPU-only consumers never see the language
  include(${CMAKE_CURRENT_LIST_DIR}/../cuda/nvcc.cmake)
  if(NOT nvcc)
    return()
  endif()
  expect("configure" PASS COMMAND ${CMAKE_COMMAND} -S ${here}/cuda -B ${work} -G ${generator} -D CMAKE_CXX_COMPILER=${cxx} -D CMAKE_CUDA_COMPILER=${nvcc}
    -D CMAKE_CUDA_HOST_COMPILER=${cxx} -D CMAKE_PREFIX_PATH=${prefix} "-DCMAKE_CUDA_ARCHITECTURES=80;90a")
  expect("build" PASS COMMAND ${CMAKE_COMMAND} --build ${work})
  expect("run" PASS SAYS "shared memory of a block" COMMAND ${work}/decode)

elseif(case STREQUAL "cuda without a toolkit")
  expect("configure" FAIL SAYS "component cuda needs the CUDA Toolkit 12 or newer"
    COMMAND ${configure} "-DCOMPONENTS=core;cuda" -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON)

elseif(case STREQUAL "unknown component")
  expect("configure" FAIL SAYS "no component 'tensor'; known: core, cpu, cuda" COMMAND ${configure} "-DCOMPONENTS=core;tensor")

elseif(case STREQUAL "optional component")  # asked for as optional: absent, without an error
  expect("configure" PASS SAYS "tensor is not there" COMMAND ${configure} "-DCOMPONENTS=core" "-DOPTIONAL=tensor")

elseif(case STREQUAL "newer version")  # before 1.0 a minor version may break its users
  expect("configure" FAIL SAYS "version: ${version}" COMMAND ${configure} "-DCOMPONENTS=core" -DWANTED=0.999)

elseif(case STREQUAL "subdirectory")
  expect("configure" PASS COMMAND ${CMAKE_COMMAND} -S ${here}/subdirectory -B ${work} -G ${generator} -D CMAKE_CXX_COMPILER=${cxx}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${launcher} -D CMAKE_EXPORT_COMPILE_COMMANDS=ON -D quire_source=${source} -D with_kernels=${highway})
  expect("build" PASS COMMAND ${CMAKE_COMMAND} --build ${work})
  expect("run" PASS SAYS "quire ${version}" COMMAND ${work}/consumer)
  file(READ ${work}/compile_commands.json commands)
  if(commands MATCHES " (-W[a-z]|-march|-m[a-z]+|-O|-g|-f[a-z]+)")
    message(FATAL_ERROR "the consumer's units are compiled with a flag it did not ask for: ${CMAKE_MATCH_1}\n${commands}")
  endif()
  expect("install" PASS COMMAND ${CMAKE_COMMAND} --install ${work} --prefix ${work}/prefix)
  if(EXISTS ${work}/prefix/include/quire)
    message(FATAL_ERROR "installing the consumer installs quire, which it did not ask for")
  endif()
else()
  message(FATAL_ERROR "no case '${case}'")
endif()
