# What every target of the house is built with, and the three shapes a target has:
# a layer of libcommon, a service, a test.
find_package(PkgConfig REQUIRED)
pkg_check_modules(PROTOBUF_C REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(JSON_C REQUIRED IMPORTED_TARGET json-c)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(PQ REQUIRED IMPORTED_TARGET libpq)
pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
pkg_check_modules(MHD REQUIRED IMPORTED_TARGET libmicrohttpd)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
find_library(WSLAY_LIBRARY wslay REQUIRED)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(SODIUM REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
find_library(NNG_LIBRARY nng REQUIRED)
find_program(PROTOC_C protoc-c REQUIRED)

add_library(guichet_flags INTERFACE)
target_compile_options(guichet_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
  -Wno-missing-field-initializers -Wno-gnu-zero-variadic-macro-arguments
  -fstack-protector-strong -fno-strict-aliasing)
target_compile_definitions(guichet_flags INTERFACE _GNU_SOURCE GUICHET_VERSION="${PROJECT_VERSION}")
target_include_directories(guichet_flags INTERFACE ${CMAKE_SOURCE_DIR}/libcommon)
if(GUICHET_TEST_BUILD)
  target_compile_options(guichet_flags INTERFACE -Werror -g -O1 -fno-omit-frame-pointer)
  target_compile_definitions(guichet_flags INTERFACE GUICHET_FAILPOINTS)
  if(GUICHET_SANITIZE)
    target_compile_options(guichet_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined)
    target_link_options(guichet_flags INTERFACE -fsanitize=address,undefined)
  endif()
else()
  target_compile_options(guichet_flags INTERFACE -D_FORTIFY_SOURCE=2)
  target_link_options(guichet_flags INTERFACE -Wl,-z,relro,-z,now)
endif()

# guichet_tests(folder libraries…): each x_test.c of the folder becomes a test program of its own.
function(guichet_tests folder)
  file(GLOB tests CONFIGURE_DEPENDS ${folder}/*_test.c)
  foreach(file ${tests})
    get_filename_component(name ${file} NAME_WE)
    get_filename_component(parent ${folder} NAME)
    set(target ${parent}_${name})
    add_executable(${target} ${file})
    target_link_libraries(${target} PRIVATE ${ARGN} PkgConfig::CMOCKA guichet_flags)
    target_compile_definitions(${target} PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}" TEST_FOLDER="${folder}")
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${target} COMMAND ${target})
    set_tests_properties(${target} PROPERTIES TIMEOUT 120
      ENVIRONMENT "GUICHET_LOOP_ABORT=1;UBSAN_OPTIONS=print_stacktrace=1")
    if(name MATCHES "_model_test$") # 100,000 operations, on a machine that may be busy
      set_tests_properties(${target} PROPERTIES TIMEOUT 600)
    endif()
  endforeach()
endfunction()

# guichet_layer(name libraries…): a folder of libcommon, all its .c but the tests.
function(guichet_layer name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.c)
  list(FILTER sources EXCLUDE REGEX "_test\\.c$")
  add_library(guichet_${name} STATIC ${sources})
  target_link_libraries(guichet_${name} PUBLIC ${ARGN} guichet_flags)
  guichet_tests(${CMAKE_CURRENT_SOURCE_DIR}/${name} guichet_${name})
endfunction()

# guichet_migrations(folder): schema/*.sql of a service, built in as <folder>_migrations; a library of its own,
# since guichetctl applies them.
function(guichet_migrations folder)
  get_filename_component(name ${folder} NAME)
  file(GLOB schema CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/schema/*.sql)
  set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_migrations.c)
  add_custom_command(OUTPUT ${generated}
    COMMAND sh ${CMAKE_SOURCE_DIR}/cmake/embed-migrations ${name} ${schema} > ${generated}
    DEPENDS ${schema} ${CMAKE_SOURCE_DIR}/cmake/embed-migrations VERBATIM)
  add_library(guichet_${name}_migrations STATIC ${generated})
  target_link_libraries(guichet_${name}_migrations PUBLIC guichet_io)
endfunction()

# guichet_service(folder program): a folder of services/. Everything but main.c goes into a
# library of its own, so that unit tests can link it; schema/*.sql is built in as <folder>_migrations,
# each file of embed/ as <folder>_<file>[] and <folder>_<file>_len.
function(guichet_service folder program)
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/${folder})
  if(NOT EXISTS ${path}/main.c)
    return()
  endif()
  get_filename_component(name ${folder} NAME)
  file(GLOB sources CONFIGURE_DEPENDS ${path}/*.c)
  list(FILTER sources EXCLUDE REGEX "_test\\.c$|/main\\.c$")
  file(GLOB documents CONFIGURE_DEPENDS ${path}/embed/*)
  if(documents)
    set(generated ${CMAKE_CURRENT_BINARY_DIR}/${name}_embed.c)
    add_custom_command(OUTPUT ${generated}
      COMMAND sh ${CMAKE_SOURCE_DIR}/cmake/embed-files ${name} ${documents} > ${generated}
      DEPENDS ${documents} ${CMAKE_SOURCE_DIR}/cmake/embed-files VERBATIM)
    list(APPEND sources ${generated})
  endif()
  add_library(guichet_${name} STATIC ${sources})
  target_link_libraries(guichet_${name} PUBLIC guichet_service)
  if(TARGET guichet_${name}_migrations)
    target_link_libraries(guichet_${name} PUBLIC guichet_${name}_migrations)
  endif()
  target_include_directories(guichet_${name} PUBLIC ${path})
  add_executable(${program} ${path}/main.c)
  target_link_libraries(${program} PRIVATE guichet_${name})
  if(NOT TARGET programs)
    add_custom_target(programs) # what is installed, without the tests
  endif()
  add_dependencies(programs ${program})
  guichet_tests(${path} guichet_${name})
endfunction()
