# Sets `nvcc`, or says by name that what includes this is skipped.
find_program(nvcc nvcc HINTS ENV CUDACXX ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(NOT nvcc)
  message("skipped: no nvcc in PATH or /usr/local/cuda (the CUDA Toolkit is optional)")
endif()
