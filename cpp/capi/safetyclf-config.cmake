# safetyclf::safetyclf is the shared library, safetyclf::static the other one, for which a project needs C++ as a language.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/safetyclf-targets.cmake)
