# cmake --install, and `cpack -G DEB` in the build folder for a Debian package. Manual pages and completions are written by the program
# itself, from the tables that it runs on, so nothing is installed from a build that cannot run here.
include(GNUInstallDirs)
install(TARGETS penstock RUNTIME)
if(TARGET penstock-cuda)
  install(TARGETS penstock-cuda LIBRARY DESTINATION lib/penstock) # where kernels/device_library.c looks
endif()
install(FILES README.md SECURITY.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES configs/quickstart.yaml configs/reference.yaml DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY configs/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY configs/prometheus configs/grafana DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY packaging/kubernetes DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(FILES packaging/penstock.service DESTINATION lib/systemd/system)
install(FILES packaging/penstock.sysusers DESTINATION lib/sysusers.d RENAME penstock.conf)
# Programs under /usr have their configs in /etc, all others under their prefix. One that is there stays.
install(CODE "
  set(folder \"\${CMAKE_INSTALL_PREFIX}/etc/penstock\")
  if(CMAKE_INSTALL_PREFIX STREQUAL \"/usr\")
    set(folder /etc/penstock)
  endif()
  if(NOT EXISTS \"\$ENV{DESTDIR}\${folder}/penstock.yaml\")
    file(INSTALL ${CMAKE_SOURCE_DIR}/packaging/penstock.yaml DESTINATION \"\${folder}\")
  endif()")

# generated(FOLDER NAME ARGUMENTS...): what `penstock ARGUMENTS` prints becomes FOLDER/NAME under the prefix.
function(generated folder name)
  install(CODE "
    set(folder \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${folder}\")
    file(MAKE_DIRECTORY \"\${folder}\")
    execute_process(COMMAND $<TARGET_FILE:penstock> ${ARGN} OUTPUT_FILE \"\${folder}/${name}\" COMMAND_ERROR_IS_FATAL ANY)
    message(STATUS \"Generated: \${folder}/${name}\")
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${CMAKE_INSTALL_PREFIX}/${folder}/${name}\")")
endfunction()
generated(${CMAKE_INSTALL_DATADIR}/man/man1 penstock.1 manual)
generated(${CMAKE_INSTALL_DATADIR}/man/man5 penstock.yaml.5 manual settings)
generated(${CMAKE_INSTALL_DATADIR}/bash-completion/completions penstock completion bash)
generated(${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions _penstock completion zsh)
generated(${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d penstock.fish completion fish)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME penstock)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The Penstock developers <penstock@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "LLM inference gateway server")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "A gateway with an OpenAI-compatible API before replicas of language models, and the replicas
themselves: engines with continuous batching on CPU cores and GPUs. It places, scales and heals replicas on the slices of a
pool: this machine, Kubernetes clusters, Slurm clusters.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # what the program links
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/debian/postinst
  ${CMAKE_SOURCE_DIR}/packaging/debian/prerm ${CMAKE_SOURCE_DIR}/packaging/debian/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
include(CPack)
