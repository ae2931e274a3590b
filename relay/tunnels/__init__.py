"""SSH and nothing of HTTP: agents log in and publish stores, channels are opened. The only importer of asyncssh."""
