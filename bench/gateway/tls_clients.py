#!/usr/bin/env python3
"""Opens idle HTTP/2 connections over TLS and keeps them: tls_clients.py PORT COUNT. Prints "held COUNT" when all are there; ends
when its standard input does."""
import socket
import ssl
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and empty SETTINGS
SETTINGS_ACK = bytes([0, 0, 0, 4, 1, 0, 0, 0, 0])


def connect(context, port):
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    secured = context.wrap_socket(plain, server_hostname="localhost")
    if secured.selected_alpn_protocol() != "h2":
        raise ConnectionError("no HTTP/2")
    secured.sendall(PREFACE)
    if secured.recv(9)[3] != 4:
        raise ConnectionError("no SETTINGS")
    secured.sendall(SETTINGS_ACK)
    return secured


def main():
    port, count = int(sys.argv[1]), int(sys.argv[2])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the server made its certificate itself
    context.set_alpn_protocols(["h2"])
    held = []
    try:
        for _ in range(count):
            held.append(connect(context, port))
    except OSError as error:
        print(f"{error} after {len(held)}", flush=True)
        return 1
    print(f"held {count}", flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
