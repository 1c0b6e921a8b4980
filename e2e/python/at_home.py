"""Lets an unmodified client library, which hard-codes the Telegram Gateway's host name, reach a sandbox on this machine.

Only this process is changed: name resolution is answered here, so that neither root nor a system file is needed, and
nothing that the library does can leave the machine. The sandbox's certificate authority is trusted through the environment
(`REQUESTS_CA_BUNDLE`, `SSL_CERT_FILE`), as docs/sandbox.md tells.
"""

import os
import socket
import ssl

GATEWAY = "gatewayapi.telegram.org"


def point(tls_port: int) -> None:
    """Answers the Gateway's name and port 443 with the sandbox's own; refuses every other name."""
    resolve = socket.getaddrinfo

    def resolve_here(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name == GATEWAY and int(port) == 443:
            return resolve("127.0.0.1", tls_port, *args, **kwargs)
        if name in ("127.0.0.1", "localhost"):
            return resolve(host, port, *args, **kwargs)
        raise socket.gaierror(f"a test asked for {name}:{port}, and nothing may leave this machine")

    socket.getaddrinfo = resolve_here


def require_trusted_certificate() -> None:
    """Shakes hands as a careful client does: the private authority and no other, and the host name checked."""
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with socket.create_connection((GATEWAY, 443), timeout=20) as plain:
        with trust.wrap_socket(plain, server_hostname=GATEWAY) as secured:
            assert secured.version() in ("TLSv1.2", "TLSv1.3"), secured.version()


class Refused:
    """`with Refused(Kind, "NAME"):` demands that a call fails with that exception, which says that error name."""

    def __init__(self, kind, name):
        self.kind, self.name = kind, name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert error is not None, f"no error came where {self.name} was due"
        if not isinstance(error, self.kind):
            return False
        assert self.name in str(error), f"{self.name} is not in {error}"
        return True
