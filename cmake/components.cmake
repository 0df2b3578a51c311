# One INTERFACE target and one export file per component. `core` needs the standard library alone; `cpu` adds the kernels
# (Google Highway, threads), `cuda` the device's (CUDA Toolkit 12 or 13). Nothing here sets a global flag or -march for the
# consumer or enables a language; what `cuda` asks of nvcc reaches .cu files only.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
option(QUIRE_INSTALL "Install the headers and the package files" ${PROJECT_IS_TOP_LEVEL})

file(GLOB_RECURSE quire_headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} include/quire/*.hpp)
set(quire_cpu_headers ${quire_headers})
list(FILTER quire_cpu_headers INCLUDE REGEX "/cpu/|core/simd\\.hpp$")
set(quire_core_headers ${quire_headers})
list(REMOVE_ITEM quire_core_headers ${quire_cpu_headers})

file(GLOB_RECURSE quire_cuda_headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} include/quire/*.cuh)

foreach(component IN ITEMS core cpu cuda)
  add_library(quire_${component} INTERFACE)
  add_library(quire::${component} ALIAS quire_${component})
  set_target_properties(quire_${component} PROPERTIES EXPORT_NAME ${component})
  target_compile_features(quire_${component} INTERFACE cxx_std_20)
  target_sources(quire_${component} INTERFACE FILE_SET HEADERS BASE_DIRS include FILES ${quire_${component}_headers})
  if(QUIRE_INSTALL)
    install(TARGETS quire_${component} EXPORT quire-${component} FILE_SET HEADERS)
    install(EXPORT quire-${component} NAMESPACE quire:: DESTINATION ${CMAKE_INSTALL_DATADIR}/cmake/quire)
  endif()
endforeach()

list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_package(Threads REQUIRED)
target_link_libraries(quire_core INTERFACE Threads::Threads)
target_link_libraries(quire_cpu INTERFACE quire_core quire_highway::quire_highway)  # by name: the package asks for it itself
target_link_libraries(quire_cuda INTERFACE quire_core CUDA::cudart CUDA::cublasLt)
# Constexpr functions of the standard library are called from kernels. C++20 is said as a flag: CMake 3.25 does not know it as a
# feature of today's nvcc.
target_compile_options(quire_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:-std=c++20$<SEMICOLON>--expt-relaxed-constexpr>)
find_package(quire_highway QUIET)
if(NOT TARGET quire_highway::quire_highway)
  message(STATUS "quire: Google Highway not found (Debian: libhwy-dev); quire::cpu is not usable in this build")
endif()

if(QUIRE_INSTALL)
  configure_package_config_file(cmake/quireConfig.cmake.in quireConfig.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_DATADIR}/cmake/quire)
  write_basic_package_version_file(quireConfigVersion.cmake VERSION ${PROJECT_VERSION}
    COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/quireConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/quireConfigVersion.cmake
    cmake/Findquire_highway.cmake DESTINATION ${CMAKE_INSTALL_DATADIR}/cmake/quire)
endif()
