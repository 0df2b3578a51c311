# Google Highway is used through its headers alone; Debian 12 ships it with pkg-config but without a CMake package.
find_path(quire_highway_INCLUDE_DIR hwy/highway.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(quire_highway REQUIRED_VARS quire_highway_INCLUDE_DIR)
if(quire_highway_FOUND AND NOT TARGET quire_highway::quire_highway)
  add_library(quire_highway::quire_highway INTERFACE IMPORTED)
  set_target_properties(quire_highway::quire_highway PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${quire_highway_INCLUDE_DIR}")
endif()
