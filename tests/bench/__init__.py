"""The measuring bench behind `make bench`: Postern beside nginx in front of OpenSSH, same store, same run."""
