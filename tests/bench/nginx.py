"""How nginx is configured here: as the one store behind every contender, and as the front of the peers."""

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.bench import programs
from tests.bench.programs import HOST, Program

BIG = 64 * 2**20  # bytes of the download and of the upload
SMALL = 2048  # bytes of the small answer
SMALL_PATH, BIG_PATH, SINK_PATH = "/api/products", "/api/big", "/api/sink"

# One worker carries more than any tunnel here. Connections are closed by clients alone, so that what was to be
# measured with reuse is measured with reuse.
_FRAME = """
daemon off; worker_processes 1; pid @directory@/nginx.pid; error_log stderr warn; @user@
events { worker_connections 8192; multi_accept on; }
http {
  access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path @directory@/body; proxy_temp_path @directory@/proxy;
  fastcgi_temp_path @directory@/fastcgi; uwsgi_temp_path @directory@/uwsgi; scgi_temp_path @directory@/scgi;
@http@}
"""

# An upload is read whole, into memory, before the inner location answers with the number of bytes that came.
_STORE = """
  open_file_cache max=16 inactive=1h; open_file_cache_valid 1h;
  server {
    listen @host@:@port@ backlog=4096;
    client_max_body_size 1g; client_body_buffer_size 65m;
    location = @small_path@ { default_type application/xml; return 200 "@small@"; }
    location = @big_path@ { default_type application/octet-stream; alias @directory@/big; }
    location = @sink_path@ {
      proxy_pass http://counted; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Received $request_length;
    }
    location = /status { stub_status; }
  }
  upstream counted { server unix:@directory@/counted; keepalive 8; }
  server {
    listen unix:@directory@/counted;
    location / { default_type text/plain; return 200 "$http_x_received"; }
  }
"""

# What a careful operator would write: upstream connections kept, bodies streamed both ways and never put on disk.
_FRONT = """
  upstream tunnel { server @host@:@tunnel@; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }
  map_hash_bucket_size 256;
  map $http_authorization $store_key { default ""; "@caller@" "@store_key@"; }
  server {
    listen @host@:@port@ backlog=4096;
    client_max_body_size 1g;
    location @path@/api/ {
      if ($store_key = "") { return 401; }
      proxy_pass http://tunnel/api/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host @store@; proxy_set_header Authorization $store_key;
      proxy_request_buffering off; proxy_max_temp_file_size 0;
      proxy_buffer_size 64k; proxy_buffers 16 64k; proxy_busy_buffers_size 512k;
    }
  }
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the store has seen so far."""

    connections: int
    requests: int


class Store:
    """The one store behind all contenders: a small answer, a big file, and a place that swallows uploads."""

    def __init__(self, stack: contextlib.ExitStack, directory: Path) -> None:
        self.port = programs.free_port()
        self.address = f"{HOST}:{self.port}"
        self.big = os.urandom(BIG)
        (directory / "big").write_bytes(self.big)
        small = ("<products>" + "<product id='1'/>" * SMALL)[:SMALL]
        paths = {"small_path": SMALL_PATH, "big_path": BIG_PATH, "sink_path": SINK_PATH}
        http = _fill(_STORE, host=HOST, port=self.port, small=small, directory=directory, **paths)
        _start(stack, "store", directory, http, self.port)

    def counts(self) -> Counts:
        """Each call is a connection and a request itself, and counts itself."""
        with socket.create_connection((HOST, self.port)) as sock:
            sock.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(4096), b""))
        accepted, _handled, requests = answer.partition(b"requests\n")[2].splitlines()[0].split()
        return Counts(int(accepted), int(requests))


def start_front(
    stack: contextlib.ExitStack, directory: Path, *, path: str, caller: str, store_key: str, tunnel: int, store: str
) -> tuple[Program, int]:
    """An nginx that passes `path`/api/ to the port `tunnel`, if its caller's Authorization is `caller`, with
    `store_key` in its place; and the port that it listens on.
    """
    port = programs.free_port()
    http = _fill(
        _FRONT, host=HOST, port=port, path=path, caller=caller, store_key=store_key, tunnel=tunnel, store=store
    )
    return _start(stack, "nginx", directory, http, port), port


def _start(stack: contextlib.ExitStack, name: str, directory: Path, http: str, port: int) -> Program:
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read the bench's directory
    config = directory / "nginx.conf"
    config.write_text(_fill(_FRAME, directory=directory, user=user, http=http))
    command = [programs.find("nginx"), "-e", "stderr", "-p", str(directory), "-c", str(config)]
    program = programs.start(stack, name, command, directory)
    program.wait_for(f"listener on port {port}", lambda: programs.accepts(port))
    return program


def _fill(template: str, **values: object) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template
